package media

import "sync/atomic"

// Economy is how much of the encoders' work is saved while the CPU is short.
// Only what is set to auto is saved on.
type Economy int32

// The levels of Economy, each with what the ones before it save.
const (
	NoEconomy     Economy = iota
	LowComplexity         // wideband is encoded at the complexity of telephone audio, for about half the price
	NoRedundancy          // lossy calls go without FEC, for about half the price
)

// Economise sets what all encoders save, from their next frames on. It is meant
// for whoever watches the load: a step down costs running calls a little of
// their quality and comes before new calls are refused. It may be called at any
// time by anybody, and again with the same level.
func (e *Engine) Economise(level Economy) { e.economy.set(level) }

// economy is the level that all encoders look at before a frame.
type economy struct{ level atomic.Int32 }

func (e *economy) set(level Economy) { e.level.Store(int32(level)) }

// now is the level; an encoder without a watch over it saves nothing.
func (e *economy) now() Economy {
	if e == nil {
		return NoEconomy
	}
	return Economy(e.level.Load())
}

package gateway

import (
	"sync"
	"time"

	"wagate/config"
)

// trunkLimits counts the calls that we place on each trunk against its
// max_calls and max_cps. A trunk at its limit is passed over for the next
// target, as if it had answered that it is busy.
type trunkLimits struct {
	mu     sync.Mutex
	trunks map[string]*trunkUse
}

type trunkUse struct {
	calls  int
	second time.Time // the second that started is counted for
	placed int       // calls placed in that second
}

func newTrunkLimits() *trunkLimits {
	return &trunkLimits{trunks: map[string]*trunkUse{}}
}

// acquire takes a place on the trunk, or says that there is none just now.
func (l *trunkLimits) acquire(t config.Trunk, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	use, roomy := l.useLocked(t, now)
	if !roomy {
		return false
	}
	use.calls++
	use.placed++
	return true
}

// roomy says whether there is a place on the trunk just now.
func (l *trunkLimits) roomy(t config.Trunk, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, roomy := l.useLocked(t, now)
	return roomy
}

func (l *trunkLimits) useLocked(t config.Trunk, now time.Time) (use *trunkUse, roomy bool) {
	use = l.trunks[t.Name]
	if use == nil {
		use = &trunkUse{}
		l.trunks[t.Name] = use
	}
	if now.Sub(use.second) >= time.Second || now.Before(use.second) {
		use.second, use.placed = now, 0
	}
	return use, (t.MaxCalls <= 0 || use.calls < t.MaxCalls) && (t.MaxCPS <= 0 || use.placed < t.MaxCPS)
}

// release gives a place back.
func (l *trunkLimits) release(trunk string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if use := l.trunks[trunk]; use != nil && use.calls > 0 {
		use.calls--
	}
}

// Package impair is a bad network: a relay for UDP and one for TCP that lose,
// delay, reorder and repeat what passes through them. What happens is drawn
// from a seed, packet by packet, so that a run can be repeated, and it may be
// changed while packets pass.
//
//	relay, err := impair.NewUDP(target, impair.Options{Seed: 1})
//	relay.Set(impair.Up, impair.Network{Loss: 0.05})
//
// What it does not do: bandwidth, queues that fill, corruption.
package impair

import (
	"math/rand/v2"
	"time"
)

// Network is what happens to packets on one way. The zero value lets them pass.
type Network struct {
	Loss  float64       // share of packets, 0 to 1
	Burst float64       // mean length of a loss in packets (Gilbert's model); up to 1: each packet by itself
	Delay time.Duration // of every packet
	// Jitter is the most that a packet is delayed beyond that, evenly spread.
	// Packets overtake each other where it is longer than their distance, unless
	// InOrder holds them back as a queue would.
	Jitter    time.Duration
	InOrder   bool
	Reorder   float64 // share of packets that are held back for HoldBack
	Duplicate float64 // share of packets that come twice
	Cut       bool    // nothing passes
}

// HoldBack is how long a reordered packet waits: longer than the distance of
// two packets of speech.
const HoldBack = 30 * time.Millisecond

// Fate is what becomes of a packet.
type Fate struct {
	Copies int           // 0: it is lost
	Delay  time.Duration // of the first copy, from when it came in
	Second time.Duration // of the second one
}

// Link decides on the packets of one way. The same seed, networks and times
// give the same fates. It is not for several goroutines.
type Link struct {
	net  Network
	dice *rand.Rand
	bad  bool      // in a burst of losses
	last time.Time // when the last packet comes out
}

// NewLink returns a link that lets everything pass. Streams with one seed are
// independent of each other.
func NewLink(seed, stream uint64) *Link {
	return &Link{dice: rand.New(rand.NewPCG(seed, stream))}
}

// Set changes the network from the next packet on.
func (l *Link) Set(n Network) { l.net = n }

// Pass decides on a packet that comes in now. Each takes the same number of
// draws, so that to change one property leaves the others' fates as they are.
func (l *Link) Pass(now time.Time) Fate {
	lose, jitter, reorder := l.dice.Float64(), l.dice.Float64(), l.dice.Float64()
	double, again := l.dice.Float64(), l.dice.Float64()
	n := l.net
	if l.lost(lose) || n.Cut {
		return Fate{}
	}
	f := Fate{Copies: 1, Delay: n.Delay + time.Duration(jitter*float64(n.Jitter))}
	if n.InOrder {
		f.Delay = max(f.Delay, l.last.Sub(now))
	}
	if reorder < n.Reorder {
		f.Delay += HoldBack
	} else if out := now.Add(f.Delay); out.After(l.last) {
		l.last = out
	}
	if double < n.Duplicate {
		f.Copies = 2
		f.Second = n.Delay + time.Duration(again*float64(n.Jitter))
		if n.InOrder {
			f.Second = f.Delay
		}
	}
	return f
}

// lost moves on in Gilbert's model: in its bad state everything is lost.
func (l *Link) lost(draw float64) bool {
	n := l.net
	if n.Burst <= 1 || n.Loss <= 0 || n.Loss >= 1 {
		l.bad = draw < n.Loss
		return l.bad
	}
	leave := 1 / n.Burst
	if l.bad {
		l.bad = draw >= leave
	} else {
		l.bad = draw < leave*n.Loss/(1-n.Loss)
	}
	return l.bad
}

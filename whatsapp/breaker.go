package whatsapp

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// When requests of one class count as broken.
const (
	rowLimit   = 5  // failures in a row
	rateLeast  = 20 // requests in the span, of which
	rateFailed = 2  // every second fails
	probeEvery = 5 * time.Second
	// longestWait bounds what Meta may ask for: after that a probe finds out.
	longestWait = time.Minute
)

// breakerState is the value of the gauge.
type breakerState uint8

const (
	breakerClosed breakerState = iota
	breakerHalfOpen
	breakerOpen
)

// breaker stops requests of one class that fail anyhow, and lets one through
// now and then to see whether they still do. Its owner locks.
type breaker struct {
	state     breakerState
	turn      uint64 // requests of an earlier turn say nothing about this one
	row       int    // failures in a row
	recent    tally  // requests, and those of them that failed
	next      time.Duration
	throttled bool // it was Meta that asked for the pause
	gauge     prometheus.Gauge
}

// stoppedFor is how long no request passes, 0 if the next one may.
func (b *breaker) stoppedFor(now time.Duration) time.Duration {
	if b.state == breakerClosed {
		return 0
	}
	return max(b.next-now, 0)
}

// why is what bars requests as long as it is not closed.
func (b *breaker) why() *BarredError {
	if b.throttled {
		return &BarredError{Why: BarredThrottled}
	}
	return &BarredError{Why: BarredFailing}
}

// enter lets a request through that nothing stops, and returns its turn.
func (b *breaker) enter(now time.Duration) (turn uint64) {
	if b.state != breakerClosed { // a probe
		b.set(breakerHalfOpen)
		b.turn++
		b.next = now + probeEvery
	}
	return b.turn
}

// leave takes what became of a request of that turn.
func (b *breaker) leave(now time.Duration, turn uint64, v verdict) {
	if turn != b.turn || v.kind == verdictNone {
		return
	}
	if v.kind == verdictGood {
		if b.state != breakerClosed {
			b.set(breakerClosed)
			b.turn++
			b.recent = tally{last: b.recent.last}
		}
		b.row = 0
		b.recent.add(now, false)
		return
	}
	b.row++
	b.recent.add(now, true)
	if all, failed := b.recent.sum(now); b.state != breakerClosed || v.wait > 0 || b.row >= rowLimit ||
		all >= rateLeast && failed*rateFailed >= all {
		b.open(now, v)
	}
}

func (b *breaker) open(now time.Duration, v verdict) {
	if b.state == breakerClosed {
		b.next = now + probeEvery
	}
	b.turn++
	b.row = 0
	b.throttled = v.kind == verdictThrottled
	if v.wait > 0 {
		b.next = now + min(v.wait, longestWait)
	}
	b.set(breakerOpen)
}

func (b *breaker) set(s breakerState) {
	b.state = s
	b.gauge.Set(float64(s))
}

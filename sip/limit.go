package sip

import (
	"net/netip"
	"sync"
	"time"
)

// How many messages are looked at, of one source and of all; what is more is
// dropped unread. A trunk at its busiest stays far below.
const (
	sourceRate, sourceBurst = 1500.0, 3000.0
	totalRate, totalBurst   = 4000.0, 8000.0
	maxSources              = 4096 // buckets that are remembered
)

// bucket is a token bucket.
type bucket struct {
	tokens float64
	last   time.Time
}

func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if b.last.IsZero() {
		b.tokens = burst
	} else {
		b.tokens = min(burst, b.tokens+now.Sub(b.last).Seconds()*rate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// limiter holds the buckets. Only sources that a trunk names reach it.
type limiter struct {
	mu      sync.Mutex
	total   bucket
	sources map[netip.Addr]*bucket
}

func newLimiter() *limiter { return &limiter{sources: map[netip.Addr]*bucket{}} }

// allow takes one token of the source's bucket and one of the common bucket.
func (l *limiter) allow(source netip.Addr, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.sources[source]
	if b == nil {
		if len(l.sources) >= maxSources {
			clear(l.sources)
		}
		b = &bucket{}
		l.sources[source] = b
	}
	return b.take(now, sourceRate, sourceBurst) && l.total.take(now, totalRate, totalBurst)
}

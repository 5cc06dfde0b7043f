package fakemeta

import (
	"sync"
	"time"
)

// Clock is a wall clock that stands still until a test moves it. Its Now goes
// into Options.Clock.
type Clock struct {
	mu sync.Mutex
	at time.Time
}

// NewClock returns a clock that shows that time.
func NewClock(at time.Time) *Clock { return &Clock{at: at} }

// Now is what the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// Advance moves the clock forward.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// Set moves the clock to that time.
func (c *Clock) Set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

// now is Meta's wall clock.
func (s *Server) now() time.Time { return s.opts.Clock() }

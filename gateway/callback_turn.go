package gateway

import (
	"sync"
	"time"

	"wagate/config"
	"wagate/store"
)

// mostCallbacks is how many agents are called back in a second on a trunk
// without max_cps; with it, it is half of that, and the rest is for customers.
const mostCallbacks = 20

// turns keep callbacks from coming in a burst: after a restart, or when Meta
// tells all at once what nobody took, they may all be due at the same moment.
type turns struct {
	mu   sync.Mutex
	next map[string]time.Time // by trunk
}

// take reserves the next turn of a trunk.
func (t *turns) take(trunk config.Trunk, now time.Time) time.Time {
	pace := mostCallbacks
	if trunk.MaxCPS > 0 {
		pace = min(pace, max(trunk.MaxCPS/2, 1))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	turn := t.next[trunk.Name]
	if turn.Before(now) {
		turn = now
	}
	if t.next == nil {
		t.next = map[string]time.Time{}
	}
	t.next[trunk.Name] = turn.Add(time.Second / time.Duration(pace))
	return turn
}

// mayPlace waits for the turn of a callback, and for the next one as long as its
// trunk or this node has no place for it. It says no when the gateway drains or
// the promise expires before.
func (g *Gateway) mayPlace(c store.Callback) bool {
	e := g.current.Load()
	trunk, ok := e.cfg.Trunk(c.Trunk)
	if !ok {
		return true // which is refused with a reason
	}
	for {
		at := g.turns.take(trunk, time.Now())
		if !at.Before(c.Expires) {
			return false
		}
		wait := time.NewTimer(time.Until(at))
		select {
		case <-wait.C:
		case <-g.leaving:
			wait.Stop()
			return false
		}
		if g.limits.roomy(trunk, time.Now()) && g.capacity(e) == NoCause {
			return true
		}
	}
}

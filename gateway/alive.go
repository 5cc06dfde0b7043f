package gateway

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// vital is a part without which the gateway would only seem to run. turn passes
// through the goroutine that does the part's work and returns when it has: a
// timer beside it would go on beating over a corpse.
type vital struct {
	name string
	turn func(context.Context) error

	mu      sync.Mutex
	pending *beat // the question that is still open
}

// questionLimit is how long a question stays open: longer than anybody waits
// who asks, so that a part which is slow is not asked twice.
const questionLimit = 30 * time.Second

// beat is one question to a part, for all who ask meanwhile.
type beat struct {
	over chan struct{}
	err  error // set before over is closed
}

func (g *Gateway) vitals() []*vital {
	return []*vital{
		{name: "sip", turn: g.sip.Turn},
		{name: "store", turn: g.store.Turn},
		{name: "owed ends", turn: g.reaper.turn},
		{name: "media clock", turn: g.engine.Turn},
		{name: "calls", turn: func(context.Context) error { g.registry.count(); return nil }},
	}
}

// ask waits for a sign of life of the part. It returns when ctx ends, whatever
// the part does; the question then stays open for who asks next.
func (v *vital) ask(ctx context.Context) error {
	v.mu.Lock()
	b := v.pending
	if b == nil {
		b = &beat{over: make(chan struct{})}
		v.pending = b
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), questionLimit)
			defer cancel()
			b.err = v.turn(ctx)
			v.mu.Lock()
			v.pending = nil
			v.mu.Unlock()
			close(b.over)
		}()
	}
	v.mu.Unlock()
	select {
	case <-b.over:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signs asks every part at once, a line for each.
func (g *Gateway) signs(ctx context.Context) []check {
	checks := make([]check, len(g.parts))
	var asking sync.WaitGroup
	for i, v := range g.parts {
		asking.Go(func() {
			checks[i].name = v.name
			if err := v.ask(ctx); err != nil {
				checks[i].err = fmt.Errorf("gives no sign of life: %w", err)
			}
		})
	}
	asking.Wait()
	return checks
}

// Alive asks every part that calls depend on for a sign of life, through the
// goroutine that does its work. It fails, and names the part, when one gives
// none before ctx ends: then only a restart helps.
func (g *Gateway) Alive(ctx context.Context) error {
	for _, c := range g.signs(ctx) {
		if c.err != nil {
			return fmt.Errorf("%s %w", c.name, c.err)
		}
	}
	return nil
}

// Ready says why new calls are not taken; nil when they are.
func (g *Gateway) Ready(ctx context.Context) error {
	for _, c := range g.readiness(ctx) {
		if c.err != nil {
			return fmt.Errorf("%s: %w", c.name, c.err)
		}
	}
	return nil
}

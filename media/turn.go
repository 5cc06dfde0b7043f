package media

import (
	"context"
	"time"
)

// Turn lets a task run once on every goroutine of the clock that paces the
// calls, and returns when all have. It fails when one of them hangs.
func (e *Engine) Turn(ctx context.Context) error { return e.pacer.turn(ctx) }

func (p *pacer) turn(ctx context.Context) error {
	for _, s := range p.shards {
		ran := make(chan struct{})
		t := &task{shard: s, index: -1, run: func(time.Time) time.Time {
			close(ran)
			return time.Time{}
		}}
		t.wake(time.Now())
		select {
		case <-ran:
		case <-p.stop:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

package gateway

import (
	"context"
	"errors"
	"log/slog"

	"wagate/media"
	"wagate/store"
)

// callState is what others may see of a call while it lives. It is a copy that
// the call's goroutine publishes after each turn.
type callState struct {
	rec    store.Record
	phase  Phase
	peer   media.Endpoint // nil until made
	socket media.Endpoint
}

// publish shows the state of the call, and keeps the gauge of phases true.
func (c *Call) publish() {
	s := &callState{rec: c.rec, phase: c.m.Phase}
	if c.in.made != nil {
		s.peer = c.in.made.peer
	}
	if leg := c.out[c.m.Attempt]; leg != nil && leg.dial != nil {
		s.socket = leg.dial.socket
	}
	before := c.view.Swap(s)
	if before == nil || before.rec.ID == "" {
		return
	}
	if before.phase != s.phase {
		c.env.metrics.calls.WithLabelValues(inbound, before.phase.String()).Dec()
		c.env.metrics.calls.WithLabelValues(inbound, s.phase.String()).Inc()
	}
}

// labels are those of all figures about whole calls: names from the
// configuration. The trunk is the route's first, whoever answers.
func (c *Call) labels() []string {
	trunk := ""
	if len(c.plan.Hops) > 0 {
		trunk = c.plan.Hops[0].Trunk
	}
	return []string{inbound, c.number.Name, trunk}
}

func (c *Call) started() {
	c.env.metrics.started.WithLabelValues(c.labels()...).Inc()
	c.env.metrics.calls.WithLabelValues(inbound, c.m.Phase.String()).Inc()
	c.view.Store(&callState{rec: c.rec, phase: c.m.Phase})
}

func (c *Call) answered() {
	c.env.metrics.setup.WithLabelValues(c.labels()...).Observe(c.now.Sub(c.rec.StartedAt).Seconds())
	c.env.metrics.answer.WithLabelValues(c.labels()...).Observe(c.now.Sub(c.taken).Seconds())
}

// endedMetrics counts the call out. The gauge loses it in the same breath, so
// that started minus ended stays the number of calls alive.
func (c *Call) endedMetrics() {
	r := c.final.record
	c.env.metrics.calls.WithLabelValues(inbound, c.view.Load().phase.String()).Dec()
	c.env.metrics.ended.WithLabelValues(append([]string{r.Cause}, c.labels()...)...).Inc()
	if r.AnsweredAt.IsZero() {
		return
	}
	c.env.metrics.duration.WithLabelValues(c.labels()...).Observe(since(r.AnsweredAt, r.EndedAt).Seconds())
}

// progress notes on disk how far the call has come. It is for the record after
// a crash only, so nobody waits for it.
func (c *Call) progress(p store.Progress) {
	c.do(saveLimit, func(ctx context.Context) input {
		if err := c.env.book.Progress(ctx, c.id, p); err != nil && !errors.Is(err, store.ErrEnded) {
			c.log.Warn("progress of the call cannot be written down", slog.Any("error", err))
		}
		return nil
	})
}

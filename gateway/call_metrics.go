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
	rec   store.Record
	phase Phase
	audio map[string]media.Endpoint // by side, once made
}

// audio returns the audio of both sides, by name.
func (c *Call) audio() map[string]media.Endpoint {
	ends := map[string]media.Endpoint{}
	for _, leg := range []side{c.in, c.leg(max(c.m.Attempt, 1))} {
		if leg != nil && leg.audio() != nil {
			ends[leg.name()] = leg.audio()
		}
	}
	return ends
}

func (c *Call) state() *callState {
	return &callState{rec: c.rec, phase: c.m.Phase, audio: c.audio()}
}

// publish shows the state of the call, and keeps the gauge of phases true.
func (c *Call) publish() {
	s := c.state()
	before := c.view.Swap(s)
	if before == nil || before.rec.ID == "" {
		return
	}
	if before.phase != s.phase {
		c.env.metrics.calls.WithLabelValues(c.order.direction, before.phase.String()).Dec()
		c.env.metrics.calls.WithLabelValues(c.order.direction, s.phase.String()).Inc()
	}
}

func (c *Call) started() {
	c.env.metrics.started.WithLabelValues(c.order.labels()...).Inc()
	c.env.metrics.calls.WithLabelValues(c.order.direction, c.m.Phase.String()).Inc()
	c.view.Store(c.state())
	c.env.events.publish(c.now, callStarted(c.state().show()))
}

func (c *Call) answered() {
	c.env.events.publish(c.now, callAnswered(c.state().show()))
	c.env.metrics.setup.WithLabelValues(c.order.labels()...).Observe(c.now.Sub(c.rec.StartedAt).Seconds())
	c.env.metrics.answer.WithLabelValues(c.order.labels()...).Observe(c.now.Sub(c.taken).Seconds())
}

// endedMetrics counts the call out. The gauge loses it in the same breath, so
// that started minus ended stays the number of calls alive.
func (c *Call) endedMetrics() {
	r := c.final.record
	c.env.metrics.calls.WithLabelValues(c.order.direction, c.view.Load().phase.String()).Dec()
	c.env.metrics.ended.WithLabelValues(append([]string{r.Cause}, c.order.labels()...)...).Inc()
	if r.AnsweredAt.IsZero() {
		return
	}
	c.env.metrics.duration.WithLabelValues(c.order.labels()...).Observe(since(r.AnsweredAt, r.EndedAt).Seconds())
}

// progress notes on disk how far the call has come, for whoever ends it after a
// crash. Nobody waits for it; only of Meta's id others want to know that it is
// there.
func (c *Call) progress(p store.Progress) {
	c.do(saveLimit, func(ctx context.Context) input {
		err := c.env.book.Progress(ctx, c.id, p)
		switch {
		case err == nil && p.WACID != "":
			c.kept.Store(true)
		case err != nil && !errors.Is(err, store.ErrEnded):
			c.log.Warn("progress of the call cannot be written down", slog.Any("error", err))
		}
		return nil
	})
}

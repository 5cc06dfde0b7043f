package whatsapp

import (
	"log/slog"
	"time"
)

// maxAhead is how far Meta's clock may be ahead of ours.
const maxAhead = 2 * time.Minute

// settle takes the time of receipt for events of the future. What is told
// later would else be older than what is known, and change nothing until then.
func (w *Webhook) settle(b *batch) {
	now := w.now()
	var worst time.Duration
	for i, ev := range b.events {
		settled, ahead := notAhead(ev, now)
		if ahead == 0 {
			continue
		}
		b.events[i] = settled
		worst = max(worst, ahead)
		w.metrics.ahead.Inc()
	}
	if worst > 0 {
		w.log.Warn("webhook from the future counts from its receipt; check the clock of this machine", slog.Duration("ahead", worst))
	}
}

// notAhead returns the event with no time of its past in our future, and by how
// much it was ahead, 0 if it is as it came. Its key stays: a repeated delivery
// is known by it. A grant keeps its length.
func notAhead(ev Event, now time.Time) (settled Event, ahead time.Duration) {
	now = now.UTC().Truncate(time.Second)
	shift := func(t *time.Time) {
		if d := t.Sub(now); d > maxAhead {
			ahead = max(ahead, d)
			*t = now
		}
	}
	switch e := ev.(type) {
	case Offer:
		shift(&e.At)
		ev = e
	case Answer:
		shift(&e.At)
		ev = e
	case Status:
		shift(&e.At)
		ev = e
	case Terminate:
		shift(&e.At)
		shift(&e.Start)
		shift(&e.End)
		ev = e
	case PermissionReply:
		shift(&e.At)
		if !e.Expires.IsZero() {
			e.Expires = e.Expires.Add(-ahead)
		}
		ev = e
	case Spoke:
		shift(&e.At)
		ev = e
	case MessageFailed:
		shift(&e.At)
		ev = e
	case UserMoved:
		shift(&e.At)
		ev = e
	}
	return ev, ahead
}

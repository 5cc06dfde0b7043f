package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"wagate/store"
)

// missedCall is a customer's call that no phone rang for, on its way to the disk.
type missedCall struct {
	call     store.Call
	record   store.Record
	eventKey string // of its offer, which is done with the intent
	begun    bool
}

// write takes the intent and the record down. It goes on where it failed.
func (m *missedCall) write(b book) error {
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	if !m.begun {
		if err := b.Begin(ctx, m.call, m.eventKey); err != nil && !errors.Is(err, store.ErrExists) { // it was slow, not in vain
			return err
		}
		m.begun = true
	}
	return b.End(ctx, m.record, nil, "")
}

// insist writes until it works or patience is over. What has not begun then is
// an event that the next start takes up.
func (m *missedCall) insist(b book, metrics *metrics, log *slog.Logger) {
	for pause := firstRecordPause; pause <= lastRecordPause; pause *= 2 {
		<-time.After(pause)
		if m.write(b) == nil {
			return
		}
	}
	metrics.recordFailure.Inc()
	log.Error("missed call cannot be written; the next start records it", slog.String("call", m.call.ID))
}

package gateway

import (
	"encoding/json"
	"testing"
	"time"

	"wagate/whatsapp"
)

// missedNotice is as much of a notice as says that a call was missed.
type missedNotice struct {
	topic      string
	ID         string `json:"id"`
	Cause      string `json:"cause"`
	Reason     string `json:"reason"`
	WindowOpen *bool  `json:"window_open"`
}

// endsOf waits until a feed has told the end of a call, and that it was missed.
func endsOf(t *testing.T, s *subscription) (ended, missed missedNotice) {
	t.Helper()
	for {
		h := s.take()
		for _, e := range h.entries {
			n := missedNotice{topic: e.topic}
			if err := json.Unmarshal(e.data, &n); err != nil {
				t.Fatal(err)
			}
			switch e.topic {
			case "call.ended":
				ended = n
			case "call.missed":
				if ended.topic == "" {
					t.Error("missed before it ended")
				}
				return ended, n
			}
		}
		select {
		case <-h.more:
		case <-t.Context().Done():
			t.Fatal("nobody told of the call")
		}
	}
}

// TestMissedCallsAreTold: subscribers learn why nobody talked to the customer,
// and whether the customer may be written to.
func TestMissedCallsAreTold(t *testing.T) {
	for _, c := range []struct {
		name  string
		age   time.Duration // of the call when it is told
		wrote time.Duration // how long ago the customer wrote; 0: never
		cause Cause
		open  bool
	}{
		{name: "told too late to ring", age: 5 * time.Minute, cause: NoAnswer, open: true},
		{name: "told in the last hour of the window", age: 23 * time.Hour, cause: NoAnswer, open: true},
		{name: "told after an outage of two days", age: 48 * time.Hour, cause: NoAnswer, open: false},
		{name: "the customer wrote meanwhile", age: 48 * time.Hour, wrote: time.Hour, cause: NoAnswer, open: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := gatewayOn(t, deadEnd(t))
			s := subscribe(t, g.events, 0)
			offer := offerOf("wacid.1", "k1", c.age)
			if c.wrote > 0 {
				_, _, err := g.store.ApplyPermission(t.Context(), "", offer.NumberID, offer.User.Callee(), time.Now(),
					func(p whatsapp.Permission) whatsapp.Permission { return p.Spoke(time.Now().Add(-c.wrote)) })
				if err != nil {
					t.Fatal(err)
				}
			}
			g.deliver(offer)
			ended, missed := endsOf(t, s)
			if missed.WindowOpen == nil || *missed.WindowOpen != c.open || missed.Reason != c.cause.String() || missed.Cause != c.cause.String() {
				t.Errorf("told %+v (window %v), want %v and %v", missed, missed.WindowOpen, c.cause, c.open)
			}
			if ended.ID == "" || ended.ID != missed.ID || ended.WindowOpen != nil {
				t.Errorf("ended %+v, missed %+v", ended, missed)
			}
		})
	}
}

// TestEndsOfCallsAreTold: missed is the customer's call that nobody took.
func TestEndsOfCallsAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		direction string
		answered  time.Time
		missed    bool
	}{
		"answered": {inbound, aMoment, false},
		"ours":     {outbound, time.Time{}, false},
		"missed":   {inbound, time.Time{}, true},
	} {
		f := newTestFeed(4)
		s := subscribe(t, f, 0)
		call := &Call{env: &env{events: f}, final: &ended{}}
		call.final.record.Direction, call.final.record.AnsweredAt, call.final.record.Cause = c.direction, c.answered, Busy.String()
		call.tellEnd()
		if c.missed {
			if _, n := endsOf(t, s); n.Reason != "busy" || n.WindowOpen == nil || !*n.WindowOpen {
				t.Errorf("%s: told %+v", name, n)
			}
			continue
		}
		if h := s.take(); len(h.entries) != 1 || h.entries[0].topic != "call.ended" {
			t.Errorf("%s: told %v", name, h.entries)
		}
	}
}

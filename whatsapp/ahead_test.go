package whatsapp

import (
	"fmt"
	"testing"
	"time"
)

// replyDated is a customer's yes or no, dated as given.
func replyDated(at, expires int64, response string) []byte {
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"messages","value":{
		"metadata":{"phone_number_id":%q},"contacts":[{"wa_id":"34600111222"}],
		"messages":[{"from":"34600111222","id":"wamid.%d","timestamp":"%d","type":"interactive","interactive":{"type":"call_permission_reply",
		"call_permission_reply":{"response":%q,"is_permanent":false,"expiration_timestamp":"%d","response_source":"user_action"}}}]}}]}]}`,
		ourID, at, at, response, expires)
}

// TestEventsOfTheFuture has Meta's clock, or a forger with the key, date a grant
// years ahead: the customer's later word must hold nevertheless.
func TestEventsOfTheFuture(t *testing.T) {
	w, m := newWebhook(t, settings(secret))
	now := time.Unix(1_795_343_000, 0)
	w.now = func() time.Time { return now }
	const years = 3 * 365 * 24 * 3600
	take := func(body []byte) Permission {
		t.Helper()
		m.delivered = nil
		if rec := post(t, w, body, sign(body, secret)); rec.Code != 200 || len(m.delivered) != 1 {
			t.Fatalf("answered %d, delivered %d", rec.Code, len(m.delivered))
		}
		return Permission{}.Replied(m.delivered[0].(PermissionReply))
	}
	future := now.Unix() + years
	p := take(replyDated(future, future+7*24*3600, "accept"))
	if !p.SaidAt.Equal(now) || !p.Expires.Equal(now.Add(week)) {
		t.Errorf("granted at %v until %v, want from the receipt on, for as long as it was to last", p.SaidAt, p.Expires)
	}
	now = now.Add(time.Minute)
	no := replyDated(now.Unix(), 0, "reject")
	take(no)
	if p = p.Replied(m.delivered[0].(PermissionReply)); p.State(now) == Temporary {
		t.Error("the customer's no is older than a yes of the future")
	}
	// Another delivery is the same event, whenever it comes.
	again := replyDated(future, future+7*24*3600, "accept")
	if m.delivered = nil; post(t, w, again, sign(again, secret)).Code != 200 || len(m.delivered) != 0 {
		t.Error("a repeated delivery became another event")
	}
	if n := value(t, w.metrics.ahead); n != 2 {
		t.Errorf("%v events counted as ahead, want 2", n)
	}
	near := take(replyDated(now.Add(maxAhead).Unix(), now.Add(week).Unix(), "accept"))
	if !near.SaidAt.Equal(now.Add(maxAhead)) {
		t.Errorf("clocks that differ by little are left alone: %v", near.SaidAt)
	}
}

// TestEveryKindOfFutureEvent: no time that an event tells of its past stays in
// our future, and what is not ahead is as it came.
func TestEveryKindOfFutureEvent(t *testing.T) {
	now := time.Unix(1_795_343_000, 0).UTC()
	for _, late := range []time.Duration{0, time.Hour, 10 * 365 * 24 * time.Hour} {
		at := now.Add(late)
		about := Meta{Key: "k", NumberID: ourID, CallID: "wacid.1", At: at}
		for _, ev := range []Event{
			Offer{Meta: about},
			Answer{Meta: about},
			Status{Meta: about},
			Spoke{Meta: about},
			MessageFailed{Meta: about},
			UserMoved{Meta: about},
			Terminate{Meta: about, Start: at, End: at},
			Terminate{Meta: Meta{Key: "k", At: now}, Start: at, End: at},
			PermissionReply{Meta: about, Accept: true, Expires: at.Add(week)},
		} {
			settled, ahead := notAhead(ev, now)
			if ahead != late || settled.About().At.After(now) || settled.About().Key != "k" || settled.Kind() != ev.Kind() {
				t.Errorf("%s: ahead %v, want %v: %+v", ev.Kind(), ahead, late, settled)
			}
			if e, ok := settled.(Terminate); ok && (!e.Start.Equal(now) || !e.End.Equal(now)) {
				t.Errorf("a call is still to come that has ended: %+v", e)
			}
			if e, ok := settled.(PermissionReply); ok && !e.Expires.Equal(now.Add(week)) {
				t.Errorf("grant lasts until %v", e.Expires)
			}
		}
	}
}

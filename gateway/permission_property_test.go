package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"wagate/whatsapp"
)

// Over long random lives of a customer, with webhooks that come late, twice and
// in any order, requests that vanish, and a process that dies: no call is let
// out that the rules forbid, no request beyond the limits, and nothing is
// refused that the rules allow. Two judges watch: what Meta would have said,
// and an oracle that goes by what the gateway could know.
func TestPermissionProperties(t *testing.T) {
	lives, length := 2600, 400 // more than a million steps
	short := testing.Short() || raceDetector
	if short {
		lives = 130
	}
	const lanes = 2
	m := newPermissionMetrics(nil)
	var unpermitted, limited, purged atomic.Int64
	t.Run("lives", func(t *testing.T) {
		for lane := range lanes {
			t.Run(fmt.Sprint(lane), func(t *testing.T) {
				t.Parallel()
				for seed := lane; seed < lives; seed += lanes {
					w := newPermissionWorld(t, uint64(seed), m)
					for range length {
						w.step()
					}
					unpermitted.Add(int64(w.seen[whatsapp.CodeNoConsent]))
					limited.Add(int64(w.seen[whatsapp.CodeCallLimit]))
					purged.Add(int64(w.purged))
				}
			})
		}
	})
	if purged.Load() == 0 {
		t.Error("nobody was purged")
	}
	if short {
		return
	}
	// It proves nothing about what never came up.
	for reason, c := range m.denials {
		if counted(t, c) == 0 {
			t.Errorf("no call was refused with %q", reason)
		}
	}
	for _, outcome := range []string{askSent, askLimited, askRefused, askNotSent, askUnknown, askUndelivered} {
		if counted(t, m.requests[outcome]) == 0 {
			t.Errorf("no request was %s", outcome)
		}
	}
	if unpermitted.Load() == 0 || limited.Load() == 0 {
		t.Errorf("Meta refused %d calls for permission and %d for their number", unpermitted.Load(), limited.Load())
	}
}

func (w *permissionWorld) step() {
	w.pass()
	w.catchUp()
	w.purge()
	switch n := w.rnd.IntN(100); {
	case n < 40:
		w.dial()
	case n < 60:
		w.ask()
	case n < 90:
		w.live()
	case n < 94:
		w.note("restart")
		w.start()
	}
}

// pass lets time go by: often to where an answer changes.
func (w *permissionWorld) pass() {
	least := w.now.Add(11 * time.Second) // more than the clocks may differ
	next := least
	switch n := w.rnd.IntN(100); {
	case w.purging && n < 5:
		next = least.Add(9 * oneDay) // nothing happens for longer than anything counts
	case n < 30:
		next = least.Add(time.Duration(w.rnd.IntN(600)) * time.Second)
	case n < 50:
		next = least.Add(time.Duration(w.rnd.IntN(3*3600)) * time.Second)
	case n < 65:
		next = least.Add(time.Duration(w.rnd.IntN(48*3600)) * time.Second)
	case n < 68:
		next = least.Add(time.Duration(w.rnd.IntN(9*24*3600)) * time.Second)
	case n < 90:
		edges := w.oracle.edges()
		edge := edges[w.rnd.IntN(len(edges))].Add(time.Duration(w.rnd.IntN(3)-1) * time.Second)
		if edge.After(least) {
			next = edge
		}
	}
	w.now = next
}

// dial is an agent who calls.
func (w *permissionWorld) dial() {
	ctx := context.Background()
	err := w.p.mayCall(ctx, worldNumber, worldUser.Callee(), w.now)
	w.note("dial: %v", err)
	if want := w.oracle.mayCall(w.now); want != (err == nil) {
		w.fail("a call is refused with %v, the rules allow it: %v", err, want)
	}
	if w.prompt {
		if want := w.allowed(); want != (err == nil) {
			w.fail("a call is refused with %v, Meta and our limits allow it: %v", err, want)
		}
	}
	if err != nil {
		if denialOf(err) == nil {
			w.fail("dial: %v", err)
		}
		return
	}
	calls, free := within(w.connected, w.now, oneDay)
	switch {
	case !w.permitted():
		w.note("connect: 138006")
		w.seen[whatsapp.CodeNoConsent]++
		w.learn(&whatsapp.APIError{Status: http.StatusUnauthorized, Code: whatsapp.CodeNoConsent})
		w.oracle.word(word{at: w.now, read: true})
	case calls >= w.max:
		w.note("connect: 138012")
		w.seen[whatsapp.CodeCallLimit]++
		w.learn(&whatsapp.APIError{Code: whatsapp.CodeCallLimit, Details: fmt.Sprint("next call at ", free.Unix())})
		w.oracle.noCall = free
	default:
		w.call()
	}
}

func (w *permissionWorld) learn(err error) {
	if err := w.p.refusedCall(context.Background(), worldNumber, worldUser.Callee(), err, w.now); err != nil {
		w.fail("learn: %v", err)
	}
}

// allowed is what Meta's state and our own limits allow.
func (w *permissionWorld) allowed() bool {
	window := time.Duration(w.rules.CallWindow)
	usable := w.state == whatsapp.Permanent ||
		w.state == whatsapp.Temporary && (window == 0 || w.now.Sub(w.granted) < window) && w.expires.Sub(w.now) > 5*time.Minute
	calls, _ := within(w.connected, w.now, oneDay)
	return usable && w.streak < 3 && calls < w.max
}

// call is a call that Meta has taken.
func (w *permissionWorld) call() {
	ctx := context.Background()
	id := whatsapp.CallID(w.id("wacid"))
	status := func(s whatsapp.StatusState) {
		w.hook(whatsapp.Status{Meta: w.about(w.now, id, ""), User: worldUser, State: s})
	}
	end := whatsapp.Terminate{User: worldUser, Direction: whatsapp.BusinessInitiated}
	how := w.rnd.IntN(10)
	w.note("call %s goes %d", id, how)
	var err error
	switch {
	case how < 5: // picked up
		w.now = w.now.Add(3 * time.Second)
		status(whatsapp.Ringing)
		w.now = w.now.Add(5 * time.Second)
		w.connected = append(w.connected, w.now)
		w.sent, w.streak, w.window = nil, 0, w.now.Add(oneDay)
		status(whatsapp.Accepted)
		end.Start = w.now
		if w.chance(0.5) {
			err = w.p.connected(ctx, worldNumber.PhoneNumberID, worldUser.Callee(), id, w.now)
			w.oracle.taken(id, w.now)
		}
		w.now = w.now.Add(time.Duration(w.rnd.IntN(600)) * time.Second)
	case how < 8: // rings in vain, or is refused
		w.now = w.now.Add(3 * time.Second)
		status(whatsapp.Ringing)
		w.now = w.now.Add(20 * time.Second)
		if how == 7 {
			status(whatsapp.Rejected)
		}
		if w.chance(0.5) {
			err = w.p.unanswered(ctx, worldNumber.PhoneNumberID, worldUser.Callee(), id, w.now)
			w.oracle.rang[id], w.oracle.over[id] = true, w.now
		}
		w.missed()
	case how == 8: // cancelled before it rings
		w.now = w.now.Add(time.Second)
	default:
		end.Failed, end.Errors = true, []whatsapp.HookError{{Code: 138019}}
	}
	if err != nil {
		w.fail("end of a call: %v", err)
	}
	end.Meta = w.about(w.now, id, "")
	w.hook(end)
}

// missed counts as Meta does.
func (w *permissionWorld) missed() {
	if w.streak++; w.streak < 4 || !w.permitted() {
		return
	}
	if w.prompt {
		w.fail("Meta takes the permission back")
	}
	w.now = w.now.Add(time.Second)
	w.state, w.streak = whatsapp.Revoked, 0
	w.reply(whatsapp.PermissionReply{Automatic: true})
}

// ask asks, perhaps several at once.
func (w *permissionWorld) ask() {
	ctx := context.Background()
	ask := func() {
		err := w.p.ask(ctx, worldNumber, worldUser.Callee(), w.now)
		w.note("ask: %v", err)
		if errors.Is(err, whatsapp.ErrNoTemplate) {
			w.fail("there is a template")
		}
	}
	for range w.rnd.IntN(3) {
		rush := w.rows.rush
		w.rows.rush = func() {
			if rush != nil {
				w.rows.rush = rush
			}
			ask()
		}
	}
	ask()
	w.rows.rush = nil
}

func (w *permissionWorld) reply(r whatsapp.PermissionReply) {
	key := w.id("key")
	r.Meta, r.User, r.MessageID = w.about(w.now, "", key), worldUser, key
	w.hook(r)
}

func (w *permissionWorld) grant(permanent bool, r whatsapp.PermissionReply) {
	w.state, w.granted, w.streak = whatsapp.Temporary, w.now, 0
	w.expires = w.now.Add(oneWeek)
	r.Accept, r.Permanent, r.Expires = true, permanent, w.expires
	if permanent {
		w.state, w.expires, r.Expires = whatsapp.Permanent, time.Time{}, time.Time{}
	}
	w.reply(r)
}

// live is something that the customer does.
func (w *permissionWorld) live() {
	open := w.askID != "" && w.now.Before(w.asked.Add(oneWeek))
	switch n := w.rnd.IntN(12); {
	case n < 4 && open:
		w.grant(n == 0, whatsapp.PermissionReply{Context: w.askID})
	case n == 4 && open:
		w.state = whatsapp.Declined
		w.reply(whatsapp.PermissionReply{Context: w.askID})
	case n == 5 && w.chance(0.3):
		w.grant(true, whatsapp.PermissionReply{})
	case n == 6 && w.permitted():
		w.state = whatsapp.Revoked
		if w.prompt || w.chance(0.7) { // Meta may not tell
			w.reply(whatsapp.PermissionReply{})
		}
	case n < 9:
		w.window = w.now.Add(oneDay)
		key := w.id("key")
		w.hook(whatsapp.Spoke{Meta: w.about(w.now, "", key), User: worldUser, MessageID: key})
	default:
		w.customerCalls(n == 9)
	}
}

func (w *permissionWorld) customerCalls(missed bool) {
	id := whatsapp.CallID(w.id("wacid"))
	w.window = w.now.Add(oneDay)
	w.hook(whatsapp.Offer{Meta: w.about(w.now, id, ""), User: worldUser})
	end := whatsapp.Terminate{User: worldUser}
	if w.now = w.now.Add(20 * time.Second); !missed {
		w.sent, end.Start = nil, w.now
		w.window = w.now.Add(oneDay)
		w.now = w.now.Add(time.Duration(w.rnd.IntN(600)) * time.Second)
	}
	end.Meta = w.about(w.now, id, "")
	w.hook(end)
	if w.state != whatsapp.Permanent && w.chance(0.1) {
		w.now = w.now.Add(time.Second)
		w.grant(false, whatsapp.PermissionReply{Automatic: true, Context: string(id)})
	}
}

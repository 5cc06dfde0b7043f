package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// Events that a crash left undone have their effect at the next start, once.
func TestUndoneReplies(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	yes := yesAt(at(0), at(oneWeek))
	if _, err := o.db.Journal(ctx, []store.Event{{Key: yes.Key, Kind: string(yes.Kind()), At: yes.At, Body: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o.shut()
		o.open()
		undone, err := o.db.Undone(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range undone {
			o.hear(yes)
		}
	}
	if undone, err := o.db.Undone(ctx); err != nil || len(undone) != 0 {
		t.Errorf("undone: %v, %v", undone, err)
	}
	if err := o.mayCallAt(at(time.Hour)); err != nil {
		t.Error(err)
	}
}

// Meta's refusal of a call that the ledger allowed.
func TestRefusedCall(t *testing.T) {
	o := newOffice(t)
	who := worldUser.Callee()
	o.hear(yesAt(at(0), at(oneWeek)))
	for _, other := range []error{nil, errors.New("no"), &whatsapp.APIError{Status: 400, Code: 138003}} {
		if err := o.refusedCall(t.Context(), worldNumber, who, other, at(time.Hour)); err != nil || o.mayCallAt(at(time.Hour)) != nil {
			t.Errorf("learnt from %v: %v", other, err)
		}
	}
	limit := &whatsapp.APIError{Status: 400, Code: whatsapp.CodeCallLimit, Details: fmt.Sprint("again at ", at(3*time.Hour).Unix())}
	if err := o.refusedCall(t.Context(), worldNumber, who, fmt.Errorf("connect call: %w", limit), at(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if no := denialOf(o.mayCallAt(at(2 * time.Hour))); no == nil || !no.Limited() || !no.Again.Equal(at(3*time.Hour)) {
		t.Errorf("after 138012: %+v", no)
	}
	if err := o.mayCallAt(at(3 * time.Hour)); err != nil {
		t.Errorf("later: %v", err)
	}
	if err := o.refusedCall(t.Context(), worldNumber, who, &whatsapp.APIError{Status: 401, Code: whatsapp.CodeNoConsent}, at(4*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if no := denialOf(o.mayCallAt(at(4 * time.Hour))); no == nil || no.Reason != whatsapp.ReasonRevoked {
		t.Errorf("after 138006: %+v", no)
	}
}

// What a call tells by itself counts as what Meta's webhooks tell of it.
func TestEndsOfCalls(t *testing.T) {
	o := newOffice(t)
	who, number := worldUser.Callee(), worldNumber.PhoneNumberID
	o.hear(yesAt(at(0), at(oneWeek)))
	check := func(err error, what string, streak, calls int) {
		t.Helper()
		if row := o.row(); err != nil || row.Streak() != streak || len(row.Calls) != calls {
			t.Errorf("%s: %v, %d missed, %d connected", what, err, row.Streak(), len(row.Calls))
		}
	}
	terminate := func(id whatsapp.CallID, when time.Time) whatsapp.Terminate {
		return whatsapp.Terminate{
			Meta: whatsapp.Meta{NumberID: number, CallID: id, At: when}, User: worldUser, Direction: whatsapp.BusinessInitiated,
		}
	}
	check(o.unanswered(t.Context(), number, who, "wacid.1", at(time.Minute)), "given up", 1, 0)
	check(o.apply(t.Context(), terminate("wacid.1", at(time.Minute)), false), "and told so", 1, 0)
	check(o.apply(t.Context(), terminate("wacid.2", at(2*time.Minute)), false), "given up before it rang", 1, 0)
	check(o.rejected(t.Context(), number, who, "wacid.3", at(3*time.Minute)), "rejected", 2, 0)
	rang := whatsapp.Status{Meta: whatsapp.Meta{NumberID: number, CallID: "wacid.4", At: at(4 * time.Minute)}, User: worldUser, State: whatsapp.Ringing}
	check(o.apply(t.Context(), rang, false), "rings", 2, 0)
	failed := terminate("wacid.4", at(4*time.Minute))
	failed.Failed, failed.Errors = true, []whatsapp.HookError{{Code: 138020}}
	check(o.apply(t.Context(), failed, false), "failed", 2, 0)
	check(o.answered(t.Context(), number, who, at(5*time.Minute)), "the customer called", 2, 0)
	check(o.connected(t.Context(), number, who, "wacid.5", at(6*time.Minute)), "answered", 0, 1)
	up := terminate("wacid.5", at(9*time.Minute))
	up.Start = at(6 * time.Minute)
	check(o.apply(t.Context(), up, false), "and told so", 0, 1)
	user := terminate("wacid.6", at(10*time.Minute))
	user.Direction, user.Start = whatsapp.UserInitiated, at(9*time.Minute)
	check(o.apply(t.Context(), user, false), "the customer's call is over", 0, 1)
	user.User, user.CallID = whatsapp.User{}, "wacid.7"
	check(o.apply(t.Context(), user, false), "of nobody", 0, 1)
	check(o.apply(t.Context(), whatsapp.Answer{Meta: up.Meta, User: worldUser}, false), "an answer", 0, 1)
	if talked := o.row().TalkedAt; !talked.Equal(at(9 * time.Minute)) {
		t.Errorf("talked at %v", talked)
	}
}

func TestEventsOfNobody(t *testing.T) {
	o := newOffice(t)
	if _, err := o.db.Journal(t.Context(), []store.Event{{Key: "yes"}}); err != nil {
		t.Fatal(err)
	}
	yes := yesAt(at(0), at(oneWeek))
	yes.User = whatsapp.User{Name: "Nuria"}
	o.hear(yes)
	if undone, err := o.db.Undone(t.Context()); err != nil || len(undone) != 0 {
		t.Errorf("undone: %v, %v", undone, err)
	}
}

func TestMovedCustomer(t *testing.T) {
	o := newOffice(t)
	o.hear(yesAt(at(0), at(oneWeek)))
	next := whatsapp.User{Number: "34655667788", UserID: "ES.4"}
	o.hear(whatsapp.UserMoved{
		Meta: whatsapp.Meta{Key: "m", NumberID: worldNumber.PhoneNumberID, At: at(time.Hour)}, Old: worldUser, New: next,
	})
	if err := o.mayCall(t.Context(), worldNumber, whatsapp.Callee{Number: "+34655667788"}, at(2*time.Hour)); err != nil {
		t.Errorf("the new number: %v", err)
	}
	if err := o.mayCallAt(at(2 * time.Hour)); err == nil {
		t.Error("the old one may be called")
	}
}

// TestNewsAreDoneWithTheLedger: an event about a call is done when the ledger has
// it, and one that a crash left undone is told to the ledger at the next start,
// though its call is over.
func TestNewsAreDoneWithTheLedger(t *testing.T) {
	cfg := deadEnd(t)
	customer := whatsapp.User{Number: "34600111222"}
	of := func(key string) whatsapp.Meta {
		return whatsapp.Meta{Key: key, NumberID: "1", CallID: "wacid.out", At: time.Now()}
	}
	rang := whatsapp.Status{Meta: of("rang"), User: customer, State: whatsapp.Ringing}
	end := whatsapp.Terminate{Meta: of("end"), User: customer, Direction: whatsapp.BusinessInitiated}
	db, err := store.Open(t.Context(), cfg.DataDir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	journal := func(db *store.DB, ev whatsapp.Event, body string) error {
		_, err := db.Journal(t.Context(), []store.Event{{Key: ev.About().Key, Kind: string(ev.Kind()), CallID: "wacid.out", At: ev.About().At, Body: []byte(body)}})
		return err
	}
	body, err := json.Marshal(map[string]any{"kind": rang.Kind(), "event": rang})
	if err := errors.Join(err, journal(db, rang, string(body)), db.Close()); err != nil {
		t.Fatal(err)
	}

	g := gatewayOn(t, cfg)
	g.registry.bury("wacid.out", time.Now(), true)
	if err := journal(g.store, end, "{}"); err != nil {
		t.Fatal(err)
	}
	_, settled := g.news(end)
	if left, err := g.store.Undone(t.Context()); err != nil || len(left) != 1 || left[0].Key != "end" {
		t.Errorf("undone before the ledger knows: %v, %v; want the end alone", left, err)
	}
	if err := g.permissions.apply(t.Context(), end, settled); err != nil {
		t.Fatal(err)
	}
	if left, err := g.store.Undone(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("undone: %v, %v", left, err)
	}
	if p, err := g.store.Permission(t.Context(), "1", customer.Callee()); err != nil || p.Streak() != 1 {
		t.Errorf("the ledger has %d calls that nobody took (%v), want 1", p.Streak(), err)
	}
}

// TestRefusedDialAsks: a customer may take a permission back without a word to us.
// The dial that Meta refuses for that asks anew, as one that we refuse does.
func TestRefusedDialAsks(t *testing.T) {
	asked := make(chan string, 8)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/messages") {
			body, _ := io.ReadAll(r.Body)
			asked <- string(body)
			_, _ = io.WriteString(w, `{"messages":[{"id":"wamid.1"}]}`)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":{"code":100}}`)
	}))
	t.Cleanup(api.Close)
	cfg := deadEnd(t)
	cfg.WhatsApp.GraphURL = api.URL
	g := gatewayOn(t, cfg)
	customer, now := whatsapp.User{Number: "34600111222"}, time.Now()
	wrote := whatsapp.Permission{}.Spoke(now.Add(-time.Minute)) // so that no template is needed
	if err := g.store.SetPermission(t.Context(), "1", customer.Callee(), wrote); err != nil {
		t.Fatal(err)
	}
	o := order{direction: outbound, number: cfg.WhatsApp.Numbers[0], user: customer, agent: "201"}
	g.connectAsked(o, &whatsapp.APIError{Status: http.StatusUnauthorized, Code: whatsapp.CodeNoConsent})
	select {
	case body := <-asked:
		if !strings.Contains(body, "call_permission_request") || !strings.Contains(body, customer.Number) {
			t.Errorf("asked %s", body)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was asked")
	}
}

package gateway

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/whatsapp"
)

// metaOffice is the service with the real client, webhook and store, and a
// simulated Meta whose clock the test moves.
type metaOffice struct {
	*permissions
	t     *testing.T
	meta  *fakemeta.Server
	clock *fakemeta.Clock
	heard chan whatsapp.Event // applied
}

// clocked is the client in the time of the simulated Meta.
type clocked struct {
	*whatsapp.Client
	clock *fakemeta.Clock
}

func (c clocked) Permissions(ctx context.Context, who whatsapp.Callee) (whatsapp.PermissionState, error) {
	s, err := c.Client.Permissions(ctx, who)
	s.From, s.To = c.clock.Now().Add(-metaClock), c.clock.Now().Add(metaClock)
	return s, err
}

func newMetaOffice(t *testing.T) *metaOffice {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	o := &metaOffice{t: t, clock: fakemeta.NewClock(at(0)), heard: make(chan whatsapp.Event, 64)}
	db, err := store.Open(t.Context(), t.TempDir(), nil, log)
	if err != nil {
		t.Fatal(err)
	}
	number := worldNumber
	number.AccessToken = "access-token"
	cfg := config.WhatsApp{
		GraphVersion: "v26.0", AppSecrets: []config.Secret{"app-secret"}, VerifyToken: "verify-token", Numbers: []config.Number{number},
	}
	metrics := whatsapp.NewMetrics(nil)
	journal := func(ctx context.Context, events []whatsapp.Journaled) ([]bool, error) {
		rows := make([]store.Event, len(events))
		for i, ev := range events {
			rows[i] = store.Event{Key: ev.Key, Kind: string(ev.Kind), CallID: string(ev.CallID), At: ev.At, Body: ev.Body}
		}
		return db.Journal(ctx, rows)
	}
	hook, err := whatsapp.NewWebhook(cfg, journal, func(ev whatsapp.Event) {
		if err := o.apply(context.Background(), ev, true); err != nil {
			t.Error(err)
		}
		o.heard <- ev
	}, metrics, log)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(hook)
	o.meta, err = fakemeta.New(fakemeta.Options{
		WebhookURL: srv.URL, Clock: o.clock.Now, StrictPermissions: true, HookRetry: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.GraphURL = o.meta.URL()
	client := whatsapp.NewClient(cfg, number, metrics, log)
	o.permissions = newPermissions(db, func(string) asker { return clocked{client, o.clock} },
		func() config.Permissions { return worldRules }, newPermissionMetrics(nil), log)
	o.meta.Start()
	t.Cleanup(func() {
		o.meta.Close()
		srv.Close()
		client.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// wait waits for a webhook of a kind.
func (o *metaOffice) wait(kind whatsapp.Kind) {
	o.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case ev := <-o.heard:
			if ev.Kind() == kind {
				return
			}
		case <-limit:
			o.t.Fatalf("no %s came", kind)
		}
	}
}

func (o *metaOffice) want(what, state string, reason whatsapp.Reason) {
	o.t.Helper()
	who := whatsapp.Callee{Number: "+" + worldUser.Number}
	v, err := o.state(o.t.Context(), worldNumber, who, o.clock.Now())
	if err != nil || v.State != state || v.Reason != string(reason) {
		o.t.Errorf("%s: %+v, %v, want %s and %q", what, v, err, state, reason)
	}
	if err := o.mayCall(o.t.Context(), worldNumber, who, o.clock.Now()); (err == nil) != (reason == "") {
		o.t.Errorf("%s: a call is answered with %v", what, err)
	}
}

func (o *metaOffice) askNow() error {
	return o.ask(o.t.Context(), worldNumber, whatsapp.Callee{Number: worldUser.Number}, o.clock.Now())
}

// A customer's story with a Meta that keeps permissions as Meta does, over
// HTTP both ways.
func TestPermissionWithMeta(t *testing.T) {
	o := newMetaOffice(t)
	answer := func(a fakemeta.Answer) {
		t.Helper()
		if err := o.meta.Answer(worldUser.Number, a); err != nil {
			t.Fatal(err)
		}
		o.wait(whatsapp.KindPermission)
	}
	ask := func(what string, want whatsapp.Reason) {
		t.Helper()
		err := o.askNow()
		if no := denialOf(err); (want == "") != (err == nil) || no != nil && no.Reason != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	o.want("at first", "none", whatsapp.ReasonNone)
	ask("by template", "")
	ask("again", whatsapp.ReasonAskedDay)
	o.want("asked", "requested", whatsapp.ReasonRequested)
	answer(fakemeta.GrantTemporary)
	o.want("granted", "temporary", "")
	o.clock.Advance(72*time.Hour - time.Minute)
	o.want("71 h 59 min later", "temporary", "")
	o.clock.Advance(time.Hour + time.Minute)
	o.want("73 h later", "temporary", whatsapp.ReasonWindow)
	o.meta.Write(worldUser.Number, "do call me")
	o.wait(whatsapp.KindMessage)
	ask("in the window", "")
	answer(fakemeta.GrantPermanent)
	o.want("for good", "permanent", "")
	ask("what is given", whatsapp.ReasonGranted)
	o.meta.Revoke(worldUser.Number)
	o.wait(whatsapp.KindPermission)
	o.want("revoked", "revoked", whatsapp.ReasonRevoked)
	o.clock.Advance(48 * time.Hour)
	ask("a third in the week", whatsapp.ReasonAskedWeek)
	o.clock.Advance(oneWeek)
	ask("in the next week", "")
	answer(fakemeta.Decline)
	o.want("declined", "declined", whatsapp.ReasonDeclined)
	b := o.meta.Permission(worldUser.Number)
	if len(b.Asks) != 3 || b.Asks[0].Template == "" || b.Asks[1].Template != "" || b.Asks[2].Template == "" {
		t.Errorf("Meta has %+v", b.Asks)
	}
}

package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/store"
	"wagate/whatsapp"
)

// deadEnd is a configuration whose PBX answers nothing, and whose Graph API says
// yes to everything when the test is over.
func deadEnd(t *testing.T) *config.Config {
	t.Helper()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-t.Context().Done()
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	t.Cleanup(api.Close)
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	c := config.Default()
	c.Node, c.DataDir = "test", t.TempDir()
	c.HTTP.Webhook.Listen, c.HTTP.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.WhatsApp.GraphURL = api.URL
	c.WhatsApp.AppSecrets, c.WhatsApp.VerifyToken = []config.Secret{"s"}, "v"
	c.WhatsApp.Numbers = []config.Number{{Name: "support", PhoneNumberID: "1", Number: "+351210000321", AccessToken: "t", Codecs: []string{"opus"}}}
	c.Media.WebRTC.Listen, c.Media.RTP.Bind = netip.AddrPortFrom(loopback, 0), loopback
	c.SIP.Listen = []string{"udp://127.0.0.1:0"}
	trunk := config.DefaultTrunk()
	trunk.Name, trunk.Targets, trunk.OptionsInterval = "pbx", []config.Target{{URI: "sip:127.0.0.1:9"}}, 0
	c.Trunks = []config.Trunk{trunk}
	c.Routes = []config.Route{{Name: "all", Direction: inbound, Trunk: "pbx", To: "600", RingTimeout: time.Second}}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	return c
}

// gatewayOn starts a gateway that ends with the test.
func gatewayOn(t *testing.T, cfg *config.Config) *Gateway {
	t.Helper()
	g, err := New(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // its only value is the end
	go func() { ended <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return g
}

func offerOf(id, key string, age time.Duration) whatsapp.Offer {
	return whatsapp.Offer{
		Meta: whatsapp.Meta{Key: key, NumberID: "1", CallID: whatsapp.CallID(id), At: time.Now().Add(-age)},
		User: whatsapp.User{Number: "34600111222"}, SDP: "v=0",
	}
}

func recordsOf(t *testing.T, db *store.DB, wacid string) (rs []store.Record) {
	t.Helper()
	all, _, err := db.Records(t.Context(), store.Query{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.WACID == wacid {
			rs = append(rs, r)
		}
	}
	return rs
}

func TestOneRecordHoweverOftenAnOfferComes(t *testing.T) {
	g := gatewayOn(t, deadEnd(t))
	for _, key := range []string{"stale1", "stale2"} {
		g.deliver(offerOf("wacid.stale", key, 5*time.Minute))
	}
	g.deliver(whatsapp.Terminate{Meta: whatsapp.Meta{Key: "end", NumberID: "1", CallID: "wacid.dead", At: time.Now()}})
	for _, key := range []string{"dead1", "dead2"} {
		g.deliver(offerOf("wacid.dead", key, 0))
	}
	for id, cause := range map[string]Cause{"wacid.stale": NoAnswer, "wacid.dead": Cancelled} {
		if rs := recordsOf(t, g.store, id); len(rs) != 1 || rs[0].Cause != cause.String() {
			t.Errorf("%s has the records %+v, want one of %v", id, rs, cause)
		}
	}
}

func TestUndoneOfferOfARecordedCall(t *testing.T) {
	cfg := deadEnd(t)
	db, err := store.Open(t.Context(), cfg.DataDir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	offer := offerOf("wacid.A", "key", 0)
	lost := offerOf("wacid.B", "lost", 0)
	again := offerOf("wacid.B", "lost again", 0)
	var rows []store.Event
	for _, o := range []whatsapp.Offer{offer, lost, again} {
		rows = append(rows, store.Event{Key: o.Key, Kind: "offer", CallID: string(o.CallID), At: o.At, Body: bodyOf(t, o)})
	}
	_, err = db.Journal(t.Context(), rows)
	err = errors.Join(err, db.End(t.Context(), store.Record{ID: "a", WACID: "wacid.A", StartedAt: time.Now(), EndedAt: time.Now()}, nil, ""), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	g := gatewayOn(t, cfg)
	for _, id := range []string{"wacid.A", "wacid.B"} {
		if rs := recordsOf(t, g.store, id); len(rs) != 1 {
			t.Errorf("%s has %d records, want 1", id, len(rs))
		}
	}
	if left, err := g.store.Undone(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("undone: %v, %v", left, err)
	}
}

// A full disk takes no new calls, but what a crash left must be ended all the
// same: a gateway that does not start ends nothing.
func TestStartOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	cfg := deadEnd(t)
	if err := syscall.Mount("tmpfs", cfg.DataDir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("no tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(cfg.DataDir, 0); err != nil {
			t.Error(err)
		}
	})
	db, err := store.Open(t.Context(), cfg.DataDir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	offer := offerOf("wacid.A", "key", 0)
	_, err = db.Journal(t.Context(), []store.Event{{Key: offer.Key, Kind: "offer", CallID: "wacid.A", At: offer.At, Body: bodyOf(t, offer)}})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	g := gatewayOn(t, cfg)
	if rs := recordsOf(t, g.store, "wacid.A"); len(rs) != 1 {
		t.Errorf("%d records, want 1", len(rs))
	}
	if debts, err := g.store.Debts(t.Context()); err != nil || len(debts) != 1 {
		t.Errorf("owed: %v, %v; want the end at Meta", debts, err)
	}
	if left, err := g.store.Undone(t.Context()); err != nil || len(left) != 0 {
		t.Errorf("undone: %v, %v", left, err)
	}
}

// bodyOf is what the webhook keeps of an event.
func bodyOf(t *testing.T, o whatsapp.Offer) []byte {
	t.Helper()
	return []byte(strings.NewReplacer("WACID", string(o.CallID), "KEY", o.Key).Replace(
		`{"kind":"offer","event":{"Key":"KEY","NumberID":"1","CallID":"WACID","At":"2026-11-22T00:00:00Z","User":{"Number":"34600111222"}}}`))
}

func TestOfferThatMetaIsAboutToGiveUp(t *testing.T) {
	cfg := deadEnd(t)
	g := gatewayOn(t, cfg)
	g.deliver(offerOf("wacid.A", "k", cfg.Limits.AnswerWindow))
	calls := g.registry.all()
	if len(calls) != 1 || calls[0].order.refuse != NoAnswer {
		t.Fatalf("calls %v; want one that is refused because nobody would wait for it", calls)
	}
}

func TestRefusedCallsKeepNobodyOut(t *testing.T) {
	cfg := deadEnd(t)
	cfg.Limits.Calls = 1
	g := gatewayOn(t, cfg)
	g.draining.Store(true)
	g.deliver(offerOf("wacid.A", "a", 0))
	g.draining.Store(false)
	g.deliver(offerOf("wacid.B", "b", 0))
	if c, _ := g.registry.find(whatsapp.Meta{CallID: "wacid.B"}); c == nil || c.order.refuse != NoCause {
		t.Errorf("second call: %v, want it placed", c)
	}
	g.deliver(offerOf("wacid.C", "c", 0))
	if c, _ := g.registry.find(whatsapp.Meta{CallID: "wacid.C"}); c == nil || c.order.refuse != Overloaded {
		t.Errorf("third call: %v, want it refused", c)
	}
}

func TestOperatorsSeeKnownPhasesOnly(t *testing.T) {
	g := gatewayOn(t, deadEnd(t))
	c := newCall(g.current.Load().env, "id", orderOf(offerOf("wacid.A", "k", 0), config.Number{Name: "support"}))
	g.registry.admit(c, "wacid.A")
	if calls := g.list(); len(calls) != 0 {
		t.Errorf("a call that has not begun is shown as %+v", calls)
	}
	c.view.Store(&callState{rec: store.Record{ID: "id"}, phase: Ended})
	if calls := g.list(); len(calls) != 1 || calls[0].Phase != "ending" {
		t.Errorf("a call whose record is being written is shown as %+v", calls)
	}
	g.registry.remove(c, "", false, time.Now())
}

func TestNumberLeavesWhileItsCallsGoOn(t *testing.T) {
	cfg := deadEnd(t)
	g := gatewayOn(t, cfg)
	changed := *cfg
	changed.WhatsApp.Numbers = []config.Number{{Name: "other", PhoneNumberID: "2", Number: "+351210000322", AccessToken: "t", Codecs: []string{"opus"}}}
	if err := g.Reload(&changed); err != nil {
		t.Fatal(err)
	}
	for _, number := range []string{"support", "other"} {
		if g.reaper.ender(number) == nil {
			t.Errorf("nobody can end a call of %s", number)
		}
	}
	if g.reaper.ender("never") != nil {
		t.Error("a number that never was has somebody who ends its calls")
	}
	g.deliver(offerOf("wacid.A", "k", 0))
	if calls := g.registry.all(); len(calls) != 0 {
		t.Errorf("a number that left takes calls: %v", calls)
	}
}

// TestClickThatIsGivenUp before the permission is known: that is nobody's fault,
// and nobody's phone rings.
func TestClickThatIsGivenUp(t *testing.T) {
	cfg := deadEnd(t)
	cfg.Routes = append(cfg.Routes, config.Route{
		Name: "out", Direction: outbound, Number: config.Names{"support"}, Countries: []string{"ES"}, RingTimeout: time.Second,
	})
	g := gatewayOn(t, cfg)
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, err := summons{g}.dial(gone, dialRequest{
		Number: "support", To: "+34600111222", User: whatsapp.User{Number: "34600111222"}, Trunk: cfg.Trunks[0].Name, Agent: "201",
	})
	if !errors.Is(err, context.Canceled) || g.registry.count() != 0 {
		t.Errorf("got %v with %d calls, want %v and none", err, g.registry.count(), context.Canceled)
	}
}

// TestRecoveredCallNamesItsAgent, as every record of a call to a customer does.
func TestRecoveredCallNamesItsAgent(t *testing.T) {
	now := time.Now()
	c := newCall(&env{log: slog.New(slog.DiscardHandler)}, "call", order{direction: outbound, agent: "201"})
	if r := recoveredRecord(c.intent(now), now, now); !slices.Equal(r.Agents, []string{"201"}) {
		t.Errorf("agents are %v", r.Agents)
	}
	if r := recoveredRecord(store.Call{Direction: inbound, StartedAt: now}, now, now); len(r.Agents) != 0 {
		t.Errorf("agents of a customer's call are %v", r.Agents)
	}
}

func TestRecoveredCallLastedUntilTheCrash(t *testing.T) {
	now := time.Now()
	answered := now.Add(-48 * time.Hour)
	for _, row := range []struct {
		alive time.Time
		want  time.Duration // talked
	}{
		{answered.Add(time.Hour), time.Hour + missedAudio},
		{time.Time{}, missedAudio},
		{now.Add(-5 * time.Second), 48 * time.Hour},
	} {
		r := recoveredRecord(store.Call{StartedAt: answered, AnsweredAt: answered}, row.alive, now)
		if got := r.EndedAt.Sub(answered); got != row.want || r.DurationS != row.want.Seconds() {
			t.Errorf("alive at %v: ended after %v, talked %v s, want %v", row.alive, got, r.DurationS, row.want)
		}
	}
}

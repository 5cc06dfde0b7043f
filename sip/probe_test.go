package sip

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wagate/config"
)

func TestTargetsAreProbed(t *testing.T) {
	p := newPeer(t)
	trunk := trunkTo(p)
	trunk.OptionsInterval = 50 * time.Millisecond
	s := newTestServer(t, quick(), trunk)
	if !s.Up("pbx") {
		t.Error("a trunk is down before it was asked")
	}
	serve(t, s, func(*Session, Incoming) {})
	p.want("OPTIONS") // and no answer
	until(t, func() bool { return !s.Up("pbx") && count(t, s.metrics.of("pbx").up) == 0 })
	for range 3 {
		p.reply(p.want("OPTIONS"), 404, "x") // somebody is there
	}
	until(t, func() bool { return s.Up("pbx") && count(t, s.metrics.of("pbx").up) == 1 })
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s.Up("pbx") {
			p.reply(p.want("OPTIONS"), 503, "x")
		}
	}()
	<-done
}

// change is what Watch reports.
type change struct {
	trunk string
	up    bool
}

// watched serves trunks and returns what is reported of them.
func watched(t *testing.T, trunks ...config.Trunk) (*Server, chan change) {
	t.Helper()
	for i := range trunks {
		trunks[i].OptionsInterval = 30 * time.Millisecond
	}
	s := newTestServer(t, quick(), trunks...)
	changes := make(chan change, 100)
	s.Watch(func(trunk string, up bool) { changes <- change{trunk, up} })
	serve(t, s, func(*Session, Incoming) {})
	return s, changes
}

func wantChange(t *testing.T, in chan change, want change) {
	t.Helper()
	select {
	case got := <-in:
		if got != want {
			t.Fatalf("reported %v, want %v", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("%v is not reported", want)
	}
}

// phone answers OPTIONS with the status that it holds, 0: not at all.
func (p *peer) phone(status *atomic.Int32) {
	done := make(chan struct{})
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case m := <-p.in:
				if code := status.Load(); m.method == "OPTIONS" && code != 0 {
					p.reply(m, int(code), "x")
				}
			case <-done:
				return
			}
		}
	}()
	p.t.Cleanup(func() { close(done); <-over })
}

// TestChangesOfTrunksAreReported, each once: a trunk is up with its first target
// that answers, and down with its last that does not.
func TestChangesOfTrunksAreReported(t *testing.T) {
	p, q := newPeer(t), newPeer(t)
	var one, two atomic.Int32
	p.phone(&one)
	q.phone(&two)
	trunk := trunkTo(p)
	trunk.Targets = append(trunk.Targets, config.Target{URI: "sip:" + q.addr().String()})
	s, changes := watched(t, trunk)
	wantChange(t, changes, change{"pbx", false})
	two.Store(404) // somebody is there
	wantChange(t, changes, change{"pbx", true})
	one.Store(200)
	until(t, func() bool { return up(s, "pbx") == 2 })
	two.Store(503)
	until(t, func() bool { return up(s, "pbx") == 1 })
	trunk = s.trunk("pbx").cfg
	if err := s.Reload([]config.Trunk{trunk}); err != nil { // what is known stays known
		t.Fatal(err)
	}
	one.Store(503)
	wantChange(t, changes, change{"pbx", false})
	trunk.OptionsInterval = 0
	if err := s.Reload([]config.Trunk{trunk}); err != nil {
		t.Fatal(err)
	}
	if !s.Up("pbx") {
		t.Error("a trunk that is not probed any more stays down")
	}
	trunk.OptionsInterval = 30 * time.Millisecond
	if err := s.Reload(nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload([]config.Trunk{trunk}); err != nil { // a trunk that comes back is new
		t.Fatal(err)
	}
	wantChange(t, changes, change{"pbx", false})
	if len(changes) != 0 {
		t.Errorf("also reported: %v", <-changes)
	}
}

// up counts the targets of a trunk that answer.
func up(s *Server, name string) (n int) {
	t := s.trunk(name)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.places {
		n += btoi(!p.asked.IsZero() && !p.down)
	}
	return n
}

func TestTrunksThatShareAnAddressAreBothReported(t *testing.T) {
	p := newPeer(t)
	var status atomic.Int32
	status.Store(200)
	p.phone(&status)
	second := trunkTo(p)
	second.Name = "second"
	_, changes := watched(t, trunkTo(p), second)
	seen := map[change]bool{<-changes: true, <-changes: true}
	if !seen[change{"pbx", true}] || !seen[change{"second", true}] {
		t.Errorf("reported %v", seen)
	}
}

func TestTrunkWithoutAnAddressIsDown(t *testing.T) {
	p := newPeer(t)
	nowhere := trunkTo(p)
	nowhere.Targets = []config.Target{{URI: "sip:nobody.invalid:5060"}}
	s, changes := watched(t, nowhere)
	wantChange(t, changes, change{"pbx", false})
	if s.Up("pbx") {
		t.Error("it counts as up")
	}
}

func TestUnprobedTrunkIsNotReported(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	s.Watch(func(trunk string, up bool) { t.Errorf("reported %s %v", trunk, up) })
	serve(t, s, func(*Session, Incoming) {})
	p.never("OPTIONS", 100*time.Millisecond)
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

func TestOptionsAreAnsweredByTheirWay(t *testing.T) {
	p, q := newPeer(t), newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	m := p.outside("OPTIONS", "", "Via: SIP/2.0/UDP 192.0.2.9:1;rport;branch=z9hG4bK1")
	p.send(s.Addr("udp"), string(m.bytes()))
	got := p.want("200")
	v, _ := parseVia(got.get("Via"))
	received, _ := v.params.get("received")
	rport, _ := v.params.get("rport")
	if received != "127.0.0.1" || netip.MustParseAddrPort(received+":"+rport) != p.addr() {
		t.Errorf("Via is %s", got.get("Via"))
	}
	// Without rport the port is Via's, at the source's address all the same.
	m = p.outside("OPTIONS", "", "Via: SIP/2.0/UDP 192.0.2.9:"+utoa(uint32(q.addr().Port()))+";branch=z9hG4bK2")
	p.send(s.Addr("udp"), string(m.bytes()))
	if got = q.want("200"); !strings.Contains(got.get("Via"), ";received=127.0.0.1") {
		t.Errorf("Via is %s", got.get("Via"))
	}
}

func TestReloadKeepsCallsAndSwapsTrunks(t *testing.T) {
	p, q := newPeer(t), newPeer(t)
	from := func(p *peer, addr string) config.Trunk {
		trunk := trunkTo(p)
		trunk.Sources = prefixes(t, addr)
		return trunk
	}
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := setUp(t, s, p, call())
	if err := s.Reload([]config.Trunk{{Name: "bad", Targets: []config.Target{{URI: "sips:x;transport=udp"}}}}); err == nil {
		t.Error("a bad trunk was taken")
	}
	other := from(q, "127.0.0.9/32")
	other.Name = "other"
	if err := s.Reload([]config.Trunk{other}); err != nil {
		t.Fatal(err)
	}
	if s.Targets("pbx") != nil || len(s.Targets("other")) != 1 {
		t.Error("the trunks were not swapped")
	}
	p.inDialog(invite, "a", "OPTIONS", 5, "")
	p.want("200")
	e.none(0)
	c.Bye(Reason{})
	p.reply(p.want("BYE"), 200, "")
	next[ByeDone](e)
	gone(t, s)
	s.recompile()
	if len(s.retired) != 0 {
		t.Errorf("%d retired trunks are kept", len(s.retired))
	}
}

func TestRequestsOfAnotherTrunkDoNotReachACall(t *testing.T) {
	p, q := newPeer(t), newPeer(t)
	other := trunkTo(q)
	other.Name, other.Targets, other.Sources = "other", []config.Target{{URI: "sip:127.0.0.2"}}, prefixes(t, "127.0.0.1/32")
	mine := trunkTo(p)
	mine.Targets = []config.Target{{URI: "sip:127.0.0.3"}}
	s := newTestServer(t, quick(), mine, other)
	tr := s.trunk("pbx")
	c := s.newSession(tr)
	c.state = durable{CallID: "id", From: "<sip:a@b>;tag=ours"}
	s.remember(c)
	m := q.outside("BYE", "", "Call-ID: id", "To: <sip:a@b>;tag=ours")
	q.send(s.Addr("udp"), string(m.bytes()))
	q.want("481")
	if len(c.inbox.take()) != 0 {
		t.Error("the BYE reached the call")
	}
	tr.live.Add(-1)
}

func TestTargetsShareTheirLoadByWeight(t *testing.T) {
	trunk := config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:10.0.0.1", Weight: 3}, {URI: "sip:10.0.0.2", Weight: 1}, {URI: "sip:10.0.0.3"}}}
	tr, err := newTrunk(trunk)
	if err != nil {
		t.Fatal(err)
	}
	tr.resolve(context.Background(), nil)
	firsts := map[string]int{}
	for range 4000 {
		targets := tr.targets(time.Now())
		if len(targets) != 3 || targets[2] != "sip:10.0.0.3" {
			t.Fatalf("targets are %v", targets)
		}
		firsts[targets[0]]++
	}
	if n := firsts["sip:10.0.0.1"]; n < 2800 || n > 3200 {
		t.Errorf("the weights 3 and 1 gave %v", firsts)
	}
}

func TestNamesAreResolved(t *testing.T) {
	p := newPeer(t)
	trunk := trunkTo(p)
	trunk.Targets = []config.Target{{URI: "sip:localhost:" + utoa(uint32(p.addr().Port()))}}
	s := newTestServer(t, quick(), trunk)
	o := call()
	o.Target = s.Targets("pbx")[0]
	_, e, invite := dial(t, s, p, o)
	if !strings.HasPrefix(invite.uri, "sip:600@localhost:") {
		t.Errorf("Request-URI is %s", invite.uri)
	}
	p.reply(invite, 486, "a")
	next[Refused](e)
}

func TestListenersThatCannotBe(t *testing.T) {
	p := newPeer(t)
	for _, c := range []struct{ listen, want string }{
		{"tls://127.0.0.1:0", "name a certificate and its key in sip.tls"},
		{"127.0.0.1:5060", "udp://host:port"},
		{"sctp://127.0.0.1:0", "unknown transport"},
		{"udp://" + p.addr().String(), "in use"},
		{"tcp://192.0.2.1:5060", "assign"},
	} {
		_, err := New(config.SIP{Listen: []string{c.listen}}, nil, logger(), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.listen, err, c.want)
		}
	}
	if _, err := New(config.SIP{Listen: []string{"udp://127.0.0.1:0"}, PublicHost: "a b"}, nil, logger(), nil); err == nil {
		t.Error("a bad public_host was taken")
	}
	if _, err := New(config.SIP{}, nil, logger(), nil); err == nil {
		t.Error("a server without listeners")
	}
}

func TestPublicHost(t *testing.T) {
	p := newPeer(t)
	s, err := newServer(config.SIP{Listen: []string{"udp://127.0.0.1:0"}, PublicHost: "gw.example:5099"}, []config.Trunk{trunkTo(p)}, logger(), nil, quick())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	_, e, invite := dial(t, s, p, call())
	if invite.get("Contact") != "<sip:wagate@gw.example:5099>" || !strings.HasPrefix(invite.get("Via"), "SIP/2.0/UDP gw.example:5099;") ||
		!strings.Contains(invite.get("From"), "@gw.example>") {
		t.Errorf("unexpected INVITE:\n%s", invite.bytes())
	}
	p.reply(invite, 486, "a")
	next[Refused](e)
}

func TestEveryReasonIsCounted(t *testing.T) {
	m := newMetrics(nil, func() (int, int) { return 0, 0 })
	for _, r := range reasons {
		m.reject(r)
	}
	slices.Sort(reasons)
	if n := len(slices.Compact(slices.Clone(reasons))); n != len(reasons) {
		t.Errorf("%d reasons, %d of them different", len(reasons), n)
	}
}

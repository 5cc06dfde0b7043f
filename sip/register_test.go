package sip

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"
	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// loginTo is a trunk that registers at the peer.
func loginTo(p *peer) config.Trunk {
	trunk := trunkTo(p)
	trunk.Auth = config.Credentials{User: "gw", Password: "s3cret"}
	trunk.Register = config.Register{Enabled: true, Expires: 300 * time.Second}
	return trunk
}

func registeredAs(t *testing.T, s *Server) float64 {
	t.Helper()
	return count(t, s.metrics.bindings)
}

func TestRegistration(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), loginTo(p))
	stop := serve(t, s, func(*Session, Incoming) {})
	first := p.want("REGISTER")
	contact := "<sip:wagate@" + s.Addr("udp").String() + ">;expires=300"
	for name, want := range map[string]string{"Contact": contact, "expires": "300", "To": "<sip:gw@127.0.0.1>", "Supported": "path, outbound"} {
		if got := first.get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if want := "sip:" + p.addr().String(); first.uri != want {
		t.Errorf("Request-URI is %s, want %s", first.uri, want)
	}
	p.reply(first, 401, "r", `WWW-Authenticate: Digest realm="pbx", nonce="one", algorithm=MD5, qop="auth"`,
		`WWW-Authenticate: Digest realm="pbx", nonce="one", algorithm=SHA-256, qop="auth"`)
	second := p.want("REGISTER")
	creds, err := digest.ParseCredentials(second.get("authorization"))
	if err != nil || creds.Algorithm != "SHA-256" || creds.URI != first.uri || creds.Username != "gw" {
		t.Fatalf("authorized by %q: %v", second.get("authorization"), err)
	}
	if registeredAs(t, s) != 0 {
		t.Error("registered before the registrar said so")
	}
	p.reply(second, 200, "r", "Contact: <sip:other@10.0.0.1>;expires=9000", "Contact: <sip:wagate@10.0.0.2:9>;expires=1")
	until(t, func() bool { return registeredAs(t, s) == 1 })
	if a, b := second.get("Call-ID"), first.get("Call-ID"); a != b {
		t.Errorf("another Call-ID: %s, %s", a, b)
	}
	third := p.want("REGISTER") // before the granted second is over
	p.reply(third, 200, "r", "Expires: 3600")
	before, _ := second.cseq()
	if got, _ := third.cseq(); got != before+1 {
		t.Errorf("CSeq is %d after %d", got, before)
	}
	left := make(chan struct{})
	go func() {
		defer close(left)
		last := p.want("REGISTER")
		if got := last.get("Contact"); !strings.HasSuffix(got, ">;expires=0") {
			t.Errorf("at the end it says %q", got)
		}
		p.reply(last, 200, "r")
	}()
	stop()
	<-left
	if registeredAs(t, s) != 0 {
		t.Error("still registered after the end")
	}
}

// TestRegistrationGivesUpSlowly: what a registrar may refuse with, how often it
// is asked with credentials, and that it is asked again.
func TestRegistrationGivesUpSlowly(t *testing.T) {
	challenge := func(stale bool, nonce int) string {
		return fmt.Sprintf(`WWW-Authenticate: Digest realm="pbx", nonce="%d", algorithm=MD5, stale=%v`, nonce, stale)
	}
	for _, row := range []struct {
		name  string
		reply func(p *peer, m *message, n int) // n counts the answers
		asked int                              // REGISTERs in the first round
	}{
		{"503", func(p *peer, m *message, _ int) { p.reply(m, 503, "r") }, 1},
		{"403", func(p *peer, m *message, _ int) { p.reply(m, 403, "r") }, 1},
		{"a fresh nonce for ever", func(p *peer, m *message, n int) { p.reply(m, 401, "r", challenge(false, n)) }, 2},
		{"a stale nonce for ever", func(p *peer, m *message, n int) { p.reply(m, 401, "r", challenge(true, n)) }, 3},
		{"too brief for ever", func(p *peer, m *message, n int) {
			p.reply(m, 423, "r", "Min-Expires: "+strconv.Itoa(600+n))
		}, 2},
		{"no time at all", func(p *peer, m *message, _ int) { p.reply(m, 200, "r", "Expires: 0") }, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t)
			tm := quick()
			tm.backoff, tm.maxBackoff = 200*time.Millisecond, 400*time.Millisecond
			s, err := newServer(config.SIP{Listen: []string{"udp://127.0.0.1:0"}}, []config.Trunk{loginTo(p)}, logger(), nil, tm)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			serve(t, s, func(*Session, Incoming) {})
			var at []time.Time
			for n := range row.asked + 1 {
				m := p.want("REGISTER")
				at = append(at, time.Now())
				row.reply(p, m, n)
			}
			if gap := at[row.asked].Sub(at[row.asked-1]); gap < 100*time.Millisecond {
				t.Errorf("the next round began after %v", gap)
			}
			if registeredAs(t, s) != 0 {
				t.Error("registered all the same")
			}
		})
	}
}

func TestRegistrationTakesTheLeastTime(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), loginTo(p))
	serve(t, s, func(*Session, Incoming) {})
	p.reply(p.want("REGISTER"), 423, "r", "Min-Expires: 1800")
	again := p.want("REGISTER")
	if got := again.get("expires"); got != "1800" {
		t.Errorf("asks for %s seconds", got)
	}
	p.reply(again, 200, "r", "Expires: 1800")
	until(t, func() bool { return registeredAs(t, s) == 1 })
	go func() { p.reply(p.want("REGISTER"), 200, "r") }()
}

// TestRegistrationFollowsReload: settings that matter are registered anew, a
// trunk that leaves is taken back.
func TestRegistrationFollowsReload(t *testing.T) {
	p := newPeer(t)
	trunk := loginTo(p)
	s := newTestServer(t, quick(), trunk)
	serve(t, s, func(*Session, Incoming) {})
	p.reply(p.want("REGISTER"), 200, "r", "Expires: 3600", "Service-Route: <sip:edge@"+p.addr().String()+";lr>")
	until(t, func() bool { return registeredAs(t, s) == 1 })
	trunk.MaxCalls++ // means nothing to the registrar
	if err := s.Reload([]config.Trunk{trunk}); err != nil {
		t.Fatal(err)
	}
	if got := s.trunk("pbx").routes(); len(got) != 1 {
		t.Errorf("after a reload the way is %v", got)
	}
	trunk.Auth.User = "gw2"
	if err := s.Reload([]config.Trunk{trunk}); err != nil {
		t.Fatal(err)
	}
	gone := p.want("REGISTER")
	if !strings.HasSuffix(gone.get("Contact"), ";expires=0") || gone.get("To") != "<sip:gw@127.0.0.1>" {
		t.Errorf("the old account is left with\n%s", gone.bytes())
	}
	p.reply(gone, 200, "r")
	fresh := p.want("REGISTER")
	if fresh.get("To") != "<sip:gw2@127.0.0.1>" {
		t.Errorf("the new account is\n%s", fresh.bytes())
	}
	p.reply(fresh, 200, "r", "Expires: 3600")
	until(t, func() bool { return registeredAs(t, s) == 1 })
	if err := s.Reload(nil); err != nil {
		t.Fatal(err)
	}
	p.reply(p.want("REGISTER"), 200, "r")
	until(t, func() bool { // it is no metric of anybody's any more
		series := make(chan prometheus.Metric, 1)
		s.metrics.bindings.Collect(series)
		return len(series) == 0
	})
}

// TestServiceRoute: calls take the way that the registrar names, as long as it is
// the trunk's.
func TestServiceRoute(t *testing.T) {
	for _, row := range []struct {
		name, header string
		want         []string
		hop          string // "target" or "registrar"
	}{
		{"none", "", nil, "target"},
		{"the registrar itself", "Service-Route: <sip:orig@REGISTRAR;lr>, <sip:core.example;lr>", []string{"<sip:orig@REGISTRAR;lr>", "<sip:core.example;lr>"}, "registrar"},
		{"a stranger", "Service-Route: <sip:192.0.2.1;lr>", []string{"<sip:192.0.2.1;lr>"}, "registrar"},
		{"no URI", "Service-Route: <http://192.0.2.1>", nil, "target"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, registrar := newPeer(t), newPeer(t)
			trunk := loginTo(p)
			trunk.Register.Registrar = "sip:" + registrar.addr().String()
			s := newTestServer(t, quick(), trunk)
			serve(t, s, func(*Session, Incoming) {})
			in := func(text string) string { return strings.ReplaceAll(text, "REGISTRAR", registrar.addr().String()) }
			lines := []string{"Expires: 3600"}
			if row.header != "" {
				lines = append(lines, in(row.header))
			}
			registrar.reply(registrar.want("REGISTER"), 200, "r", lines...)
			until(t, func() bool { return registeredAs(t, s) == 1 })
			o := call()
			o.Target = "sip:" + p.addr().String()
			_, e := placed(t, s, o)
			at := p
			if row.hop == "registrar" {
				at = registrar
			}
			invite := at.want("INVITE")
			var want []string
			for _, r := range row.want {
				want = append(want, in(r))
			}
			if got := invite.all("Route"); !slices.Equal(got, want) {
				t.Errorf("Route is %v, want %v", got, want)
			}
			at.reply(invite, 486, "a")
			next[Refused](e)
			go func() { registrar.reply(registrar.want("REGISTER"), 200, "r") }()
		})
	}
}

// TestRegistrarMayCall: though no target, and the number is in To.
func TestRegistrarMayCall(t *testing.T) {
	p, registrar := newPeer(t), newPeer(t)
	trunk := loginTo(p)
	trunk.Targets = []config.Target{{URI: "sip:127.0.0.9"}}
	trunk.Register.Registrar = "sip:" + registrar.addr().String()
	s := newTestServer(t, quick(), trunk)
	calls := make(chan Incoming, 1)
	serve(t, s, func(c *Session, in Incoming) {
		calls <- in
		c.Bind(Handling{Notify: func(Event) {}})
		c.Refuse(486, Reason{}, 0)
	})
	registrar.reply(registrar.want("REGISTER"), 200, "r", "Expires: 3600")
	m := registrar.outside("INVITE", "v=0")
	m.uri = "sip:wagate@" + s.Addr("udp").String()
	registrar.send(s.Addr("udp"), string(m.bytes()))
	select {
	case in := <-calls:
		if in.To != "+34600111222" || in.Trunk != "pbx" {
			t.Errorf("called %q on %q", in.To, in.Trunk)
		}
	case <-time.After(patience):
		t.Fatal("the registrar's call is not taken")
	}
	if s.acl.Load().caller(netip.MustParseAddr("127.0.0.9")) == nil {
		t.Error("the target may not call any more")
	}
	registrar.want("486")
	go func() { registrar.reply(registrar.want("REGISTER"), 200, "r") }()
}

// TestRegistrationFollowsItsConnection: on TCP the registrar finds us by the
// connection, so that a new one is registered at once.
func TestRegistrationFollowsItsConnection(t *testing.T) {
	p := newPhone(t, nil)
	trunk := loginTo(newPeer(t))
	trunk.Targets = []config.Target{{URI: p.uri()}}
	s := serverOn(t, quick(), []string{"tcp://127.0.0.1:0"}, trunk)
	serve(t, s, func(*Session, Incoming) {})
	first := p.want("REGISTER")
	if c := first.get("Contact"); !strings.Contains(c, `;reg-id=1;+sip.instance="<urn:uuid:`) {
		t.Errorf("Contact is %s", c)
	}
	first.reply(200, field{"Expires", "3600"})
	until(t, func() bool { return registeredAs(t, s) == 1 })
	p.hangUp()
	second := p.want("REGISTER")
	if second.get("Contact") != first.get("Contact") || second.nc == first.nc {
		t.Errorf("after a lost connection:\n%s", second.bytes())
	}
	second.reply(200, field{"Expires", "3600"})
	go func() { p.want("REGISTER").reply(200) }()
}

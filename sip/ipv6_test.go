package sip

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// needIPv6 skips a test where the machine has no IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	c, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	c.Close()
}

// TestCallOverIPv6: both ways, with brackets wherever an address stands.
func TestCallOverIPv6(t *testing.T) {
	needIPv6(t)
	p := newPeerAt(t, net.IPv6loopback)
	s := serverOn(t, quick(), []string{"udp://[::1]:0"}, trunkTo(p))
	c, e, invite := setUp(t, s, p, call())
	local := s.Addr("udp").String()
	for name, want := range map[string]string{"Via": "SIP/2.0/UDP " + local + ";", "Contact": "<sip:wagate@" + local + ">", "From": `"Ana" <sip:+34600111222@[::1]>;tag=`} {
		if got := invite.get(name); !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if want := "sip:600@" + p.addr().String(); invite.uri != want {
		t.Errorf("Request-URI is %s, want %s", invite.uri, want)
	}
	c.Bye(Reason{})
	p.reply(p.want("BYE"), 200, "")
	next[ByeDone](e)

	calls := make(chan Incoming, 1)
	serve(t, s, func(c *Session, in Incoming) {
		calls <- in
		c.Bind(Handling{Notify: func(Event) {}})
		c.Refuse(486, Reason{}, 0)
	})
	m := p.outside("INVITE", "v=0")
	p.send(s.Addr("udp"), string(m.bytes()))
	if got := p.want("486").get("Via"); !strings.Contains(got, ";received=::1") {
		t.Errorf("answered with Via %s", got)
	}
	if in := <-calls; in.To != "+34600111222" {
		t.Errorf("called %s", in.To)
	}
}

// TestTLSOverIPv6: the certificate names the address.
func TestTLSOverIPv6(t *testing.T) {
	needIPv6(t)
	ca := newAuthority(t, "ca")
	p := newPhoneAt(t, "[::1]:0", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.issue(time.Now().Add(time.Hour), "::1"))}})
	trunk := config.Trunk{Name: "pbx", Targets: []config.Target{{URI: p.uri()}}, CallerFormat: "e164", FromUser: "caller", TLS: config.TLS{CA: ca.file}}
	tm := quick()
	tm.handshake, tm.silent = patience, patience
	s, err := newServer(config.SIP{Listen: []string{"tls://[::1]:0"}, TLS: ca.good()}, []config.Trunk{trunk}, logger(), nil, tm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	o := call()
	o.Target = p.uri()
	_, e := placed(t, s, o)
	invite := p.want("INVITE")
	if want := "<sip:wagate@" + s.Addr("tls").String() + ";transport=tls>"; invite.get("Contact") != want {
		t.Errorf("Contact is %s, want %s", invite.get("Contact"), want)
	}
	invite.reply(486)
	next[Refused](e)
}

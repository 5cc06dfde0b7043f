package sip

import (
	"net/netip"
	"testing"

	"wagate/config"
)

// TestWhereADialogGoes: a Contact is followed inside the trunk only, a private
// one is repaired by the packet's source where the trunk says so, and names are
// never looked up (incident class I24).
func TestWhereADialogGoes(t *testing.T) {
	p := newPeer(t)
	trunk := trunkTo(p)
	trunk.Sources = prefixes(t, "198.51.100.0/24", "10.0.0.0/8", "2001:db8::/32")
	s := newTestServer(t, quick(), trunk)
	const peer = "198.51.100.7:5066"
	for _, row := range []struct {
		name, proto, contact string
		routes               []string
		plain, nat           string // where it goes without and with nat
	}{
		{"its source", "udp", "sip:a@198.51.100.7:5066", nil, "udp " + peer, "udp " + peer},
		{"elsewhere in the trunk", "udp", "sip:a@198.51.100.8:5070", nil, "udp 198.51.100.8:5070", "udp 198.51.100.8:5070"},
		{"no port", "udp", "sip:a@198.51.100.8", nil, "udp 198.51.100.8:5060", "udp 198.51.100.8:5060"},
		{"another transport", "udp", "sip:a@198.51.100.8;transport=tcp", nil, "tcp 198.51.100.8:5060", "tcp 198.51.100.8:5060"},
		{"private", "udp", "sip:a@10.1.2.3:5070", nil, "udp 10.1.2.3:5070", "udp " + peer},
		{"private, not the trunk's", "udp", "sip:a@192.168.1.5:5070", nil, "udp " + peer, "udp " + peer},
		{"IPv6", "udp", "sip:a@[2001:db8::1]:5070", nil, "udp [2001:db8::1]:5070", "udp [2001:db8::1]:5070"},
		{"loopback", "udp", "sip:a@127.0.0.2:9464", nil, "udp " + peer, "udp " + peer},
		{"mapped loopback", "udp", "sip:a@[::ffff:127.0.0.2]:9464", nil, "udp " + peer, "udp " + peer},
		{"nobody", "udp", "sip:a@0.0.0.0:9464", nil, "udp " + peer, "udp " + peer},
		{"link-local", "udp", "sip:a@169.254.169.254", nil, "udp " + peer, "udp " + peer},
		{"a name", "udp", "sip:a@localhost:9464", nil, "udp " + peer, "udp " + peer},
		{"a route", "udp", "sip:a@10.1.2.3:5070", []string{"<sip:198.51.100.9;lr>"}, "udp 198.51.100.9:5060", "udp 198.51.100.9:5060"},
		{"a route elsewhere", "udp", "sip:a@198.51.100.8", []string{"<sip:203.0.113.1;lr>"}, "udp " + peer, "udp " + peer},
		{"TLS", "tls", "sip:a@198.51.100.8;transport=tls", nil, "tls 198.51.100.8:5061", "tls 198.51.100.8:5061"},
		{"TLS, said nothing", "tls", "sip:a@198.51.100.8:5070", nil, "tls 198.51.100.8:5070", "tls 198.51.100.8:5070"},
		{"TLS, led into the clear", "tls", "sip:a@198.51.100.8;transport=udp", nil, "tls " + peer, "tls " + peer},
		{"TLS, led into the clear by a route", "tls", "sip:a@198.51.100.8", []string{"<sip:198.51.100.9;transport=tcp;lr>"}, "tls " + peer, "tls " + peer},
		{"sips", "tls", "sips:a@198.51.100.8;transport=tcp", nil, "tls 198.51.100.8:5061", "tls 198.51.100.8:5061"},
	} {
		for _, nat := range []bool{false, true} {
			tr := s.trunk("pbx")
			tr.cfg.NAT = nat
			want := row.plain
			if nat {
				want = row.nat
			}
			d := &dialog{Proto: row.proto, Peer: netip.MustParseAddrPort(peer), Target: row.contact, Routes: row.routes}
			if got := s.nextHop(tr, d).String(); got != want {
				t.Errorf("%s, nat %v: goes to %s, want %s", row.name, nat, got, want)
			}
		}
	}
}

// FuzzRegistrar reads what a registrar may answer.
func FuzzRegistrar(f *testing.F) {
	f.Add([]byte("SIP/2.0 200 OK\r\nContact: <sip:wagate@a>;expires=60\r\nExpires: 5\r\nMin-Expires: 7\r\nService-Route: <sip:a;lr>, <sips:b>\r\n\r\n"))
	f.Add([]byte("SIP/2.0 423 No\r\nMin-Expires: 99999999999\r\nService-Route: ,,\r\nContact: <sip:wagate@a>;expires=-1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _ := parse(data, true)
		if m == nil {
			return
		}
		r := &registration{cfg: config.Trunk{}, expires: maxExpires}
		if d := r.granted(m); d < 0 || d > maxExpires {
			t.Errorf("granted %v", d)
		}
		if d := minExpires(m); d < 0 || d > maxExpires {
			t.Errorf("at least %v", d)
		}
		routes := serviceRoute(m)
		if len(routes) > maxServiceRoute {
			t.Errorf("%d routes", len(routes))
		}
		for _, route := range routes {
			if a, ok := parseAddress(route); !ok || !wholeURI(a.uri) {
				t.Errorf("route %q", route)
			}
		}
	})
}

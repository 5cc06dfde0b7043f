package media

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"wagate/config"
)

func TestAllowedAddresses(t *testing.T) {
	for _, c := range []struct {
		addr               string
		anywhere, loopback bool // what an engine may do that is bound so
	}{
		{"57.144.43.49", true, true},
		{"10.0.0.5", true, true},
		{"2a03:2880:f312::1", true, true},
		{"127.0.0.1", false, true},
		{"::1", false, true},
		{"::ffff:127.0.0.1", false, true},
		{"0.0.0.0", false, false},
		{"::", false, false},
		{"169.254.169.254", false, false},
		{"::ffff:169.254.169.254", false, false},
		{"fe80::1", false, false},
		{"224.0.0.251", false, false},
		{"ff02::fb", false, false},
		{"255.255.255.255", false, false},
	} {
		addr := netip.MustParseAddr(c.addr)
		if got := allowed(addr, false); got != c.anywhere {
			t.Errorf("%s: got %v, want %v", c.addr, got, c.anywhere)
		}
		if got := allowed(addr, true); got != c.loopback {
			t.Errorf("%s when bound to loopback: got %v, want %v", c.addr, got, c.loopback)
		}
	}
	if allowed(netip.Addr{}, true) {
		t.Error("no address at all is allowed")
	}
}

// IPv6 goes where there is a socket and a route for it, and nowhere else.
func TestReachableCandidates(t *testing.T) {
	list := []candidate{
		{netip.MustParseAddrPort("[2001:db8::1]:3480"), 3},
		{netip.MustParseAddrPort("127.0.0.1:3480"), 2},
		{netip.MustParseAddrPort("192.0.2.1:3480"), 1},
	}
	for listen, want := range map[string]string{
		"127.0.0.1:0": "127.0.0.1:3480 192.0.2.1:3480",
		"0.0.0.0:0":   "192.0.2.1:3480",
	} {
		e := testEngine(t, func(c *config.Media) { c.WebRTC.Listen = netip.MustParseAddrPort(listen) })
		var got []string
		for _, c := range e.reachable(t.Context(), list) {
			got = append(got, c.addr.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("bound to %s: got %q, want %q", listen, got, want)
		}
	}
}

func TestOfferedAddresses(t *testing.T) {
	public := []netip.Addr{netip.MustParseAddr("203.0.113.40"), netip.MustParseAddr("2001:db8::40")}
	bound := netip.MustParseAddrPort("10.1.2.3:40000")
	h := &hub{bound: bound}
	if got, err := h.addresses(nil); err != nil || !slices.Equal(got, []netip.AddrPort{bound}) {
		t.Errorf("bound to one address: got %v, %v", got, err)
	}
	want := []netip.AddrPort{netip.MustParseAddrPort("203.0.113.40:40000"), netip.MustParseAddrPort("[2001:db8::40]:40000")}
	if got, err := h.addresses(public); err != nil || !slices.Equal(got, want[:1]) {
		t.Errorf("public addresses: got %v, %v", got, err)
	}
	h = &hub{bound: netip.MustParseAddrPort("[::]:40000")}
	if got, err := h.addresses(public); err != nil || !slices.Equal(got, want) {
		t.Errorf("public addresses of both families: got %v, %v", got, err)
	}
	got, err := h.addresses(nil)
	for _, a := range got {
		if !allowed(a.Addr(), false) || a.Port() != 40000 {
			t.Errorf("bound to all addresses: offers %v", a)
		}
	}
	if len(got) == 0 && err == nil || len(got) > maxLocalAddrs {
		t.Errorf("bound to all addresses: got %d, %v", len(got), err)
	}
}

// One socket for both families.
func TestBothFamilies(t *testing.T) {
	e, err := NewEngine(config.Media{
		WebRTC: config.WebRTC{Listen: netip.MustParseAddrPort("[::]:0")},
		RTP:    config.RTP{Ports: config.PortRange{First: 20000, Last: 20099}},
	}, nil, nil)
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	defer e.Close()
	if e.Addr().Port() == 0 {
		t.Error("the bound port is not told")
	}
	f := e.shared.face([]netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:1"), netip.MustParseAddrPort("[2001:db8::1]:1"),
	})
	if got := f.GetListenAddresses(); len(got) != 2 || got[0].String() != "192.0.2.1:1" || got[1].String() != "[2001:db8::1]:1" {
		t.Errorf("the agent sees %v, want one address per family", got)
	}
	for _, a := range f.GetListenAddresses() {
		conn, err := f.GetConn("ufrag", a)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

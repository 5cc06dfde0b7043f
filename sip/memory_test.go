package sip

import (
	"net/netip"
	"testing"

	"wagate/config"
	"wagate/test/ether"
)

// bubble is a server and a peer in memory; it runs inside synctest.Test.
func bubble(t *testing.T, change func(*config.Trunk)) (*Server, *peer) {
	t.Helper()
	n := &ether.Net{}
	p := newPeerOn(t, n.Open(netip.MustParseAddrPort("127.0.0.1:5070")))
	trunk := trunkTo(p)
	if change != nil {
		change(&trunk)
	}
	s, err := makeServer(config.SIP{}, []config.Trunk{trunk}, logger(), nil, defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	attach(t, s, n, "127.0.0.1:5060")
	return s, p
}

// attach gives a server a socket, and lets it read.
func attach(t *testing.T, s *Server, n *ether.Net, addr string) {
	t.Helper()
	s.on(n.Open(netip.MustParseAddrPort(addr)))
	s.begin()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

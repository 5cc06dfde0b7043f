package sip

import "testing"

// A far end may dial us from the very port that we are connected to. Both
// connections serve, both are counted, and both are forgotten.
func TestConnectionsOfOnePort(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	to := endpoint{proto: "tcp", addr: p.addr()}
	ours := s.newConn(connKey{endpoint: to}, false)
	s.connMu.Lock()
	s.conns[ours.key] = ours
	s.perSource[to.addr.Addr()]++
	s.connMu.Unlock()
	theirs, third := s.newConn(connKey{endpoint: to}, true), s.newConn(connKey{endpoint: to}, true)
	if !s.keepConn(theirs) || !s.keepConn(third) {
		t.Fatal("not taken")
	}
	count := func() (conns, source int, found *conn) {
		s.connMu.Lock()
		defer s.connMu.Unlock()
		return len(s.conns), s.perSource[to.addr.Addr()], s.openConn(connKey{endpoint: to})
	}
	if conns, source, found := count(); conns != 3 || source != 3 || found != ours {
		t.Errorf("%d connections, %d of the source, ours still serves: %v", conns, source, found == ours)
	}
	for _, c := range []*conn{ours, theirs, third} {
		s.dropConn(c)
	}
	if conns, source, _ := count(); conns != 0 || source != 0 {
		t.Errorf("%d connections and %d of the source are left", conns, source)
	}
}

package sip

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"wagate/config"
	"wagate/test/ether"
)

// elsewhere are hosts that are no trunk's, as somebody would write them who
// wants a message of ours to go there.
var elsewhere = []string{
	"127.0.0.1:9464", "127.0.0.1", "0.0.0.0", "0.0.0.0:5071", "[::]", "[::1]:5071", "[::ffff:127.0.0.1]:9464", "[::ffff:7f00:1]",
	"169.254.169.254:80", "[fe80::1]", "[fd00::1]:5071", "[64:ff9b::7f00:1]", "10.0.0.6:5071", "192.168.1.1", "172.16.0.1", "255.255.255.255",
	"224.0.0.1", "localhost", "localhost:9464", "metadata.internal", "evil.example:22", "10.0.0.5.evil.example", "2130706433", "0x7f000001",
	"017700000001", "127.1", "127.0.0.1;maddr=10.0.0.5", "10.0.0.5:5071;maddr=127.0.0.1", "evil.example;transport=tcp", "127.0.0.1:9464;transport=tcp",
	"127.0.0.1;transport=tls", "evil.example;transport=ws",
}

// spied is a socket that writes down where it sends.
type spied struct {
	Datagrams
	mu sync.Mutex
	to []netip.Addr
}

func (w *spied) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	w.mu.Lock()
	w.to = append(w.to, to.Addr())
	w.mu.Unlock()
	return w.Datagrams.WriteToUDPAddrPort(b, to)
}

// TestNothingLeavesTheTrunk: wherever Contact and Record-Route lead, in an
// answer of theirs, in their INVITE or when the target moves, every message of a
// call goes to the trunk, and no name is looked up.
func TestNothingLeavesTheTrunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &ether.Net{}
		p := newPeerOn(t, n.Open(netip.MustParseAddrPort("10.0.0.5:5071")))
		s, err := makeServer(config.SIP{}, []config.Trunk{trunkTo(p)}, logger(), nil, defaultTiming())
		if err != nil {
			t.Fatal(err)
		}
		s.resolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("a name is looked up")
			return nil, net.ErrClosed
		}}
		w := &spied{Datagrams: n.Open(netip.MustParseAddrPort("10.0.0.1:5060"))}
		s.on(w)
		s.begin()
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
		d := deskOf(t, s, p)
		for _, host := range elsewhere {
			for _, lines := range [][]string{
				{"Contact: <sip:phone@" + host + ">"},
				{p.contact(), "Record-Route: <sip:" + host + ";lr>"},
				{p.contact(), "Record-Route: <sip:" + host + ">"},
			} {
				c, e, invite := dial(t, s, p, call())
				p.reply(invite, 200, "a", append(slices.Clone(lines), "", "v=0")...)
				next[Accepted](e)
				p.want("ACK")
				p.inDialog(invite, "a", "UPDATE", 5, "")
				p.want("200")
				c.Bye(Reason{Q850: 16})
				p.reply(p.want("BYE"), 200, "")
				next[ByeDone](e)

				invite, incoming := d.invite("v=0", lines...)
				incoming.Answer([]byte("v=0"))
				answer := d.want("200")
				d.follow(invite, answer, "ACK", 1)
				next[Acked](incoming.events)
				incoming.Bye(Reason{Q850: 16})
				p.reply(p.want("BYE"), 200, "")
				next[ByeDone](incoming.events)
			}
		}
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.to) < 10*len(elsewhere) {
			t.Errorf("only %d messages left", len(w.to))
		}
		for _, to := range w.to {
			if to != p.addr().Addr() {
				t.Errorf("a message left for %v", to)
			}
		}
		s.connMu.Lock()
		defer s.connMu.Unlock()
		if len(s.conns) > 0 {
			t.Errorf("connections were opened: %v", s.conns)
		}
	})
}

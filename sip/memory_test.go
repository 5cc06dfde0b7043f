package sip

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"wagate/config"
)

// memoryNet carries datagrams in memory, so that servers and peers live in a
// synctest bubble: time stands still until everybody waits.
type memoryNet struct {
	delay time.Duration // of every datagram

	mu    sync.Mutex
	hosts map[netip.AddrPort]*memoryConn
}

type memoryConn struct {
	net   *memoryNet
	local netip.AddrPort
	in    chan memoryDatagram
	gone  chan struct{}
	once  sync.Once
}

type memoryDatagram struct {
	data []byte
	from netip.AddrPort
}

func newMemoryNet(delay time.Duration) *memoryNet {
	return &memoryNet{delay: delay, hosts: map[netip.AddrPort]*memoryConn{}}
}

func (n *memoryNet) open(addr string) *memoryConn {
	c := &memoryConn{net: n, local: netip.MustParseAddrPort(addr), in: make(chan memoryDatagram, 4096), gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hosts[c.local] = c
	return c
}

func (c *memoryConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

func (c *memoryConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return nil
}

func (c *memoryConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-c.in:
		return copy(b, d.data), d.from, nil
	case <-c.gone:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *memoryConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	d := memoryDatagram{append([]byte(nil), b...), c.local}
	c.net.mu.Lock()
	far := c.net.hosts[to]
	c.net.mu.Unlock()
	if far != nil && c.net.delay == 0 {
		far.take(d)
	} else if far != nil {
		time.AfterFunc(c.net.delay, func() { far.take(d) })
	}
	return len(b), nil
}

func (c *memoryConn) take(d memoryDatagram) {
	select {
	case c.in <- d:
	default: // lost, as datagrams are
	}
}

// bubble is a server and a peer in memory; it runs inside synctest.Test.
func bubble(t *testing.T, delay time.Duration, change func(*config.Trunk)) (*Server, *peer) {
	t.Helper()
	n := newMemoryNet(delay)
	p := newPeerOn(t, n.open("127.0.0.1:5070"))
	trunk := trunkTo(p)
	if change != nil {
		change(&trunk)
	}
	s, err := makeServer(config.SIP{}, []config.Trunk{trunk}, logger(), nil, defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	ours := n.open("127.0.0.1:5060")
	s.sockets = []*socket{{conn: ours, local: ours.local, traces: s.traces}}
	s.begin()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s, p
}

// deskOf makes a desk of a server and its peer.
func deskOf(t *testing.T, s *Server, p *peer) *desk {
	t.Helper()
	d := &desk{peer: p, s: s, calls: make(chan *incomingTest, 16)}
	serve(t, s, func(c *Session, in Incoming) {
		call := &incomingTest{c, in, newEvents(t)}
		c.Bind(Handling{Notify: call.events.notify, Call: "K7", Reoffer: func(offer []byte) ([]byte, error) { return offer, nil }})
		d.calls <- call
	})
	return d
}

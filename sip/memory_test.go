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
	lose  func() bool   // nil: none is lost

	mu    sync.Mutex
	hosts map[netip.AddrPort]*memoryConn
}

type memoryConn struct {
	net   *memoryNet
	local netip.AddrPort
	in    chan memoryDatagram
	gone  chan struct{}
	once  sync.Once

	mu  sync.Mutex
	due []memoryDatagram
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
	if c.net.lose != nil && c.net.lose() {
		far = nil
	}
	c.net.mu.Unlock()
	if far != nil && c.net.delay == 0 {
		far.take(d)
	} else if far != nil {
		far.mu.Lock()
		far.due = append(far.due, d)
		far.mu.Unlock()
		time.AfterFunc(c.net.delay, far.arrive)
	}
	return len(b), nil
}

// arrive takes the oldest of what is on its way: timers of one moment fire in
// any order.
func (c *memoryConn) arrive() {
	c.mu.Lock()
	d := c.due[0]
	c.due = c.due[1:]
	c.mu.Unlock()
	c.take(d)
}

func (c *memoryConn) take(d memoryDatagram) {
	select {
	case c.in <- d:
	default: // lost, as datagrams are
	}
}

// bubble is a server and a peer in memory; it runs inside synctest.Test.
func bubble(t *testing.T, change func(*config.Trunk)) (*Server, *peer) {
	t.Helper()
	n := newMemoryNet(0)
	p := newPeerOn(t, n.open("127.0.0.1:5070"))
	trunk := trunkTo(p)
	if change != nil {
		change(&trunk)
	}
	s, err := makeServer(config.SIP{}, []config.Trunk{trunk}, logger(), nil, defaultTiming())
	if err != nil {
		t.Fatal(err)
	}
	n.attach(t, s, netip.MustParseAddrPort("127.0.0.1:5060"))
	return s, p
}

// attach gives a server a socket, and lets it read.
func (n *memoryNet) attach(t *testing.T, s *Server, addr netip.AddrPort) {
	t.Helper()
	ours := n.open(addr.String())
	s.sockets = []*socket{{conn: ours, local: ours.local, traces: s.traces}}
	s.begin()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

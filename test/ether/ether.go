// Package ether carries datagrams in memory, so that whole SIP servers and
// phones can live in a synctest bubble: there, time stands still until everybody
// waits, which nobody who reads a real socket ever does.
package ether

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// backlog is how many datagrams wait for a slow reader; more are lost.
const backlog = 4096

// Net is a network. Its zero value delivers everything at once.
type Net struct {
	Delay time.Duration // of every datagram
	Lose  func() bool   // asked for every datagram; nil: none is lost

	mu    sync.Mutex
	hosts map[netip.AddrPort]*Conn
}

// Conn is a UDP socket on a Net, with the methods of a *net.UDPConn.
type Conn struct {
	net   *Net
	local netip.AddrPort
	in    chan datagram
	gone  chan struct{}
	once  sync.Once

	mu  sync.Mutex
	due []datagram
}

type datagram struct {
	data []byte
	from netip.AddrPort
}

// Open binds an address, in the place of whoever had it.
func (n *Net) Open(addr netip.AddrPort) *Conn {
	c := &Conn{net: n, local: addr, in: make(chan datagram, backlog), gone: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[netip.AddrPort]*Conn{}
	}
	n.hosts[addr] = c
	return c
}

// Net is the network that the socket is on.
func (c *Conn) Net() *Net { return c.net }

// LocalAddr is the bound address, a *net.UDPAddr.
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.local) }

// Close ends every read, now and later.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return nil
}

// ReadFromUDPAddrPort waits for a datagram. After Close it fails with
// net.ErrClosed.
func (c *Conn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-c.in:
		return copy(b, d.data), d.from, nil
	case <-c.gone:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// WriteToUDPAddrPort sends a datagram. It never fails: what reaches nobody is
// lost, as on any network.
func (c *Conn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	d := datagram{append([]byte(nil), b...), c.local}
	c.net.mu.Lock()
	far := c.net.hosts[to]
	if c.net.Lose != nil && c.net.Lose() {
		far = nil
	}
	c.net.mu.Unlock()
	switch {
	case far == nil:
	case c.net.Delay == 0:
		far.take(d)
	default:
		far.mu.Lock()
		far.due = append(far.due, d)
		far.mu.Unlock()
		time.AfterFunc(c.net.Delay, far.arrive)
	}
	return len(b), nil
}

// arrive takes the oldest of what is on its way: timers of one moment fire in
// any order.
func (c *Conn) arrive() {
	c.mu.Lock()
	d := c.due[0]
	c.due = c.due[1:]
	c.mu.Unlock()
	c.take(d)
}

func (c *Conn) take(d datagram) {
	select {
	case c.in <- d:
	default: // lost, as datagrams are
	}
}

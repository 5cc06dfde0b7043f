package media

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// hubConn is a hub's socket as ICE sees it: without the media of calls that are
// connected, which goes from here to their own goroutines. What ICE has to look
// at (its checks, DTLS, addresses that no call has selected) it gets as it comes.
type hubConn struct {
	*net.UDPConn

	mu     sync.RWMutex
	owners map[netip.AddrPort][]mediaTaker
}

// mediaTaker gets the media from an address. It must not block and must not keep
// the datagram.
type mediaTaker interface{ deliver(data []byte) }

func newHubConn(conn *net.UDPConn) *hubConn {
	return &hubConn{UDPConn: conn, owners: map[netip.AddrPort][]mediaTaker{}}
}

// ReadFromAddrPort waits for something that is not the media of a call. The hub
// has one goroutine that reads.
func (c *hubConn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil || !c.pass(b[:n], from) {
			return n, from, err
		}
	}
}

// WriteToAddrPort sends what ICE has to send.
func (c *hubConn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return c.WriteToUDPAddrPort(b, to)
}

// pass hands media (RFC 7983 section 7) to the call that has selected its source.
// false: ICE must find out whose it is. It decides too where two calls came to
// select one address, which nothing in a packet tells apart.
func (c *hubConn) pass(data []byte, from netip.AddrPort) bool {
	if len(data) < 2 || data[0] < 128 || data[0] > 191 {
		return false
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	c.mu.RLock()
	defer c.mu.RUnlock()
	owners := c.owners[from]
	if len(owners) != 1 {
		return false
	}
	owners[0].deliver(data)
	return true
}

// assign makes to the address whose media t gets, in the place of before. An
// invalid one is none. When it returned, t gets nothing more from before.
func (c *hubConn) assign(t mediaTaker, before, to netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if before.IsValid() {
		left := slices.DeleteFunc(c.owners[before], func(o mediaTaker) bool { return o == t })
		if c.owners[before] = left; len(left) == 0 {
			delete(c.owners, before)
		}
	}
	if to.IsValid() {
		c.owners[to] = append(c.owners[to], t)
	}
}

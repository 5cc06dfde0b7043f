package sip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	defaultPort = 5060
	// maxDatagram is what may leave in one datagram when the path's MTU is not
	// known (RFC 3261 section 18.1.1).
	maxDatagram = 1300
	readBuffer  = 4 << 20 // bytes asked of the kernel: a burst waits there, not in us
)

// endpoint is where a message goes: a protocol, "udp" or "tcp", and an address.
type endpoint struct {
	proto string
	addr  netip.AddrPort
}

func (e endpoint) String() string { return e.proto + " " + e.addr.String() }

// flow is the way that a message came and its answer goes: a socket and an
// address, or a connection.
type flow struct {
	sock   *socket
	conn   *conn
	remote netip.AddrPort
}

func (f flow) proto() string {
	if f.conn != nil {
		return "tcp"
	}
	return "udp"
}

func (f flow) endpoint() endpoint { return endpoint{f.proto(), f.remote} }

// send hands data to the transport and never waits. fail, when set, is called
// if the transport finds out that data did not leave.
func (f flow) send(data []byte, fail func(error)) {
	if f.conn != nil {
		f.conn.send(data, fail)
		return
	}
	if f.sock == nil {
		if fail != nil {
			fail(ErrClosed)
		}
		return
	}
	if _, err := f.sock.conn.WriteToUDPAddrPort(data, f.remote); err != nil && fail != nil {
		fail(fmt.Errorf("send to %v: %w: %w", f.remote, ErrTransport, err))
	}
}

// socket is one UDP listener.
type socket struct {
	conn  *net.UDPConn
	local netip.AddrPort
}

// listen binds one configured listener.
func (s *Server) listen(listener string) error {
	proto, hostport, found := strings.Cut(listener, "://")
	if !found {
		return fmt.Errorf("listener %q: write udp://host:port or tcp://host:port", listener)
	}
	var lc net.ListenConfig
	switch proto {
	case "udp":
		pc, err := lc.ListenPacket(context.Background(), udpNetwork(hostport), hostport)
		if err != nil {
			return fmt.Errorf("listen %s: %w", listener, err)
		}
		c, ok := pc.(*net.UDPConn)
		if !ok {
			return errors.Join(fmt.Errorf("listen %s: not a UDP socket", listener), pc.Close())
		}
		// Too small a buffer is a loss under load, not a fault: the kernel's limit stands.
		_ = c.SetReadBuffer(readBuffer)
		s.sockets = append(s.sockets, &socket{conn: c, local: localOf(c.LocalAddr())})
	case "tcp":
		l, err := lc.Listen(context.Background(), "tcp", hostport)
		if err != nil {
			return fmt.Errorf("listen %s: %w", listener, err)
		}
		s.listeners = append(s.listeners, l)
	case "tls":
		return fmt.Errorf("listener %s: tls is not built yet; use udp:// or tcp://", listener)
	default:
		return fmt.Errorf("listener %s: unknown transport %q; use udp:// or tcp://", listener, proto)
	}
	return nil
}

// udpNetwork keeps an IPv4 wildcard from becoming a dual-stack socket, whose
// addresses would come mapped.
func udpNetwork(hostport string) string {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return "udp"
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Is4() {
		return "udp4"
	}
	return "udp"
}

func localOf(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.UDPAddr:
		return unmapped(a.AddrPort())
	case *net.TCPAddr:
		return unmapped(a.AddrPort())
	}
	return netip.AddrPort{}
}

// unmapped writes ::ffff:a.b.c.d as a.b.c.d, so that one address has one form.
func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func addrPort(a netip.Addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(a, uint16(port&0xffff)) //nolint:gosec // parsed as at most 65535
}

// Addr returns the bound address of the first listener of a protocol, "udp" or
// "tcp"; the zero value when there is none.
func (s *Server) Addr(proto string) netip.AddrPort {
	if proto == "udp" && len(s.sockets) > 0 {
		return s.sockets[0].local
	}
	if proto == "tcp" && len(s.listeners) > 0 {
		return localOf(s.listeners[0].Addr())
	}
	return netip.AddrPort{}
}

// readUDP reads datagrams until the socket closes. Whoever is not a trunk is
// dropped here, before a byte is looked at or kept.
func (s *Server) readUDP(sock *socket) {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := sock.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.metrics.reject("read")
			select { // whatever it is, it must not become a busy loop
			case <-s.ctx.Done():
				return
			case <-time.After(readPause):
			}
			continue
		}
		from = unmapped(from)
		if !s.admit(from.Addr()) || blank(buf[:n]) {
			continue
		}
		s.take(bytes.Clone(buf[:n]), true, flow{sock: sock, remote: from})
	}
}

const readPause = 10 * time.Millisecond

// admit is the first question: is this source a trunk's, and has it a token
// left? The answer to both is silence.
func (s *Server) admit(source netip.Addr) bool {
	if !s.known(source) {
		s.metrics.reject("source")
		return false
	}
	if !s.limits.allow(source, time.Now()) {
		s.metrics.reject("rate")
		return false
	}
	return true
}

// blank tells a keep-alive from a message.
func blank(data []byte) bool { return len(bytes.Trim(data, "\r\n\x00 ")) == 0 }

// flowTo returns the way to an endpoint: a connection is opened or used again,
// a datagram leaves from the listener that fits the address.
func (s *Server) flowTo(to endpoint) flow {
	if to.proto == "tcp" {
		return flow{conn: s.connTo(to.addr), remote: to.addr}
	}
	return flow{sock: s.socketFor(to.addr.Addr()), remote: to.addr}
}

// socketFor chooses the listener that can reach an address, the first if in doubt.
func (s *Server) socketFor(to netip.Addr) *socket {
	var fits *socket
	for _, sock := range s.sockets {
		local := sock.local.Addr()
		dual := local.Is6() && local.IsUnspecified()
		if local.Is4() != to.Is4() && !dual {
			continue
		}
		if local.IsUnspecified() || local.IsLoopback() == to.IsLoopback() {
			return sock
		}
		if fits == nil {
			fits = sock
		}
	}
	return fits
}

// localHost returns the host and port under which a peer reaches us: what is
// in Via, Contact and, by default, From.
func (s *Server) localHost(to endpoint) (host string, port int) {
	bound := s.boundFor(to)
	if s.publicHost != "" {
		port = s.publicPort
		if port == 0 {
			port = int(bound.Port())
		}
		return s.publicHost, port
	}
	addr := bound.Addr()
	if !addr.IsValid() || addr.IsUnspecified() {
		addr = sourceFor(to.addr)
	}
	return hostOf(addr), int(bound.Port())
}

// boundFor returns the listener's address that belongs to an endpoint.
func (s *Server) boundFor(to endpoint) netip.AddrPort {
	if to.proto == "tcp" && len(s.listeners) > 0 {
		return localOf(s.listeners[0].Addr())
	}
	if sock := s.socketFor(to.addr.Addr()); sock != nil {
		return sock.local
	}
	if len(s.listeners) > 0 {
		return localOf(s.listeners[0].Addr())
	}
	return netip.AddrPort{}
}

// sourceFor asks the routing table which address of ours faces an address. No
// packet leaves.
func sourceFor(to netip.AddrPort) netip.Addr {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return netip.IPv4Unspecified()
	}
	defer func() { _ = c.Close() }()
	return localOf(c.LocalAddr()).Addr()
}

// viaFor writes the Via value of a request of ours.
func (s *Server) viaFor(to endpoint, branch string) string {
	host, port := s.localHost(to)
	return "SIP/2.0/" + strings.ToUpper(to.proto) + " " + host + ":" + strconv.Itoa(port) + ";branch=" + branch + ";rport"
}

// contactFor writes our Contact. Without a listener of that protocol it names
// the one there is.
func (s *Server) contactFor(to endpoint) string {
	host, port := s.localHost(to)
	if to.proto == "tcp" && len(s.listeners) > 0 {
		return "<sip:wagate@" + host + ":" + strconv.Itoa(port) + ";transport=tcp>"
	}
	return "<sip:wagate@" + host + ":" + strconv.Itoa(port) + ">"
}

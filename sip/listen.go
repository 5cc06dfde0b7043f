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
	defaultPort    = 5060
	defaultTLSPort = 5061
	// maxDatagram is what may leave in one datagram when the path's MTU is not
	// known (RFC 3261 section 18.1.1).
	maxDatagram = 1300
	readBuffer  = 4 << 20 // bytes asked of the kernel: a burst waits there, not in us
)

// endpoint is where a message goes: a protocol, "udp", "tcp" or "tls", and an
// address.
type endpoint struct {
	proto string
	addr  netip.AddrPort
	name  string // tls: whom the far end's certificate must name; "": whom the trunk has there
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
		return f.conn.key.proto
	}
	return "udp"
}

func (f flow) endpoint() endpoint { return endpoint{proto: f.proto(), addr: f.remote} }

// send hands data to the transport and never waits. fail, when set, is called
// if the transport finds out that data did not leave.
func (f flow) send(data []byte, fail func(error)) {
	if f.conn != nil {
		f.conn.s.traces.sent(data, f.endpoint())
		f.conn.send(data, fail)
		return
	}
	if f.sock == nil {
		if fail != nil {
			fail(ErrClosed)
		}
		return
	}
	f.sock.traces.sent(data, f.endpoint())
	if _, err := f.sock.conn.WriteToUDPAddrPort(data, f.remote); err != nil && fail != nil {
		fail(fmt.Errorf("send to %v: %w: %w", f.remote, ErrTransport, err))
	}
}

// Datagrams is what is used of a UDP socket: a *net.UDPConn, or what stands in
// for one. A read after Close fails with net.ErrClosed.
type Datagrams interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// socket is one UDP listener.
type socket struct {
	conn   Datagrams
	local  netip.AddrPort
	traces *tracers
	sign   *sign // of its reader; nil: cannot be asked
}

// listener is one TCP or TLS listener.
type listener struct {
	net.Listener
	proto string // "tcp" or "tls"
	sign  *sign  // of who accepts
}

// listen binds one configured listener.
func (s *Server) listen(text string) error {
	proto, hostport, found := strings.Cut(text, "://")
	if !found {
		return fmt.Errorf("listener %q: write udp://host:port, tcp://host:port or tls://host:port", text)
	}
	var lc net.ListenConfig
	switch proto {
	case "udp":
		pc, err := lc.ListenPacket(context.Background(), udpNetwork(hostport), hostport)
		if err != nil {
			return fmt.Errorf("listen %s: %w", text, err)
		}
		c, ok := pc.(*net.UDPConn)
		if !ok {
			return errors.Join(fmt.Errorf("listen %s: not a UDP socket", text), pc.Close())
		}
		// Too small a buffer is a loss under load, not a fault: the kernel's limit stands.
		_ = c.SetReadBuffer(readBuffer)
		s.on(c)
	case "tcp", "tls":
		if proto == "tls" && s.identity.Load() == nil {
			return fmt.Errorf("listener %s: name a certificate and its key in sip.tls", text)
		}
		l, err := lc.Listen(context.Background(), "tcp", hostport)
		if err != nil {
			return fmt.Errorf("listen %s: %w", text, err)
		}
		tl, ok := l.(*net.TCPListener)
		if !ok {
			return errors.Join(fmt.Errorf("listen %s: not a TCP socket", text), l.Close())
		}
		s.listeners = append(s.listeners, listener{l, proto, newSign(tl.SetDeadline)})
	default:
		return fmt.Errorf("listener %s: unknown transport %q; use udp://, tcp:// or tls://", text, proto)
	}
	return nil
}

// on adds a UDP socket to those that begin will read.
func (s *Server) on(c Datagrams) {
	sock := &socket{conn: c, local: localOf(c.LocalAddr()), traces: s.traces}
	if c, ok := c.(*net.UDPConn); ok {
		sock.sign = newSign(c.SetReadDeadline)
	}
	s.sockets = append(s.sockets, sock)
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

// Addr returns the bound address of the first listener of a protocol, "udp",
// "tcp" or "tls"; the zero value when there is none.
func (s *Server) Addr(proto string) netip.AddrPort {
	if proto == "udp" && len(s.sockets) > 0 {
		return s.sockets[0].local
	}
	for _, l := range s.listeners {
		if l.proto == proto {
			return localOf(l.Addr())
		}
	}
	return netip.AddrPort{}
}

// readUDP reads datagrams until the socket closes. Whoever is not a trunk is
// dropped here, before a byte is looked at or kept.
func (s *Server) readUDP(sock *socket) {
	buf := make([]byte, maxMessage+1)
	for {
		n, from, err := sock.conn.ReadFromUDPAddrPort(buf)
		if sock.sign.answered(err, s.passable) {
			continue
		}
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

// flowTo returns the way to an endpoint of a trunk: a connection is opened or
// used again, a datagram leaves from the listener that fits the address.
func (s *Server) flowTo(t *trunk, to endpoint) flow {
	if to.proto != "udp" {
		return flow{conn: s.connTo(t, to), remote: to.addr}
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
		if port == 0 || to.proto == "tls" { // the one port that can be named is the plain one
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
	if bound := s.Addr(to.proto); to.proto != "udp" && bound.IsValid() {
		return bound
	}
	if to.proto == "tls" { // nobody could call back; at least no address without TLS is named
		return netip.AddrPortFrom(netip.Addr{}, defaultTLSPort)
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

// contactOf writes the Contact of a request to uri, or of an answer to one: a
// sips URI is answered with one (RFC 3261 section 8.1.1.8). Without a TCP
// listener it names the one there is.
func (s *Server) contactOf(uri string, to endpoint) string {
	host, port := s.localHost(to)
	at := contactUser + "@" + host + ":" + strconv.Itoa(port)
	switch {
	case isSecure(uri):
		return "<sips:" + at + ">"
	case to.proto == "tls", to.proto == "tcp" && s.Addr("tcp").IsValid():
		return "<sip:" + at + ";transport=" + to.proto + ">"
	}
	return "<sip:" + at + ">"
}

// contactUser is the user part of our Contact.
const contactUser = "wagate"

// isSecure tells whether a URI asks for TLS on every hop (RFC 5630).
func isSecure(uri string) bool { return len(uri) > 5 && strings.EqualFold(uri[:5], "sips:") }

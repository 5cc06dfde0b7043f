package faketrunk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxDatagram  = 65535
	writeLimit   = 2 * time.Second
	bindAttempts = 20
)

// route is where a message goes: a TCP connection, else a UDP address.
type route struct {
	tcp  *stream
	addr netip.AddrPort
}

func (r route) String() string { return r.addr.String() }

func (r route) transport() string {
	if r.tcp != nil {
		return "tcp"
	}
	return "udp"
}

// stream is a TCP connection that carries SIP.
type stream struct {
	conn net.Conn
	mu   sync.Mutex
}

// bind opens UDP and TCP on the same port.
func (t *Trunk) bind(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	var last error
	for range bindAttempts {
		udp, err := lc.ListenPacket(ctx, "udp", addr)
		if err != nil {
			return fmt.Errorf("bind %s: %w", addr, err)
		}
		tcp, err := lc.Listen(ctx, "tcp", udp.LocalAddr().String())
		if err == nil {
			t.udp, t.tcp = udp.(Datagrams), tcp
			t.addr = udp.LocalAddr().(*net.UDPAddr).AddrPort()
			return nil
		}
		last = errors.Join(err, udp.Close())
	}
	return fmt.Errorf("bind %s for UDP and TCP: %w", addr, last)
}

func (t *Trunk) readUDP() {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // what an ICMP told about an earlier packet
			continue
		}
		if n <= 4 && len(bytes.TrimSpace(buf[:n])) == 0 { // keep-alive
			continue
		}
		m, err := parse(buf[:n])
		if err != nil {
			t.fault("from %v: %v", from, err)
			continue
		}
		t.receive(m, route{addr: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())})
	}
}

func (t *Trunk) accept() {
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			return
		}
		t.adopt(conn)
	}
}

// adopt reads from a connection until it ends.
func (t *Trunk) adopt(conn net.Conn) *stream {
	s := &stream{conn: conn}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		_ = conn.Close()
		return s
	}
	t.streams[s] = true
	t.wg.Go(func() {
		defer func() {
			t.mu.Lock()
			delete(t.streams, s)
			t.mu.Unlock()
			_ = conn.Close()
		}()
		t.readTCP(s)
	})
	t.mu.Unlock()
	return s
}

func (t *Trunk) readTCP(s *stream) {
	addr := s.conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	r := bufio.NewReader(s.conn)
	for {
		raw, err := readFramed(r)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				t.fault("from %v: %v", addr, err)
			}
			return
		}
		m, err := parse(raw)
		if err != nil {
			t.fault("from %v: %v", addr, err)
			return
		}
		t.receive(m, route{tcp: s, addr: addr})
	}
}

// readFramed reads one message of a stream, by its Content-Length.
func readFramed(r *bufio.Reader) ([]byte, error) {
	var raw bytes.Buffer
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		if raw.Len() == 0 && strings.TrimSpace(line) == "" { // keep-alive
			continue
		}
		raw.WriteString(line)
		if name, value, ok := strings.Cut(line, ":"); ok && sameName(strings.TrimSpace(name), "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil || length < 0 || length > maxDatagram {
				return nil, fmt.Errorf("%w: %q", errMessage, line)
			}
		}
		if raw.Len() > maxDatagram {
			return nil, fmt.Errorf("%w: too long", errMessage)
		}
		if line == "\r\n" {
			break
		}
	}
	if _, err := io.CopyN(&raw, r, int64(length)); err != nil {
		return nil, err
	}
	return raw.Bytes(), nil
}

// write sends a message and notes it. The caller holds t.mu.
func (t *Trunk) write(raw []byte, r route) {
	if t.closed {
		return
	}
	m, err := parse(raw)
	if err == nil {
		m.In = false
		t.note(m, r)
	}
	if r.tcp == nil {
		_, _ = t.udp.WriteToUDPAddrPort(raw, r.addr)
		return
	}
	r.tcp.mu.Lock()
	defer r.tcp.mu.Unlock()
	_ = r.tcp.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	_, _ = r.tcp.conn.Write(raw)
}

// Send puts bytes on the wire as they are, towards a UDP address: what a
// hostile or broken neighbour would send.
func (t *Trunk) Send(to netip.AddrPort, raw []byte) error {
	if _, err := t.udp.WriteToUDPAddrPort(raw, to); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// routeTo finds the way to a URI; a TCP connection is reused when it is given.
func (t *Trunk) routeTo(ctx context.Context, uri string, reuse route) (route, error) {
	host, transport := hostOf(uri)
	if host == "" {
		return route{}, fmt.Errorf("route to %q: not a sip URI", uri)
	}
	if transport == "tcp" {
		if reuse.tcp != nil {
			return reuse, nil
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", host)
		if err != nil {
			return route{}, fmt.Errorf("route to %q: %w", uri, err)
		}
		return route{tcp: t.adopt(conn), addr: conn.RemoteAddr().(*net.TCPAddr).AddrPort()}, nil
	}
	a, err := net.ResolveUDPAddr("udp", host)
	if err != nil {
		return route{}, fmt.Errorf("route to %q: %w", uri, err)
	}
	ap := a.AddrPort()
	return route{addr: netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())}, nil
}

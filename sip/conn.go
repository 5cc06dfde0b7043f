package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// What TCP and TLS may hold.
const (
	maxConns       = 512 // in all
	maxConnsSource = 64  // of one address
	maxQueued      = 256 // messages that wait to be written
	dialLimit      = 3 * time.Second
	writeLimit     = 5 * time.Second
)

// conn is one TCP or TLS connection: a reader that runs on its own goroutine and
// a writer that takes from a queue, so that nobody waits for the peer.
type conn struct {
	s       *Server
	key     connKey
	remote  netip.AddrPort
	inbound bool
	secure  *tls.Config // tls that we open
	pulse   pulse

	mu     sync.Mutex
	queue  []queued
	closed bool
	ending bool          // nothing more is read: close once the queue is written
	why    error         // why it ended, as far as that is known
	wake   chan struct{} // a token: the queue has something
	gone   chan struct{} // closed with the connection
}

// queued is a message that waits to be written.
type queued struct {
	data []byte
	fail func(error)
}

func (s *Server) newConn(key connKey, inbound bool) *conn {
	return &conn{s: s, key: key, remote: key.addr, inbound: inbound, wake: make(chan struct{}, 1), gone: make(chan struct{})}
}

// lost is what whoever has sent on the connection is told of its end.
func (c *conn) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil {
		return fmt.Errorf("send to %v: %w: %w", c.remote, ErrTransport, c.why)
	}
	return fmt.Errorf("send to %v: %w: connection closed", c.remote, ErrTransport)
}

// blame notes why the connection ends; the first reason counts.
func (c *conn) blame(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = err
	}
}

// send queues data. A peer that reads nothing loses its connection.
func (c *conn) send(data []byte, fail func(error)) {
	c.mu.Lock()
	full := len(c.queue) >= maxQueued
	if c.closed || full {
		c.mu.Unlock()
		if full {
			c.close()
		}
		if fail != nil {
			fail(c.lost())
		}
		return
	}
	c.queue = append(c.queue, queued{data, fail})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close ends the connection and fails what is still queued, and what was sent on
// it and has not been answered by a word.
func (c *conn) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	left := c.queue
	c.queue = nil
	close(c.gone)
	c.mu.Unlock()
	c.s.dropConn(c)
	for _, o := range left {
		if o.fail != nil {
			o.fail(c.lost())
		}
	}
	c.s.spawn(func() { c.s.failOn(c) }) // whoever closes may hold a transaction's lock
}

// finish lets the writer write what is queued, a refusal for instance, and
// then end the connection.
func (c *conn) finish() {
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// next takes the queue.
func (c *conn) next() (batch []queued, last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch, c.queue = c.queue, nil
	return batch, c.ending
}

// write writes the queue until the connection ends, and pings a connection
// that we opened.
func (c *conn) write(nc net.Conn) {
	defer c.close()
	defer func() { _ = nc.Close() }()
	ping := time.NewTicker(c.s.tm.keepalive)
	defer ping.Stop()
	silence := time.NewTimer(time.Hour)
	silence.Stop()
	defer silence.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-c.s.ctx.Done():
			return
		case <-ping.C:
			if c.inbound {
				continue
			}
			if c.pulse.ping() {
				silence.Reset(c.s.tm.pong)
			}
			if !writeAll(nc, []byte("\r\n\r\n")) {
				return
			}
		case <-silence.C:
			if c.pulse.silent() {
				c.blame(errNoPong)
				return
			}
		case <-c.wake:
			batch, last := c.next()
			for _, o := range batch {
				if !writeAll(nc, o.data) {
					if o.fail != nil {
						o.fail(c.lost())
					}
					return
				}
			}
			if last {
				return
			}
		}
	}
}

func writeAll(nc net.Conn, data []byte) bool {
	if nc.SetWriteDeadline(time.Now().Add(writeLimit)) != nil {
		return false
	}
	_, err := nc.Write(data)
	return err == nil
}

// connTo returns the trunk's connection to an endpoint: one that is open, also
// one that the far end has opened (RFC 5923), else a new one.
func (s *Server) connTo(t *trunk, to endpoint) *conn {
	key := t.keyOf(to)
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if c := s.openConn(key); c != nil {
		return c
	}
	c := s.newConn(key, false)
	if key.owner != "" {
		c.secure = t.tls.expecting(key.name)
	}
	s.conns[key] = c
	s.perSource[to.addr.Addr()]++
	s.work.Go(func() { s.dial(c) })
	return c
}

// openConn finds a connection: our own, else the far end's. connMu is held.
func (s *Server) openConn(key connKey) *conn {
	if c := s.conns[key]; c != nil {
		return c
	}
	return s.conns[connKey{endpoint: endpoint{proto: key.proto, addr: key.addr}}]
}

// dial opens a connection of ours and serves it.
func (s *Server) dial(c *conn) {
	nc, err := s.connect(c)
	if err != nil {
		c.blame(err)
		batch, _ := c.next()
		for _, o := range batch {
			if o.fail != nil {
				o.fail(fmt.Errorf("connect to %v: %w: %w", c.remote, ErrTransport, err))
			}
		}
		c.close()
		return
	}
	s.work.Go(func() { s.readTCP(c, nc) })
	c.write(nc)
}

// connect opens the connection, with its handshake where it is TLS.
func (s *Server) connect(c *conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, dialLimit)
	defer cancel()
	d := net.Dialer{Control: boundSilence(s.tm.pong)}
	if local := s.Addr(c.key.proto).Addr(); local.IsValid() && !local.IsUnspecified() && local.Is4() == c.remote.Addr().Is4() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	nc, err := d.DialContext(ctx, "tcp", c.remote.String())
	if err != nil || c.key.proto != "tls" {
		return nc, err
	}
	ctx, done := context.WithTimeout(s.ctx, s.tm.handshake)
	defer done()
	secured, err := c.shake(ctx, nc)
	if err != nil {
		_ = nc.Close()
	}
	return secured, err
}

// accept takes connections of trunks, and closes all others at once.
func (s *Server) accept(l listener) {
	for {
		nc, err := l.Accept()
		if l.sign.answered(err, s.passable) {
			continue
		}
		if err != nil {
			if s.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			s.metrics.reject("read")
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(readPause):
			}
			continue
		}
		remote := localOf(nc.RemoteAddr())
		c := s.newConn(connKey{endpoint: endpoint{proto: l.proto, addr: remote}}, true)
		if !s.keepConn(c) {
			_ = nc.Close()
			continue
		}
		s.work.Go(func() { s.serveConn(c, nc) })
	}
}

// serveConn serves a connection that the far end has opened. One that does not
// finish its handshake counts among the connections until its time is over.
func (s *Server) serveConn(c *conn, nc net.Conn) {
	if tc, ok := nc.(*net.TCPConn); ok {
		limitSilence(tc, s.tm.pong)
	}
	if c.key.proto == "tls" {
		secured := tls.Server(nc, s.listenerTLS())
		ctx, cancel := context.WithTimeout(s.ctx, s.tm.handshake)
		err := secured.HandshakeContext(ctx)
		cancel()
		if err != nil {
			s.metrics.reject("handshake")
			if s.badHandshake.due(time.Now()) {
				s.log.Warn("tls handshake failed", slog.String("source", c.remote.String()), slog.Any("error", err))
			}
			c.close()
			_ = nc.Close()
			return
		}
		nc = secured
	}
	s.work.Go(func() { s.readTCP(c, nc) })
	c.write(nc)
}

// keepConn admits a connection within the limits.
func (s *Server) keepConn(c *conn) bool {
	source := c.remote.Addr()
	if !s.known(source) {
		s.metrics.reject("source")
		return false
	}
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if len(s.conns) >= maxConns || s.perSource[source] >= maxConnsSource {
		s.metrics.reject("connections")
		return false
	}
	if s.conns[c.key] != nil { // of ours, to the very port that it comes from: each serves what comes over it
		s.twins++
		c.key.twin = s.twins
	}
	s.conns[c.key] = c
	s.perSource[source]++
	return true
}

// dropConn forgets a connection.
func (s *Server) dropConn(c *conn) {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if s.conns[c.key] != c {
		return
	}
	delete(s.conns, c.key)
	source := c.remote.Addr()
	if s.perSource[source]--; s.perSource[source] <= 0 {
		delete(s.perSource, source)
	}
}

package sip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// What TCP may hold.
const (
	maxConns       = 512 // in all
	maxConnsSource = 64  // of one address
	maxQueued      = 256 // messages that wait to be written
	dialLimit      = 3 * time.Second
	writeLimit     = 5 * time.Second
)

// conn is one TCP connection: a reader that runs on its own goroutine and a
// writer that takes from a queue, so that nobody waits for the peer.
type conn struct {
	s       *Server
	remote  netip.AddrPort
	inbound bool

	mu     sync.Mutex
	queue  []queued
	closed bool
	ending bool          // nothing more is read: close once the queue is written
	wake   chan struct{} // a token: the queue has something
	gone   chan struct{} // closed with the connection
}

// queued is a message that waits to be written.
type queued struct {
	data []byte
	fail func(error)
}

func (s *Server) newConn(remote netip.AddrPort, inbound bool) *conn {
	return &conn{s: s, remote: remote, inbound: inbound, wake: make(chan struct{}, 1), gone: make(chan struct{})}
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
			fail(fmt.Errorf("send to %v: %w: connection closed", c.remote, ErrTransport))
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

// close ends the connection and fails what is still queued.
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
			o.fail(fmt.Errorf("send to %v: %w: connection closed", c.remote, ErrTransport))
		}
	}
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
// that we opened when it is quiet.
func (c *conn) write(nc net.Conn) {
	defer c.close()
	defer func() { _ = nc.Close() }()
	ping := time.NewTicker(c.s.tm.keepalive)
	defer ping.Stop()
	for {
		select {
		case <-c.gone:
			return
		case <-c.s.ctx.Done():
			return
		case <-ping.C:
			if !c.inbound && !writeAll(nc, []byte("\r\n\r\n")) {
				return
			}
		case <-c.wake:
			batch, last := c.next()
			for _, o := range batch {
				if !writeAll(nc, o.data) {
					if o.fail != nil {
						o.fail(fmt.Errorf("send to %v: %w: write", c.remote, ErrTransport))
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

// connTo returns the connection to an address, opening one if there is none.
func (s *Server) connTo(to netip.AddrPort) *conn {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if c := s.conns[to]; c != nil {
		return c
	}
	c := s.newConn(to, false)
	s.conns[to] = c
	s.perSource[to.Addr()]++
	s.work.Go(func() { s.dial(c) })
	return c
}

// dial opens a connection of ours and serves it.
func (s *Server) dial(c *conn) {
	ctx, cancel := context.WithTimeout(s.ctx, dialLimit)
	defer cancel()
	var d net.Dialer
	if len(s.listeners) > 0 {
		if local := localOf(s.listeners[0].Addr()).Addr(); !local.IsUnspecified() && local.Is4() == c.remote.Addr().Is4() {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
		}
	}
	nc, err := d.DialContext(ctx, "tcp", c.remote.String())
	if err != nil {
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

// accept takes connections of trunks, and closes all others at once.
func (s *Server) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
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
		c := s.newConn(remote, true)
		if !s.keepConn(c) {
			_ = nc.Close()
			continue
		}
		s.work.Go(func() { s.readTCP(c, nc) })
		s.work.Go(func() { c.write(nc) })
	}
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
	s.conns[c.remote] = c
	s.perSource[source]++
	return true
}

// dropConn forgets a connection.
func (s *Server) dropConn(c *conn) {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	if s.conns[c.remote] != c {
		return
	}
	delete(s.conns, c.remote)
	source := c.remote.Addr()
	if s.perSource[source]--; s.perSource[source] <= 0 {
		delete(s.perSource, source)
	}
}

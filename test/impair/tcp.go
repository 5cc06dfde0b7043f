package impair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// TCP relays connections to one target. Of a Network it knows Delay and Cut:
// what is cut stands still, as behind a firewall that forgot the connection.
type TCP struct {
	target string
	ln     net.Listener
	ctx    context.Context //nolint:containedctx // the life of everything that NewTCP began
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	net     [2]Network
	changed chan struct{}
	conns   map[*net.TCPConn]struct{}
	served  int
}

// NewTCP starts a relay to target, a host and port. The caller closes it.
func NewTCP(target string) (*TCP, error) {
	ln, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	r := &TCP{target: target, ln: ln, changed: make(chan struct{}), conns: map[*net.TCPConn]struct{}{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.wg.Go(r.accept)
	return r, nil
}

// Addr is where clients connect.
func (r *TCP) Addr() netip.AddrPort { return r.ln.Addr().(*net.TCPAddr).AddrPort() }

// Served is how many connections were taken so far.
func (r *TCP) Served() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.served
}

// Set changes the network on one way, for all connections, from now on.
func (r *TCP) Set(w Way, n Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.net[w] = n
	close(r.changed)
	r.changed = make(chan struct{})
}

// Reset ends all connections with a RST to both sides.
func (r *TCP) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// Close ends the relay and its connections.
func (r *TCP) Close() error {
	r.cancel()
	err := r.ln.Close()
	r.Reset()
	r.wg.Wait()
	return err
}

func (r *TCP) accept() {
	for {
		c, err := r.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			r.wg.Go(func() { r.serve(c.(*net.TCPConn)) })
		}
	}
}

func (r *TCP) serve(client *net.TCPConn) {
	if !r.keep(client) {
		return
	}
	defer r.drop(client)
	r.mu.Lock()
	r.served++
	r.mu.Unlock()
	c, err := (&net.Dialer{}).DialContext(r.ctx, "tcp", r.target)
	if err != nil {
		_ = client.SetLinger(0)
		return
	}
	server := c.(*net.TCPConn)
	if !r.keep(server) {
		return
	}
	defer r.drop(server)
	var both sync.WaitGroup
	both.Go(func() { r.carry(Up, client, server) })
	both.Go(func() { r.carry(Down, server, client) })
	both.Wait()
}

// keep notes an open connection; false closes it, for the relay is closed.
func (r *TCP) keep(c *net.TCPConn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		_ = c.Close()
		return false
	}
	r.conns[c] = struct{}{}
	return true
}

func (r *TCP) drop(c *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
	_ = c.Close()
}

// chunk is what was read at once.
type chunk struct {
	data []byte
	at   time.Time
	err  error
}

// carry copies one way until its end, and passes the end on.
func (r *TCP) carry(w Way, from, to *net.TCPConn) {
	const ahead = 64 // chunks under way
	way := make(chan chunk, ahead)
	stop := make(chan struct{})
	defer close(stop)
	r.wg.Go(func() { read(from, way, stop) })
	for c := range way {
		if !r.wait(w, c.at) {
			return
		}
		if _, err := to.Write(c.data); err != nil {
			_ = from.Close()
			return
		}
		switch {
		case c.err == nil:
		case errors.Is(c.err, io.EOF):
			_ = to.CloseWrite()
		default: // a reset is passed on as one
			_ = to.SetLinger(0)
			_ = to.Close()
		}
	}
}

// read reads until an error, which it passes on too.
func read(from *net.TCPConn, way chan<- chunk, stop <-chan struct{}) {
	defer close(way)
	for {
		buf := make([]byte, chunkMax)
		n, err := from.Read(buf)
		select {
		case way <- chunk{buf[:n], time.Now(), err}:
		case <-stop:
			return
		}
		if err != nil {
			return
		}
	}
}

const chunkMax = 1 << 14

// wait lets the network's delay since then pass, and all the time for which it
// is cut. It is false when the relay is closed.
func (r *TCP) wait(w Way, since time.Time) bool {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		r.mu.Lock()
		n, changed := r.net[w], r.changed
		r.mu.Unlock()
		var due <-chan time.Time
		if !n.Cut {
			left := time.Until(since.Add(n.Delay))
			if left <= 0 {
				return r.ctx.Err() == nil
			}
			timer.Reset(left)
			due = timer.C
		}
		select {
		case <-due:
		case <-changed:
		case <-r.ctx.Done():
			return false
		}
	}
}

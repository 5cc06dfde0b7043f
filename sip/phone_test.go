package sip

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// phone is a far end on TCP or TLS without a stack.
type phone struct {
	t     *testing.T
	l     net.Listener
	proto string
	in    chan heard
	mute  atomic.Bool  // no pong
	pings atomic.Int32 // that came

	mu    sync.Mutex
	conns []net.Conn
}

// heard is a message with the connection that brought it.
type heard struct {
	*message
	nc net.Conn
}

// newPhone listens on TLS, or on TCP when cfg is nil.
func newPhone(t *testing.T, cfg *tls.Config) *phone {
	t.Helper()
	return newPhoneAt(t, "127.0.0.1:0", cfg)
}

func newPhoneAt(t *testing.T, addr string, cfg *tls.Config) *phone {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	p := &phone{t: t, l: l, proto: "tcp", in: make(chan heard, 1024)}
	if cfg != nil {
		p.l, p.proto = tls.NewListener(l, cfg), "tls"
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			nc, err := p.l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns = append(p.conns, nc)
			p.mu.Unlock()
			work.Go(func() { p.read(nc) })
		}
	})
	t.Cleanup(func() {
		p.l.Close()
		p.hangUp()
		work.Wait()
	})
	return p
}

// read takes what comes on a connection, and answers pings.
func (p *phone) read(nc net.Conn) {
	var f framer
	buf := make([]byte, 4096)
	for {
		n, err := nc.Read(buf)
		f.feed(buf[:n])
		for {
			data, pings, bad := f.next()
			p.pings.Add(int32(pings))
			if pings > 0 && !p.mute.Load() {
				nc.Write([]byte("\r\n"))
			}
			if bad != nil || data == nil {
				break
			}
			if m, _ := parse(data, false); m != nil {
				p.in <- heard{m, nc}
			}
		}
		if err != nil {
			return
		}
	}
}

// hangUp closes every connection.
func (p *phone) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, nc := range p.conns {
		nc.Close()
	}
	p.conns = nil
}

// connections is how many there were since the last hangUp.
func (p *phone) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

func (p *phone) addr() netip.AddrPort { return localOf(p.l.Addr()) }

func (p *phone) uri() string { return "sip:" + p.addr().String() + ";transport=" + p.proto }

func (p *phone) want(what string) heard {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m := <-p.in:
			if m.method == what || (m.status > 0 && strconv.Itoa(m.status) == what) {
				return m
			}
		case <-timeout:
			p.t.Fatalf("no %s came", what)
		}
	}
}

// reply answers on the connection that brought the request.
func (h heard) reply(status int, extra ...field) {
	m := response(h.message, status, "a", flow{conn: &conn{key: connKey{endpoint: endpoint{proto: "tls"}}}, remote: localOf(h.nc.RemoteAddr())}, extra...)
	if status == 200 && h.method == "INVITE" {
		m.add("Content-Type", contentSDP)
		m.body = []byte("v=0 answer")
	}
	h.nc.Write(m.bytes())
}

func (p *phone) contact() field {
	return field{"Contact", "<" + strings.Replace(p.uri(), "sip:", "sip:phone@", 1) + ">"}
}

// ring connects to the gateway.
func ring(t *testing.T, s *Server, cfg *tls.Config) *tls.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr("tls").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := tls.Client(nc, cfg)
	c.SetDeadline(time.Now().Add(patience))
	return c
}

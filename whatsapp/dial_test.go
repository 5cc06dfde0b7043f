package whatsapp

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// resolverOf answers with what f does of a connection to a name server.
func resolverOf(f func(ctx context.Context) (net.Conn, error)) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return f(ctx) }}
}

func TestNamesOutliveTheirServer(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var asked atomic.Int32
	refuses := resolverOf(func(context.Context) (net.Conn, error) {
		asked.Add(1)
		return nil, errors.New("no name server")
	})
	silent := resolverOf(func(ctx context.Context) (net.Conn, error) {
		asked.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("graph.test", port)
	for name, r := range map[string]*net.Resolver{"refuses": refuses, "is silent": silent} {
		t.Run(name, func(t *testing.T) {
			c := newCaller()
			c.dialer.Resolver = r
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if conn, err := c.dial(ctx, "tcp", address); err == nil {
				conn.Close()
				t.Fatal("a name that nobody knows led somewhere")
			}
			c.last[address] = l.Addr().String()
			asked.Store(0)
			conn, err := c.dial(ctx, "tcp", address)
			if err != nil {
				t.Fatalf("the last address was not used: %v", err)
			}
			conn.Close()
			if asked.Load() == 0 {
				t.Error("the name server was not asked, so a new address would never be found")
			}
			ended, end := context.WithCancel(ctx)
			end()
			if conn, err := c.dial(ended, "tcp", address); err == nil {
				conn.Close()
				t.Error("connected for nobody")
			}
		})
	}
	c := newCaller()
	if conn, err := c.dial(t.Context(), "tcp", l.Addr().String()); err != nil || c.last[l.Addr().String()] != l.Addr().String() {
		t.Errorf("an address led to %v, %v", c.last, err)
	} else {
		conn.Close()
	}
	l.Close()
	c.last[l.Addr().String()] = "127.0.0.1:1"
	if _, err := c.dial(t.Context(), "tcp", l.Addr().String()); err == nil {
		t.Error("connected to nobody")
	}
}

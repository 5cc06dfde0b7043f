package whatsapp

import (
	"context"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
	"time"
)

const (
	dialLimit = 2 * time.Second
	// nameLimit is how long a name that was resolved before may take. Then its
	// last address is as good.
	nameLimit = 500 * time.Millisecond
)

// caller makes connections to the Graph API. It remembers where a name led last,
// so that a dead resolver does not keep calls from being ended.
type caller struct {
	dialer net.Dialer
	mu     sync.Mutex
	last   map[string]string // address that was reached, by the one that was asked for
}

func newCaller() *caller {
	return &caller{
		dialer: net.Dialer{Timeout: dialLimit, KeepAlive: 15 * time.Second},
		last:   map[string]string{},
	}
}

// dial is a Transport's DialContext.
func (c *caller) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	last, known := c.last[address]
	c.mu.Unlock()
	conn, nameless, err := c.fresh(ctx, network, address, known)
	if err == nil {
		c.mu.Lock()
		c.last[address] = conn.RemoteAddr().String()
		c.mu.Unlock()
		return conn, nil
	}
	if !nameless || !known || ctx.Err() != nil {
		return nil, err
	}
	return c.dialer.DialContext(ctx, network, last)
}

// fresh asks the resolver. nameless says that it had no answer, be it in time;
// hasten that this may not take long.
func (c *caller) fresh(ctx context.Context, network, address string, hasten bool) (conn net.Conn, nameless bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := make(chan struct{})
	asked := false // of names only, and before the first connection
	var patience *time.Timer
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		DNSStart: func(httptrace.DNSStartInfo) {
			asked = true
			if hasten {
				patience = time.AfterFunc(nameLimit, func() { close(late); cancel() })
			}
		},
		DNSDone: func(httptrace.DNSDoneInfo) {
			if patience != nil {
				patience.Stop()
			}
		},
	})
	conn, err = c.dialer.DialContext(ctx, network, address)
	var fault *net.DNSError
	select {
	case <-late:
		nameless = conn == nil
	default:
		nameless = asked && errors.As(err, &fault)
	}
	return conn, nameless, err
}

package impair

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// echo answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

func dial(t *testing.T, r *TCP) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", r.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

func say(t *testing.T, c net.Conn, in *bufio.Reader, line string) {
	t.Helper()
	_, _ = fmt.Fprintln(c, line)
	if got, err := in.ReadString('\n'); err != nil || got != line+"\n" {
		t.Fatalf("got %q, %v; want %q", got, err, line)
	}
}

func TestTCPDelayCutAndReset(t *testing.T) {
	r, err := NewTCP(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, in := dial(t, r)
	say(t, c, in, "plain")
	r.Set(Down, Network{Delay: 50 * time.Millisecond})
	began := time.Now()
	say(t, c, in, "late")
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("answered after %v, want 50 ms", took)
	}
	r.Set(Down, Network{})
	r.Set(Up, Network{Cut: true})
	answered := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		say(t, c, in, "held")
		close(answered)
	})
	select {
	case <-answered:
		t.Error("answered through a cut")
	case <-time.After(100 * time.Millisecond):
	}
	r.Set(Up, Network{})
	wg.Wait()
	r.Reset()
	if _, err := in.ReadByte(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after a reset: %v", err)
	}
	c, in = dial(t, r)
	say(t, c, in, "again")
	if got := r.Served(); got != 2 {
		t.Errorf("%d connections, want 2", got)
	}
}

func TestTCPEndsArePassedOn(t *testing.T) {
	r, err := NewTCP(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, in := dial(t, r)
	say(t, c, in, "hello")
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("after both ends closed: %v", err)
	}
	dead, err := NewTCP("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err = (&net.Dialer{}).DialContext(ctx, "tcp", dead.Addr().String())
	if err == nil { // else it was reset before we knew
		defer c.Close()
		defer context.AfterFunc(ctx, func() { _ = c.Close() })()
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil || ctx.Err() != nil {
		t.Errorf("nobody behind the relay: %v", err)
	}
}

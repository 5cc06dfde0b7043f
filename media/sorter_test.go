package media

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// listenUDP opens a port of its own on loopback.
func listenUDP(tb testing.TB) *net.UDPConn {
	tb.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// taken is a call that notes what it is given.
type taken chan string

func (t taken) take(data []byte) { t <- string(data) }

// Media of a call that is up goes to the call; everything else, and everything
// after the call, goes to the ICE library.
func TestSorter(t *testing.T) {
	s := newSorter(listenUDP(t))
	t.Cleanup(func() { _ = s.Close() })
	far, stranger := listenUDP(t), listenUDP(t)
	call, another := make(taken, 1), make(taken, 1)
	from := []netip.AddrPort{far.LocalAddr().(*net.UDPAddr).AddrPort()}
	rest := make(chan string)
	go func() {
		var b [maxDatagram]byte
		for {
			n, _, err := s.ReadFromAddrPort(b[:])
			if err != nil {
				close(rest)
				return
			}
			rest <- string(b[:n])
		}
	}()
	send := func(c *net.UDPConn, text string) {
		if _, err := c.WriteTo([]byte(text), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what, text string, got <-chan string) {
		t.Helper()
		select {
		case b := <-got:
			if b != text {
				t.Errorf("%s: %q, want %q", what, b, text)
			}
		case <-time.After(patience):
			t.Fatalf("%s: nothing came", what)
		}
	}
	send(far, "\x80 before")
	want("media before the call is up", "\x80 before", rest)
	s.give(from, call)
	send(far, "\x80 media")
	want("media", "\x80 media", call)
	send(far, "\x01 check")
	want("a check", "\x01 check", rest)
	send(far, "\x16 shake")
	want("a handshake", "\x16 shake", rest)
	send(far, "\x80")
	want("too short", "\x80", rest)
	send(stranger, "\x80 strange")
	want("a stranger's media", "\x80 strange", rest)
	s.takeBack(from, another)
	send(far, "\x80 more")
	want("media after another call's end", "\x80 more", call)
	s.takeBack(from, call)
	send(far, "\x80 after")
	want("media after the call", "\x80 after", rest)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, open := <-rest; open {
		t.Error("read from a closed socket")
	}
}

// A flood that nobody takes away stays within the queue, and media goes on
// beside it.
func TestSorterBoundsWhatWaits(t *testing.T) {
	s := newSorter(listenUDP(t))
	t.Cleanup(func() { _ = s.Close() })
	far := listenUDP(t)
	call := make(taken, 1)
	s.give([]netip.AddrPort{far.LocalAddr().(*net.UDPAddr).AddrPort()}, call)
	for range 2 * restQueue {
		for _, text := range []string{"\x01 check", "\x80 media"} {
			if _, err := far.WriteTo([]byte(text), s.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-call:
		case <-time.After(patience):
			t.Fatal("media waits behind the flood")
		}
	}
	if n := len(s.rest); n != restQueue {
		t.Errorf("%d datagrams wait, want %d", n, restQueue)
	}
}

package sip

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// tcpServer listens on TCP and takes 127.0.0.1 for the trunk.
func tcpServer(t *testing.T) *Server {
	t.Helper()
	p := newPeer(t)
	trunk := trunkTo(p)
	trunk.Targets = []config.Target{{URI: "sip:" + p.addr().String() + ";transport=tcp"}}
	return serverOn(t, quick(), []string{"tcp://127.0.0.1:0"}, trunk)
}

func connect(t *testing.T, s *Server) net.Conn {
	t.Helper()
	var d net.Dialer
	nc, err := d.DialContext(t.Context(), "tcp", s.Addr("tcp").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return nc
}

// closed waits until the gateway has closed a connection, and returns what it
// said before.
func closed(t *testing.T, nc net.Conn) string {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(patience))
	said, err := io.ReadAll(nc)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		t.Fatal("the connection stays open")
	}
	return string(said)
}

func status(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	for {
		l, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if l == "\r\n" {
			return strings.TrimSpace(line)
		}
	}
}

func options(t *testing.T) string {
	t.Helper()
	p := newPeer(t)
	return string(p.outside("OPTIONS", "").bytes())
}

func TestStreamTakesMessagesHoweverTheyAreCut(t *testing.T) {
	s := tcpServer(t)
	nc := connect(t, s)
	r := bufio.NewReader(nc)
	nc.SetDeadline(time.Now().Add(patience))
	text := "\r\n\r\n\r\n" + options(t) + "\r\n" + options(t)
	for i := range len(text) {
		nc.Write([]byte{text[i]})
	}
	if pong, _ := r.ReadString('\n'); pong != "\r\n" {
		t.Errorf("a ping got %q", pong)
	}
	for range 2 {
		if got := status(t, r); got != "SIP/2.0 200 OK" {
			t.Errorf("got %q", got)
		}
	}
	nc.Write([]byte(options(t) + options(t)))
	for range 2 {
		if got := status(t, r); got != "SIP/2.0 200 OK" {
			t.Errorf("got %q", got)
		}
	}
}

func TestStreamClosesOnTheFirstFault(t *testing.T) {
	s := tcpServer(t)
	good := options(t)
	for _, c := range []struct{ name, text, want string }{
		{"garbage", "garbage\r\n\r\n" + good, ""},
		{"no length", without("Content-Length")(good) + good, "SIP/2.0 400 "},
		{"two lengths", strings.Replace(good, "Content-Length: 0", "Content-Length: 0\r\nl: 5", 1) + good, "SIP/2.0 400 "},
		{"length -1", strings.Replace(good, "Content-Length: 0", "Content-Length: -1", 1) + good, "SIP/2.0 400 "},
		{"length +0", strings.Replace(good, "Content-Length: 0", "Content-Length: +0", 1) + good, "SIP/2.0 400 "},
		{"length 1 0", strings.Replace(good, "Content-Length: 0", "Content-Length: 1 0", 1) + good, "SIP/2.0 400 "},
		{"length 2^31", strings.Replace(good, "Content-Length: 0", "Content-Length: 2147483648", 1) + good, "SIP/2.0 400 "},
		{"length 2^32+32", strings.Replace(good, "Content-Length: 0", "Content-Length: 4294967328", 1) + good, "SIP/2.0 400 "},
		{"more than 64 KiB", strings.Replace(good, "Content-Length: 0", "Content-Length: 70000", 1) + strings.Repeat("x", 70000), "SIP/2.0 513 "},
		{"bad header", strings.Replace(good, "Max-Forwards", "Bad\x01: 1\r\nMax-Forwards", 1) + good, "SIP/2.0 400 "},
		{"a header that never ends", "OPTIONS sip:x SIP/2.0\r\nX: " + strings.Repeat("y", 100000), ""},
		{"headers that never end", "OPTIONS sip:x SIP/2.0\r\n" + strings.Repeat("X: y\r\n", 20000), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			nc := connect(t, s)
			nc.Write([]byte(c.text))
			said := closed(t, nc)
			if c.want == "" && said != "" || !strings.HasPrefix(said, c.want) || strings.Count(said, "SIP/2.0 ") > strings.Count(c.want, "SIP/2.0 ")+1 || strings.Contains(said, "200 OK") {
				t.Errorf("got %q, want %q", said, c.want)
			}
		})
	}
}

func TestIdleAndHalfOpenConnectionsAreClosed(t *testing.T) {
	s := tcpServer(t)
	var conns []net.Conn
	for i := range 200 {
		nc := connect(t, s)
		if i%2 == 0 {
			nc.Write([]byte("OPTIONS sip:x SIP/2.0\r\nX: y"))
		}
		conns = append(conns, nc)
	}
	late := connect(t, s)
	started := time.Now()
	for _, nc := range append(conns, late) {
		closed(t, nc)
	}
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("closed after %v", took)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.connMu.Lock()
		n, sources := len(s.conns), len(s.perSource)
		s.connMu.Unlock()
		if n == 0 && sources == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections, %d sources are left", n, sources)
		}
	}
	nc := connect(t, s) // a good one after all of them
	nc.Write([]byte(options(t)))
	if got := status(t, bufio.NewReader(nc)); got != "SIP/2.0 200 OK" {
		t.Errorf("got %q", got)
	}
	closed(t, nc) // and idle in its turn
}

func TestConnectionsOfStrangersAreClosedUnread(t *testing.T) {
	p := newPeer(t)
	trunk := trunkTo(p)
	trunk.Targets = []config.Target{{URI: "sip:127.0.0.3:5060;transport=tcp"}}
	s := serverOn(t, quick(), []string{"tcp://127.0.0.1:0"}, trunk)
	nc := connect(t, s)
	nc.Write([]byte(options(t)))
	if said := closed(t, nc); said != "" {
		t.Errorf("a stranger was told %q", said)
	}
}

// FuzzStream cuts a stream in two at any place: it must give the same messages
// as one piece does.
func FuzzStream(f *testing.F) {
	f.Add([]byte("OPTIONS sip:a SIP/2.0\r\nContent-Length: 2\r\n\r\nhi\r\n\r\nBYE sip:a SIP/2.0\r\nl:0\r\n\r\n"), 20)
	f.Add([]byte("\r\n\r\nINVITE sip:a SIP/2.0\r\nL : 3\r\n\r\nabc"), 1)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		read := func(parts ...[]byte) (all [][]byte, fault bool) {
			var fr framer
			for _, part := range parts {
				fr.feed(part)
				for {
					m, _, bad := fr.next()
					if bad != nil {
						return all, true
					}
					if m == nil {
						break
					}
					all = append(all, m)
				}
			}
			return all, false
		}
		if cut < 0 || cut > len(data) {
			cut = 0
		}
		whole, bad := read(data)
		parts, badParts := read(data[:cut], data[cut:])
		if bad != badParts && len(data) <= maxLine || len(whole) != len(parts) && len(data) <= maxLine {
			t.Fatalf("%d messages (fault %v) in one piece, %d (%v) in two", len(whole), bad, len(parts), badParts)
		}
		for i := range min(len(whole), len(parts)) {
			if !bytes.Equal(whole[i], parts[i]) {
				t.Fatalf("message %d is %q in one piece, %q in two", i, whole[i], parts[i])
			}
		}
	})
}

package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
)

// pipes is a listener whose connections stay inside the test, so that their
// deadlines run by its clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9464} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// broadcast is the real admin server with its limits, and clients of its
// events.
type broadcast struct {
	*testing.T
	*full
	server *http.Server
	client *http.Client
}

// onAir tells a story about the event stream in a bubble with its own clock.
func onAir(t *testing.T, story func(b *broadcast)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		line := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		b := &broadcast{T: t, full: fullAdmin(t)}
		b.server = newServer(b.admin, adminTimeout, slog.New(slog.DiscardHandler))
		b.client = &http.Client{Transport: &http.Transport{DialContext: line.dial}}
		served := make(chan error)
		go func() { served <- b.server.Serve(line) }()
		story(b)
		b.feed.close()
		b.client.CloseIdleConnections()
		if err := b.server.Shutdown(t.Context()); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		<-served
	})
}

// listener is one client of the stream.
type listener struct {
	*testing.T
	body  io.ReadCloser
	lines *bufio.Scanner
	leave context.CancelFunc
}

func (b *broadcast) listen(header ...string) *listener {
	b.Helper()
	ctx, leave := context.WithCancel(b.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9464/api/v1/events", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := b.client.Do(req) //nolint:bodyclose // closed by end
	if err != nil {
		b.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		b.Fatalf("%s %v", resp.Status, resp.Header)
	}
	return &listener{T: b.T, body: resp.Body, lines: bufio.NewScanner(resp.Body), leave: leave}
}

// next is the next block of the stream, its lines joined by a bar; "" at the
// end.
func (l *listener) next() string {
	var block []string
	for l.lines.Scan() && l.lines.Text() != "" {
		block = append(block, l.lines.Text())
	}
	return strings.Join(block, "|")
}

func (l *listener) wants(story, want string) {
	l.Helper()
	if got := l.next(); got != want {
		l.Errorf("%s: %q, want %q", story, got, want)
	}
}

// end is for a stream that has ended, or that the client leaves.
func (l *listener) end() {
	l.leave()
	l.body.Close()
}

func (f *feed) id(n int) string { return strconv.FormatUint(f.first+uint64(n)-1, 10) }

const trunkData = `data: {"at":"2026-11-22T09:00:00.123Z","trunk":"pbx"}`

func TestEventStream(t *testing.T) {
	onAir(t, func(b *broadcast) {
		b.feed.publish(aMoment, trunkDown{"pbx"})
		l := b.listen()
		defer l.end()
		l.wants("where it stands", "retry: 2000|id: "+b.feed.id(1))
		b.feed.publish(aMoment, trunkUp{"pbx"})
		b.feed.publish(aMoment, trunkDown{"pbx"})
		l.wants("what happens", "id: "+b.feed.id(2)+"|event: trunk.up|"+trunkData)
		l.wants("in its order", "id: "+b.feed.id(3)+"|event: trunk.down|"+trunkData)
		b.feed.close()
		l.wants("the end is said", ": the gateway ends")
		l.wants("and is one", "")
	})
}

// TestStreamOutlivesTheLimitsOfRequests waits for hours: the server's read and
// write limits are for requests, not for streams.
func TestStreamOutlivesTheLimitsOfRequests(t *testing.T) {
	onAir(t, func(b *broadcast) {
		start := time.Now()
		l := b.listen()
		defer l.end()
		l.next()
		for range 1000 {
			l.wants("a sign of life", ": still here")
		}
		if got := time.Since(start); got != 1000*heartbeat {
			t.Errorf("1000 signs of life took %v", got)
		}
		b.feed.publish(aMoment, trunkUp{"pbx"})
		l.wants("it still works", "id: "+b.feed.id(1)+"|event: trunk.up|"+trunkData)
	})
}

func TestStreamContinues(t *testing.T) {
	onAir(t, func(b *broadcast) {
		for range 3 {
			b.feed.publish(aMoment, trunkUp{"pbx"})
		}
		l := b.listen("Last-Event-ID", b.feed.id(2))
		l.wants("where it stands", "retry: 2000|id: "+b.feed.id(2))
		l.wants("what was missed", "id: "+b.feed.id(3)+"|event: trunk.up|"+trunkData)
		l.end()

		stranger := b.listen("Last-Event-ID", "17")
		defer stranger.end()
		stranger.wants("all that is kept", "retry: 2000|id: "+b.feed.id(0))
		stranger.wants("nobody knows what is missing", `event: events.lost|data: {"at":"2000-01-01T00:00:00.000Z","lost":null}`)
		for n := 1; n <= 3; n++ {
			stranger.wants("all that is kept", "id: "+b.feed.id(n)+"|event: trunk.up|"+trunkData)
		}
	})
}

// TestStuckSubscriber does not read: nobody waits for it, it is told what it
// lost when it reads again, and cut off when it does not.
func TestStuckSubscriber(t *testing.T) {
	onAir(t, func(b *broadcast) {
		l := b.listen()
		defer l.end()
		synctest.Wait() // the first block is written into the void
		other := b.listen()
		defer other.end()
		other.next()
		for n := 1; n <= 100; n++ {
			b.feed.publish(aMoment, trunkUp{"pbx"})
			other.wants("the other gets all", "id: "+b.feed.id(n)+"|event: trunk.up|"+trunkData)
		}
		l.next()
		lost, n := 0, 0
		for n < 100 {
			block := l.next()
			if data, ok := strings.CutPrefix(block, "event: events.lost|data: "); ok {
				var body struct{ Lost int }
				if err := json.Unmarshal([]byte(data), &body); err != nil {
					t.Fatal(err)
				}
				lost += body.Lost
				n += body.Lost
				continue
			}
			if n++; !strings.HasPrefix(block, "id: "+b.feed.id(n)+"|") {
				t.Fatalf("%s, want event %d", block, n)
			}
		}
		if lost == 0 {
			t.Error("nothing was lost")
		}
		for range 100 { // enough to fill whatever is between
			b.feed.publish(aMoment, callStarted{ID: strings.Repeat("x", 8<<10)})
			synctest.Wait()
		}
		time.Sleep(writeTimeout + time.Second)
		synctest.Wait()
		b.feed.mu.Lock()
		defer b.feed.mu.Unlock()
		if b.feed.subscribers != 0 {
			t.Errorf("%d subscribers that do not read are still served", b.feed.subscribers)
		}
	})
}

func TestSubscriberLeaves(t *testing.T) {
	onAir(t, func(b *broadcast) {
		l := b.listen()
		l.next()
		l.end()
		synctest.Wait()
		b.feed.mu.Lock()
		defer b.feed.mu.Unlock()
		if b.feed.subscribers != 0 {
			t.Error("a subscriber that has gone is still served")
		}
	})
}

func TestStreamEndsWithItsToken(t *testing.T) {
	onAir(t, func(b *broadcast) {
		b.admin.reload(config.Admin{Token: "old"})
		l := b.listen("Authorization", "Bearer old")
		defer l.end()
		l.next()
		b.admin.reload(config.Admin{Token: "old", Pprof: true})
		b.feed.publish(aMoment, trunkUp{"pbx"})
		l.wants("another setting", "id: "+b.feed.id(1)+"|event: trunk.up|"+trunkData)
		b.admin.reload(config.Admin{Token: "new"})
		b.feed.publish(aMoment, trunkUp{"pbx"})
		l.wants("the token", ": the token has changed")
		l.wants("nothing more", "")
	})
}

func TestRefusedStreams(t *testing.T) {
	f := fullAdmin(t)
	for _, tt := range []struct {
		path   string
		header []string
		status int
	}{
		{"/api/v1/events?since=1", nil, 400},
		{"/api/v1/events", []string{"Last-Event-ID", "x"}, 400},
		{"/api/v1/events", []string{"Last-Event-ID", "0"}, 400},
		{"/api/v1/events", []string{"Last-Event-ID", "-1"}, 400},
		{"/api/v1/events", []string{"Last-Event-ID", "99999999999999999999"}, 400},
	} {
		if w := ask(t, f.admin, "GET", tt.path, tt.header...); w.Code != tt.status {
			t.Errorf("%s %v: %d %s", tt.path, tt.header, w.Code, w.Body)
		}
	}
	if w := ask(t, f.admin, "HEAD", "/api/v1/events"); w.Code != 200 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d %s", w.Code, w.Body)
	}
	for range maxSubscribers {
		subscribe(t, f.feed, 0)
	}
	if w := ask(t, f.admin, "GET", "/api/v1/events"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d %s", w.Code, w.Body)
	}
	f.feed.close()
	if w := ask(t, f.admin, "GET", "/api/v1/events"); w.Code != 503 || !strings.Contains(w.Body.String(), "draining") {
		t.Errorf("at the end: %d %s", w.Code, w.Body)
	}
	bare := adminServer(t, config.Admin{}, newAdminBook())
	for _, path := range []string{"/api/v1/events", "/api/v1/permissions/support/+34600111222"} {
		if w := ask(t, bare, "GET", path); w.Code != 404 {
			t.Errorf("%s without what it shows: %d", path, w.Code)
		}
	}
}

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// systemd is the far end of NOTIFY_SOCKET.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
}

func newSystemd(t *testing.T, name string) *systemd {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &systemd{t, conn}
}

// hears waits for a message, and skips those that others begin with.
func (s *systemd) hears(want string, skip ...string) string {
	s.t.Helper()
	buf := make([]byte, 4096)
	_ = s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", want, err)
		}
		got := string(buf[:n])
		if strings.HasPrefix(got, want) {
			return got
		}
		skipped := false
		for _, other := range skip {
			skipped = skipped || strings.HasPrefix(got, other)
		}
		if !skipped {
			s.t.Fatalf("heard %q, want %s", got, want)
		}
	}
}

// silent says that nothing came for so long; what begins with skip may.
func (s *systemd) silent(d time.Duration, skip string) bool {
	buf := make([]byte, 4096)
	_ = s.conn.SetReadDeadline(time.Now().Add(d))
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
		if !strings.HasPrefix(string(buf[:n]), skip) {
			return false
		}
	}
}

// moodyDaemon is ready and alive as the test wants it.
type moodyDaemon struct {
	fakeDaemon
	starting, hung atomic.Bool
}

func (d *moodyDaemon) Ready(context.Context) error {
	if d.starting.Load() {
		return errors.New("sip: not serving yet")
	}
	return nil
}

func (d *moodyDaemon) Alive(ctx context.Context) error {
	if d.hung.Load() {
		<-ctx.Done()
		return errors.New("store gives no sign of life:\n context deadline exceeded")
	}
	return nil
}

// TestManager: what systemd is told over the life of the daemon, on a socket of
// the file system and on an abstract one.
func TestManager(t *testing.T) {
	const watchdog = 150 * time.Millisecond
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), "@wagate-test-" + filepath.Base(t.TempDir())} {
		far := newSystemd(t, name)
		env := map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "150000", "WATCHDOG_PID": "77"}
		m, err := findManager(t.Context(), func(k string) string { return env[k] }, 77)
		if err != nil || m.watchdog != watchdog {
			t.Fatalf("watchdog %v, error %v", m.watchdog, err)
		}
		d := &moodyDaemon{fakeDaemon: fakeDaemon{drained: make(chan struct{}), done: make(chan string)}}
		d.starting.Store(true)
		signals, ended := make(chan os.Signal), make(chan error)
		go func() {
			ended <- supervise(d, m, signals, func() {}, slog.New(slog.DiscardHandler))
		}()

		signals <- syscall.SIGHUP // before it is up: nothing to tell
		if !far.silent(2*readyPoll, tellAlive) {
			t.Error("told something before calls are taken")
		}
		d.starting.Store(false)
		far.hears(tellReady)
		for range 4 {
			far.hears(tellAlive)
		}
		signals <- syscall.SIGHUP
		far.hears(tellReloading, tellAlive)
		far.hears(tellReady, tellAlive)

		d.hung.Store(true)
		if got := far.hears("STATUS=Hangs", tellAlive); got != "STATUS=Hangs: store gives no sign of life: context deadline exceeded" {
			t.Errorf("the state is %q", got)
		}
		if !far.silent(2*watchdog, "STATUS=Hangs") {
			t.Error("the watchdog was fed while a part hangs")
		}
		d.hung.Store(false)
		far.hears(tellAlive, "STATUS=Hangs")

		signals <- syscall.SIGTERM
		far.hears(tellStopping, tellAlive)
		far.hears(tellAlive) // a drain may take long, and is watched
		d.done <- "drained"
		<-ended
		m.close()
	}
}

func TestFindingTheManager(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	newSystemd(t, name)
	tests := []struct {
		name  string
		env   map[string]string
		heard bool
		every time.Duration
		fails bool
	}{
		{name: "nobody", env: map[string]string{"WATCHDOG_USEC": "1000000"}},
		{name: "no watchdog", env: map[string]string{"NOTIFY_SOCKET": name}, heard: true},
		{name: "watchdog", env: map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "10000000"}, heard: true, every: 10 * time.Second},
		{name: "watchdog of another process", env: map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, heard: true},
		{name: "nonsense", env: map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "-5"}, heard: true},
		{name: "a socket that is not there", env: map[string]string{"NOTIFY_SOCKET": name + "x"}, fails: true},
	}
	for _, tt := range tests {
		m, err := findManager(t.Context(), func(k string) string { return tt.env[k] }, 77)
		if (err != nil) != tt.fails || (m.conn != nil) != tt.heard || m.watchdog != tt.every {
			t.Errorf("%s: heard %v, every %v, error %v", tt.name, m.conn != nil, m.watchdog, err)
		}
		m.close()
	}
}

//go:build system

package test

import (
	"context"
	"database/sql"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to lock the store from outside
)

// TestWatchdog: the program tells systemd of its whole life, and feeds the
// watchdog only while the store can be written.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	name := filepath.Join(t.TempDir(), "notify")
	far, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	must(t, err)
	defer far.Close()
	d := newDaemon(t, "")
	d.env = append(d.env, "NOTIFY_SOCKET="+name, "WATCHDOG_USEC=3000000")
	buf := make([]byte, 4096)
	hears := func(want string) {
		t.Helper()
		must(t, far.SetReadDeadline(time.Now().Add(patience)))
		for {
			n, err := far.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", want, err)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return
			}
		}
	}
	d.start(ctx)
	hears("READY=1")
	hears("WATCHDOG=1")
	d.signal(syscall.SIGHUP)
	hears("RELOADING=1")
	hears("READY=1")

	// Whoever holds the database's lock stops the writer, as a disk that hangs
	// does: each commit waits for as long as the store's busy_timeout.
	db, err := sql.Open("sqlite", "file:"+filepath.Join(d.data, "wagate.db")+"?_pragma=busy_timeout(5000)")
	must(t, err)
	defer db.Close()
	lock, err := db.Conn(ctx)
	must(t, err)
	defer lock.Close()
	_, err = lock.ExecContext(ctx, "BEGIN IMMEDIATE")
	must(t, err)
	asking, stop := context.WithCancel(ctx)
	defer stop()
	asked := make(chan struct{})
	go func() { // readiness writes to the store
		defer close(asked)
		for asking.Err() == nil {
			d.ready(asking)
		}
	}()
	hears("STATUS=Hangs: store gives no sign of life")
	stop()
	<-asked
	_, err = lock.ExecContext(ctx, "ROLLBACK")
	must(t, err)
	hears("WATCHDOG=1")

	d.signal(syscall.SIGTERM)
	hears("STOPPING=1")
	if code := d.exited(ctx); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"
)

// manager is the service manager that started us, spoken to as systemd wants it
// (sd_notify(3)): one datagram per message. The zero value has nobody to tell.
type manager struct {
	conn     *net.UnixConn
	watchdog time.Duration // within which it wants to hear from us; 0: it does not watch
}

// findManager reads who started us from the environment. A manager that cannot
// be reached is an error, and the zero value beside it goes on without one.
func findManager(ctx context.Context, env func(string) string, pid int) (manager, error) {
	path := env("NOTIFY_SOCKET")
	if path == "" {
		return manager{}, nil
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unixgram", path) // "@" begins an abstract name here too
	if err != nil {
		return manager{}, fmt.Errorf("service manager: %w", err)
	}
	m := manager{conn: c.(*net.UnixConn)}
	usec, err := strconv.ParseInt(env("WATCHDOG_USEC"), 10, 64)
	if who := env("WATCHDOG_PID"); err == nil && usec > 0 && (who == "" || who == strconv.Itoa(pid)) {
		m.watchdog = time.Duration(usec) * time.Microsecond
	}
	return m, nil
}

// tell sends one message. A manager that does not listen any more has its own
// means to find out about us.
func (m manager) tell(lines ...string) {
	if m.conn != nil {
		_, _ = m.conn.Write([]byte(strings.Join(lines, "\n")))
	}
}

func (m manager) close() {
	if m.conn != nil {
		_ = m.conn.Close()
	}
}

// What a manager is told.
const (
	tellReady     = "READY=1"
	tellReloading = "RELOADING=1"
	tellStopping  = "STOPPING=1"
	tellAlive     = "WATCHDOG=1"
	tellUp        = "STATUS=Taking calls"
	tellDraining  = "STATUS=No new calls, running ones may finish"
)

// readyPoll is how often a gateway that starts is asked whether it takes calls.
const readyPoll = 50 * time.Millisecond

// awaitReady closes ready once calls are taken. It does nothing where nobody is
// to be told.
func (m manager) awaitReady(ctx context.Context, d daemon, ready chan<- struct{}) {
	if m.conn == nil {
		return
	}
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for d.Ready(ctx) != nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	close(ready)
}

// beats tells the manager that we live, until ctx ends: only while every part
// of the daemon gives a sign of life.
func (m manager) beats(ctx context.Context, d daemon, log *slog.Logger) {
	if m.watchdog == 0 {
		return
	}
	every := m.watchdog / 3 // one answer may come late
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		m.beat(ctx, d, every, log)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// beat feeds the watchdog if everything works.
func (m manager) beat(ctx context.Context, d daemon, limit time.Duration, log *slog.Logger) {
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := d.Alive(asking)
	switch {
	case err == nil:
		m.tell(tellAlive)
	case errors.Is(ctx.Err(), context.Canceled): // we end
	default:
		log.Error("a part of the gateway hangs, the watchdog is not fed", slog.Any("error", err))
		m.tell("STATUS=Hangs: " + strings.Join(strings.Fields(err.Error()), " "))
	}
}

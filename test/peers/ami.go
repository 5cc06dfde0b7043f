package peers

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Event is one message of Asterisk's manager interface.
type Event map[string]string

// manager is a connection to that interface.
type manager struct {
	conn net.Conn
	done chan struct{} // closed when nothing more can come
	next int

	mu      sync.Mutex
	events  []Event
	changed chan struct{}
}

// login connects as the user test.
func login(ctx context.Context, tb testing.TB, addr string) (*manager, error) {
	tb.Helper()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("manager interface: %w", err)
	}
	m := &manager{conn: conn, done: make(chan struct{}), changed: make(chan struct{})}
	tb.Cleanup(func() {
		_ = conn.Close()
		<-m.done
	})
	go m.read()
	if _, err := m.act(ctx, "Login", "Username: test", "Secret: test"); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *manager) read() {
	defer close(m.done)
	in := bufio.NewReader(m.conn)
	if _, err := in.ReadString('\n'); err != nil { // its greeting
		return
	}
	r := textproto.NewReader(in)
	for {
		e, err := readEvent(r)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.events = append(m.events, e)
		close(m.changed)
		m.changed = make(chan struct{})
		m.mu.Unlock()
	}
}

// readEvent reads up to an empty line. Keys that repeat, as Output does, are
// joined by new lines.
func readEvent(r *textproto.Reader) (Event, error) {
	e := Event{}
	for {
		line, err := r.ReadLine()
		if err != nil {
			return nil, err
		}
		if line == "" {
			return e, nil
		}
		key, value, _ := strings.Cut(line, ":")
		if old, twice := e[key]; twice {
			value = old + "\n" + strings.TrimSpace(value)
		}
		e[key] = strings.TrimSpace(value)
	}
}

// wait returns the first event, of the past too, that the question is true for.
func (m *manager) wait(ctx context.Context, what string, ok func(Event) bool) (Event, error) {
	for i := 0; ; {
		m.mu.Lock()
		events, changed := m.events, m.changed
		m.mu.Unlock()
		for ; i < len(events); i++ {
			if ok(events[i]) {
				return events[i], nil
			}
		}
		select {
		case <-changed:
		case <-m.done:
			return nil, fmt.Errorf("wait for %s: the manager interface is closed", what)
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s in %d events: %w", what, len(events), ctx.Err())
		}
	}
}

// act sends an action and returns its response.
func (m *manager) act(ctx context.Context, action string, lines ...string) (Event, error) {
	m.mu.Lock()
	m.next++
	id := strconv.Itoa(m.next)
	m.mu.Unlock()
	lines = append([]string{"Action: " + action, "ActionID: " + id}, lines...)
	if _, err := m.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n")); err != nil {
		return nil, fmt.Errorf("%s: %w", action, err)
	}
	e, err := m.wait(ctx, "the response to "+action, func(e Event) bool { return e["Response"] != "" && e["ActionID"] == id })
	if err != nil {
		return nil, err
	}
	if e["Response"] == "Error" {
		return nil, fmt.Errorf("%s: %s", action, e["Message"])
	}
	return e, nil
}

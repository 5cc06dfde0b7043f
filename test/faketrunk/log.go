package faketrunk

import (
	"context"
	"fmt"
)

// note adds a message to the log. The caller holds t.mu.
func (t *Trunk) note(m *Message, r route) {
	m.Peer, m.Transport = r.String(), r.transport()
	if len(t.log) >= keepLog {
		n := keepLog / 2
		t.log = append(t.log[:0], t.log[n:]...)
		t.dropped += n
	}
	t.log = append(t.log, m)
	t.stir()
}

// Messages lists what was received and sent so far, oldest first.
func (t *Trunk) Messages() []*Message {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*Message(nil), t.log...)
}

// Requests lists the requests of that method which came in, resent ones too.
func (t *Trunk) Requests(method string) []*Message {
	var out []*Message
	for _, m := range t.Messages() {
		if m.In && m.Method == method {
			out = append(out, m)
		}
	}
	return out
}

// WaitFor returns the first message, from the beginning of the log on, that
// match accepts; it waits for one as long as ctx lasts.
func (t *Trunk) WaitFor(ctx context.Context, match func(*Message) bool) (*Message, error) {
	next := 0
	var found *Message
	err := t.wait(ctx, func() bool {
		next = max(next, t.dropped)
		for ; next < t.dropped+len(t.log); next++ {
			if m := t.log[next-t.dropped]; match(m) {
				found = m
				return true
			}
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a message: %w", err)
	}
	return found, nil
}

// Received matches requests of that method which came in; for WaitFor.
func Received(method string) func(*Message) bool {
	return func(m *Message) bool { return m.In && m.Method == method }
}

// fault notes what a strict peer would complain about.
func (t *Trunk) fault(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faultLocked(format, args...)
}

func (t *Trunk) faultLocked(format string, args ...any) {
	if len(t.faults) < keepFaults && !t.closed {
		t.faults = append(t.faults, fmt.Sprintf(format, args...))
		t.stir()
	}
}

// Faults lists what the other side did wrong, in its messages or by not
// sending them.
func (t *Trunk) Faults() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]string(nil), t.faults...)
}

// Dialog is a call that still exists at the PBX.
type Dialog struct {
	CallID string
	Tag    string // ours
	State  string // ringing, unacknowledged, up
}

// Open lists the calls that still exist at the PBX: phones that ring, and
// dialogs that nobody has ended. After a test it must be empty.
func (t *Trunk) Open() []Dialog {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open()
}

func (t *Trunk) open() []Dialog {
	var out []Dialog
	for _, c := range t.order {
		out = append(out, c.open()...)
	}
	return out
}

// Settled waits until no call exists at the PBX any more.
func (t *Trunk) Settled(ctx context.Context) error {
	if err := t.wait(ctx, func() bool { return len(t.open()) == 0 }); err != nil {
		return fmt.Errorf("wait for the calls to end: %v left: %w", t.Open(), err)
	}
	return nil
}

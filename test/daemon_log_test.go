//go:build system || soak

package test

import (
	"bytes"
	"context"
	"strings"
	"sync"
)

// logged waits for a line of the daemon's log.
func (d *daemon) logged(ctx context.Context, text string) {
	d.t.Helper()
	if !d.log.wait(ctx, text) {
		d.t.Fatalf("%q is not in the log:\n%s", text, tail(d.log.String(), 30))
	}
}

// logBook keeps what the daemon writes, and wakes who waits for a line.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next write
}

func newLogBook() *logBook { return &logBook{more: make(chan struct{})} }

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.more)
	b.more = make(chan struct{})
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBook) wait(ctx context.Context, text string) bool {
	for {
		b.mu.Lock()
		found, more := strings.Contains(b.text.String(), text), b.more
		b.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false
		}
	}
}

package store

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestTurn: the writer's sign of life waits behind a write that hangs, and does
// not mind one that fails.
func TestTurn(t *testing.T) {
	db := open(t, t.TempDir())
	if err := db.Turn(t.Context()); err != nil {
		t.Fatalf("at rest: %v", err)
	}
	err := db.write(t.Context(), opPing, func(context.Context, *session) error { return errors.New("refused") })
	if err == nil || db.Turn(t.Context()) != nil {
		t.Error("after a write that failed: no sign of life")
	}

	begun, goOn, written := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		written <- db.write(t.Context(), opPing, func(context.Context, *session) error {
			close(begun)
			<-goOn
			return nil
		})
	}()
	<-begun
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := db.Turn(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("behind a write that hangs: %v, want %v", err, context.DeadlineExceeded)
	}
	close(goOn)
	if err := errors.Join(<-written, db.Turn(t.Context())); err != nil {
		t.Errorf("once the write is through: %v", err)
	}
}

package media

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// TestTurn: the clock gives a sign of life unless a task of a call hangs on it.
func TestTurn(t *testing.T) {
	p := newPacer(newMetrics(nil).lateTicks, slog.New(slog.DiscardHandler))
	if err := p.turn(t.Context()); err != nil {
		t.Fatalf("at rest: %v", err)
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	p.task(func(time.Time) time.Time {
		close(begun)
		<-goOn
		return time.Time{}
	}).wake(time.Now())
	<-begun
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if err := p.turn(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while a task hangs: %v, want %v", err, context.DeadlineExceeded)
	}
	close(goOn)
	if err := p.turn(t.Context()); err != nil {
		t.Errorf("once the task is through: %v", err)
	}
	p.close()
	if err := p.turn(t.Context()); err == nil {
		t.Error("a clock that is closed gave a sign of life")
	}
}

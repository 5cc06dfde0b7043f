package gateway

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wagate/store"
)

// TestAlive: one part that hangs is named, and is not asked again before it has
// answered; the others are.
func TestAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ofSIP, ofStore atomic.Int32 // questions
		hang := make(chan struct{})
		lively := func(context.Context) error {
			ofSIP.Add(1)
			return nil
		}
		hung := func(ctx context.Context) error {
			ofStore.Add(1)
			select {
			case <-hang:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		g := &Gateway{parts: []*vital{{name: "sip", turn: lively}, {name: "store", turn: hung}}}
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := g.Alive(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "store gives no sign of life") {
				t.Errorf("with a store that hangs: %v", err)
			}
		}
		if ofSIP.Load() != 3 || ofStore.Load() != 1 {
			t.Errorf("sip was asked %d times and store %d, want 3 and 1", ofSIP.Load(), ofStore.Load())
		}
		close(hang)
		synctest.Wait()
		if err := g.Alive(t.Context()); err != nil || ofStore.Load() != 2 {
			t.Errorf("once it goes on: %v, store was asked %d times", err, ofStore.Load())
		}
	})
}

// hungBook is a book whose reading waits.
type hungBook struct {
	debtList
	reading, goOn chan struct{}
}

func (b *hungBook) Debts(context.Context) ([]store.Debt, error) {
	b.reading <- struct{}{}
	<-b.goOn
	return nil, nil
}

// TestReaperTurn: the sign of life of whoever pays is his own.
func TestReaperTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := &hungBook{reading: make(chan struct{}), goOn: make(chan struct{})}
		r := newReaper(book, newMetrics(nil, "test"), slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		go r.run(ctx)
		turn := func() error {
			short, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return r.turn(short)
		}
		<-book.reading
		if err := turn(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while a round hangs: %v, want %v", err, context.DeadlineExceeded)
		}
		book.goOn <- struct{}{}
		if err := turn(); err != nil {
			t.Errorf("at rest: %v", err)
		}
		stop()
		synctest.Wait()
		if turn() == nil {
			t.Error("it gave a sign of life after its end")
		}
	})
}

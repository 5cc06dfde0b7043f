package sip

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// A sign shows that a goroutine which waits for the network still goes its
// rounds. Whoever asks interrupts the wait, and the goroutine itself answers:
// nothing that is on its way through the kernel gets lost by that.
type sign struct {
	interrupt func(time.Time) error // sets the deadline of the wait
	asked     chan chan<- struct{}  // one question at a time
}

func newSign(interrupt func(time.Time) error) *sign {
	return &sign{interrupt: interrupt, asked: make(chan chan<- struct{}, 1)}
}

// answered tells whether a wait ended only because somebody asked; then the
// answer is given. useful is run before it, and has to return.
func (g *sign) answered(err error, useful func()) bool {
	if g == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	_ = g.interrupt(time.Time{}) // a closed socket says so at the next wait
	select {
	case who := <-g.asked:
		useful()
		close(who)
	default:
	}
	return true
}

// ask waits for the answer of the goroutine; over says that it has ended.
func (g *sign) ask(ctx context.Context, over <-chan struct{}) error {
	answer := make(chan struct{})
	select {
	case g.asked <- answer:
	default:
		return errors.New("an earlier question is still open")
	}
	if err := g.interrupt(time.Unix(1, 0)); err != nil { // the past: at once
		return err
	}
	select {
	case <-answer:
		return nil
	case <-over:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Turn asks every goroutine that reads from the network for a sign of life. It
// returns an error when one does not answer before ctx ends: then a handler
// hangs, or a lock that every message needs is never given free. One may ask at
// a time.
func (s *Server) Turn(ctx context.Context) error {
	for _, sock := range s.sockets {
		if sock.sign == nil {
			continue
		}
		if err := sock.sign.ask(ctx, s.ctx.Done()); err != nil {
			return fmt.Errorf("udp %v: %w", sock.local, err)
		}
	}
	for _, l := range s.listeners {
		if err := l.sign.ask(ctx, s.ctx.Done()); err != nil {
			return fmt.Errorf("%s %v: %w", l.proto, l.Addr(), err)
		}
	}
	return nil
}

// passable takes the locks that messages need, and gives them back.
func (s *Server) passable() {
	for _, t := range s.allTrunks() {
		t.up()
	}
}

package sip

import (
	"context"
	"testing"
	"time"
)

// TestTurn: those who read from the network answer, again and again, and do not
// while messages cannot be handled.
func TestTurn(t *testing.T) {
	p := newPeer(t)
	s := serverOn(t, defaultTiming(), []string{"udp://127.0.0.1:0", "tcp://127.0.0.1:0"}, trunkTo(p))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for range 200 {
		if err := s.Turn(ctx); err != nil {
			t.Fatalf("a server at rest: %v", err)
		}
	}

	s.mu.Lock()
	for range 2 {
		short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
		if s.Turn(short) == nil {
			t.Error("it gave a sign of life while every message waits for a lock")
		}
		stop()
	}
	s.mu.Unlock()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for s.Turn(ctx) != nil {
		<-poll.C
		if ctx.Err() != nil {
			t.Fatal("no sign of life after the lock was given free")
		}
	}
}

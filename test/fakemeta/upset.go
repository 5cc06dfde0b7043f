package fakemeta

import (
	"slices"
	"sync"
	"time"
)

// Upset is what goes wrong with webhook events.
type Upset struct {
	Kind   Kind          // "" stands for every kind
	CallID string        // or the message's; "" stands for all
	Times  int           // the next so many events; 0: all until Settle
	Delay  time.Duration // until the first attempt; later events do not wait for it
	Copies int           // so many more deliveries of the same event
	Drop   bool          // never delivered
	Swap   bool          // delivered after the next event of the same call
	Forge  bool          // a copy with a wrong signature goes first
}

type upsets struct {
	mu   sync.Mutex
	list []Upset
}

// Disturb puts an upset in the way of coming events. The first of several that
// fit is used.
func (s *Server) Disturb(u Upset) {
	s.upsets.mu.Lock()
	defer s.upsets.mu.Unlock()
	s.upsets.list = append(s.upsets.list, u)
}

// Settle removes all upsets of webhooks.
func (s *Server) Settle() {
	s.upsets.mu.Lock()
	defer s.upsets.mu.Unlock()
	s.upsets.list = nil
}

func (l *upsets) take(h hook) Upset {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.list {
		u := &l.list[i]
		if u.Kind != "" && u.Kind != h.kind || u.CallID != "" && u.CallID != h.id {
			continue
		}
		found := *u
		if u.Times > 0 {
			if u.Times--; u.Times == 0 {
				l.list = slices.Delete(l.list, i, i+1)
			}
		}
		return found
	}
	return Upset{}
}

// batcher gathers events for one POST.
type batcher struct {
	mu   sync.Mutex
	size int
	wait time.Duration
	open *batch
}

// batch is a POST that is being filled.
type batch struct {
	hooks []hook
	full  chan struct{}
	done  chan struct{} // delivered, or given up
}

// Batch lets Meta deliver up to size events in one POST, waiting for each
// other at most that long. A size below 2 ends it.
func (s *Server) Batch(size int, wait time.Duration) {
	s.batch.mu.Lock()
	defer s.batch.mu.Unlock()
	s.batch.size, s.batch.wait = size, wait
}

// join adds the event to the open batch. The first one leads: it waits for the
// others and delivers. It reports nil where there are no batches.
func (b *batcher) join(h hook) (in *batch, leads bool, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.size < 2 {
		return nil, false, 0
	}
	if b.open == nil {
		b.open, leads = &batch{full: make(chan struct{}), done: make(chan struct{})}, true
	}
	in = b.open
	in.hooks = append(in.hooks, h)
	if len(in.hooks) >= b.size {
		close(in.full)
		b.open = nil
	}
	return in, leads, b.wait
}

// seal closes the batch to others and returns its events.
func (b *batcher) seal(in *batch) []hook {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == in {
		b.open = nil
	}
	return in.hooks
}

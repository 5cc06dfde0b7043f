package media

import (
	"container/heap"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// pacer is the clock of all calls: a few goroutines, one heap of due times
// each, instead of a ticker per call. Tickers would wake the scheduler fifty
// times a second for every leg although nearly every frame leaves the moment it
// came in; here a leg costs one heap operation per frame time. A late shard
// skips: a task runs once however many of its times have passed.
type pacer struct {
	shards []*shard
	next   atomic.Uint32
	stop   chan struct{}
	wg     sync.WaitGroup
}

// task is something to do again and again. run is given the time and returns
// when it wants to run next; the zero time puts it to rest until wake.
type task struct {
	run   func(now time.Time) time.Time
	shard *shard

	// Owned by the shard's mutex.
	at      time.Time
	index   int // in the heap, -1 outside
	running bool
	woken   time.Time // asked for while running
}

// shard is one goroutine with its tasks.
type shard struct {
	mu   sync.Mutex
	due  dueHeap
	kick chan struct{} // a task became the first
	late prometheus.Counter
	log  *slog.Logger
}

// minSleep bounds how often an idle-ish shard wakes; it is the precision of
// everything that is paced.
const minSleep = time.Millisecond

// newPacer starts the shards. late counts tasks that ran a frame or more after
// their time.
func newPacer(late prometheus.Counter, log *slog.Logger) *pacer {
	p := &pacer{stop: make(chan struct{})}
	for range runtime.GOMAXPROCS(0) {
		s := &shard{kick: make(chan struct{}, 1), late: late, log: log}
		p.shards = append(p.shards, s)
		p.wg.Go(func() { s.loop(p.stop) })
	}
	return p
}

// close stops the clock and waits for the tasks that are running.
func (p *pacer) close() {
	close(p.stop)
	p.wg.Wait()
}

// task makes a resting task on the next shard.
func (p *pacer) task(run func(now time.Time) time.Time) *task {
	n := p.next.Add(1)
	return &task{run: run, shard: p.shards[int(n)%len(p.shards)], index: -1}
}

// wake lets the task run at the given time, or earlier if that was its plan.
func (t *task) wake(at time.Time) {
	s := t.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case t.running:
		if t.woken.IsZero() || at.Before(t.woken) {
			t.woken = at
		}
		return
	case t.index < 0:
		t.at = at
		heap.Push(&s.due, t)
	case at.Before(t.at):
		t.at = at
		heap.Fix(&s.due, t.index)
	}
	if s.due[0] == t {
		select {
		case s.kick <- struct{}{}:
		default:
		}
	}
}

func (s *shard) loop(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.turn())
		select {
		case <-timer.C:
		case <-s.kick:
		case <-stop:
			return
		}
	}
}

// turn runs what is due and says how long there is nothing to do.
func (s *shard) turn() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.due) > 0 {
		t := s.due[0]
		if t.at.After(now) {
			if now = time.Now(); t.at.After(now) {
				return max(t.at.Sub(now), minSleep)
			}
		}
		if now.Sub(t.at) >= frameTime {
			s.late.Inc()
		}
		heap.Pop(&s.due)
		t.running, t.woken = true, time.Time{}
		s.mu.Unlock()
		next := s.run(t, now)
		s.mu.Lock()
		t.running = false
		if next.IsZero() || (!t.woken.IsZero() && t.woken.Before(next)) {
			next = t.woken
		}
		if !next.IsZero() {
			t.at = next
			heap.Push(&s.due, t)
		}
	}
	return time.Hour
}

// run keeps a panic inside the call it belongs to: its task rests from then on.
func (s *shard) run(t *task, now time.Time) (next time.Time) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("media task panicked", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
			next = time.Time{}
		}
	}()
	return t.run(now)
}

// dueHeap orders tasks by time, see container/heap.
type dueHeap []*task

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *dueHeap) Push(x any) {
	t := x.(*task)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is for container/heap.
func (h *dueHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	t.index = -1
	*h = old[:len(old)-1]
	return t
}

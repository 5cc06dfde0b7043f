package impair

import (
	"container/heap"
	"sync"
	"time"
)

// queueLimit bounds the packets that wait in one relay; what is more is lost.
const queueLimit = 1 << 14

// queue runs things at their time, in the order of their times; those of one
// time in the order in which they came.
type queue struct {
	mu    sync.Mutex
	items itemHeap
	count uint64
	kick  chan struct{}
	done  chan struct{}
}

type item struct {
	at    time.Time
	count uint64
	run   func()
}

func newQueue() *queue {
	return &queue{kick: make(chan struct{}, 1), done: make(chan struct{})}
}

// put lets run happen at a time, on the queue's goroutine.
func (q *queue) put(at time.Time, run func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= queueLimit {
		return
	}
	q.count++
	heap.Push(&q.items, item{at, q.count, run})
	if q.items[0].count == q.count {
		select {
		case q.kick <- struct{}{}:
		default:
		}
	}
}

// serve runs what is due until close.
func (q *queue) serve() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(q.turn())
		select {
		case <-timer.C:
		case <-q.kick:
		case <-q.done:
			return
		}
	}
}

func (q *queue) close() { close(q.done) }

// turn runs what is due and says how long there is nothing to do.
func (q *queue) turn() time.Duration {
	for {
		q.mu.Lock()
		if len(q.items) == 0 {
			q.mu.Unlock()
			return time.Hour
		}
		if wait := time.Until(q.items[0].at); wait > 0 {
			q.mu.Unlock()
			return wait
		}
		it := heap.Pop(&q.items).(item)
		q.mu.Unlock()
		it.run()
	}
}

type itemHeap []item

func (h itemHeap) Len() int { return len(h) }

func (h itemHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].count < h[j].count
	}
	return h[i].at.Before(h[j].at)
}

func (h itemHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *itemHeap) Push(x any) { *h = append(*h, x.(item)) }

// Pop is for container/heap.
func (h *itemHeap) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = item{}
	*h = old[:len(old)-1]
	return it
}

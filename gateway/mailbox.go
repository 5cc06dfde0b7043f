package gateway

import "sync"

// mailbox hands what happened to the one goroutine that may act on it. put
// never blocks and never drops, until the last look into the mailbox closes it
// and it says so: a webhook handler, a SIP transaction or an ICE
// agent must not wait for a call. Its length is bounded by the peers' manners,
// because legs and registry collapse repeats; the high-water mark is a metric.
type mailbox[T any] struct {
	mu    sync.Mutex
	items []T
	spare []T
	max   int
	ready chan struct{} // one token: there is something to take

	closed bool
}

func newMailbox[T any]() *mailbox[T] {
	return &mailbox[T]{ready: make(chan struct{}, 1)}
}

func (m *mailbox[T]) put(item T) (taken bool) {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return false
	}
	m.items = append(m.items, item)
	m.max = max(m.max, len(m.items))
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
	return true
}

// take returns everything that has come in, oldest first. The slice is valid
// until the next take.
func (m *mailbox[T]) take() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	taken := m.items
	clear(m.spare)
	m.items, m.spare = m.spare[:0], taken
	return taken
}

// close returns what is left; from now on nothing is taken.
func (m *mailbox[T]) close() []T {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.items
}

// depth returns the most items that ever waited at once.
func (m *mailbox[T]) depth() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.max
}

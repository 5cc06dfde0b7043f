package media

import (
	"encoding/binary"
	"sync"
)

// inboxSize bounds each half of an inbox: about a second of audio.
const inboxSize = 8 << 10

// inbox passes datagrams from the reader of a shared socket to the goroutine of
// one call, which takes all that lie there at once. Who has no time loses his
// own packets, not those of others.
type inbox struct {
	mu     sync.Mutex
	more   sync.Cond
	in     []byte // what lies there: each datagram after its length in two bytes
	taken  []byte // what take gave away last
	closed bool
}

func newInbox() *inbox {
	b := &inbox{in: make([]byte, 0, inboxSize), taken: make([]byte, 0, inboxSize)}
	b.more.L = &b.mu
	return b
}

// put leaves a copy of a datagram; false: there is no room, and it is lost.
func (b *inbox) put(data []byte) bool {
	b.mu.Lock()
	room := !b.closed && len(b.in)+2+len(data) <= cap(b.in)
	if room {
		b.in = binary.NativeEndian.AppendUint16(b.in, uint16(len(data)))
		b.in = append(b.in, data...)
	}
	b.mu.Unlock()
	b.more.Signal()
	return room
}

// take waits for datagrams and returns all of them, valid until the next call;
// nil after close.
func (b *inbox) take() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.in) == 0 && !b.closed {
		b.more.Wait()
	}
	if b.closed {
		return nil
	}
	b.in, b.taken = b.taken[:0], b.in
	return b.taken
}

// first cuts the first datagram off what take returned.
func first(taken []byte) (data, rest []byte) {
	end := 2 + int(binary.NativeEndian.Uint16(taken))
	return taken[2:end:end], taken[end:]
}

// close ends the waiting, now and from here on. What lies there is lost.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.more.Broadcast()
}

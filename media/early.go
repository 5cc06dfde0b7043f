package media

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
)

// earlyPackets are those that came before the answer that says where they may
// come from: whoever picks up speaks at once, and the first word overtakes the
// answer easily. Only networks of the trunk are kept anything for.
type earlyPackets struct {
	over atomic.Bool // nothing is kept any more

	mu    sync.Mutex
	first time.Time // when the first one came
	list  []earlyPacket
}

type earlyPacket struct {
	data []byte
	from netip.AddrPort
	at   time.Time
}

const (
	earlyMost  = 16                     // packets
	earlySize  = 512                    // bytes of one
	earlyLimit = 300 * time.Millisecond // what began longer before the answer is no answer: a ring tone
)

// keep takes a packet in if it is too early to judge it.
func (e *earlyPackets) keep(data []byte, from netip.AddrPort, at time.Time, s *Socket) bool {
	if e.over.Load() {
		return false
	}
	e.mu.Lock() // the packets before it go first
	defer e.mu.Unlock()
	if e.over.Load() || len(data) > earlySize || !s.trusted(from.Addr()) {
		return false
	}
	if e.first.IsZero() {
		e.first = at
	}
	if at.Sub(e.first) > earlyLimit || len(e.list) == earlyMost {
		return false
	}
	e.list = append(e.list, earlyPacket{slices.Clone(data), from, at})
	return true
}

// release hands on what was kept, now that it is known what is right.
func (e *earlyPackets) release(now time.Time, s *Socket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over.Load() || s.path.Load() == nil {
		return
	}
	var packet rtp.Packet
	for _, p := range e.list {
		if now.Sub(e.first) > earlyLimit {
			s.stranger()
			continue
		}
		s.take(p.data, p.from, p.at, &packet)
	}
	e.list = nil
	e.over.Store(true)
}

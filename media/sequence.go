package media

import (
	"math"
	"time"
)

// The limits of RFC 3550 appendix A.1.
const (
	maxDropout  = 3000 // a jump forward beyond this is a restart
	maxMisorder = 100  // a packet that many behind is late, beyond it a restart
)

// verdict is what a sequence number means for its packet.
type verdict uint8

const (
	ahead     verdict = iota // the newest so far
	behind                   // older than the newest, not seen before
	duplicate                // seen before
	adrift                   // too far off; a second one in a row restarts the source
	restarted                // it did: what was buffered belongs to the past
)

// source keeps the statistics of one SSRC (RFC 3550 appendices A.1, A.3 and
// A.8). Sequence numbers are extended to 64 bits, so nothing here ever wraps.
type source struct {
	ssrc    uint32
	started bool
	base    int64 // first extended number
	newest  int64
	stray   uint16 // what would follow the last adrift one
	strayed bool
	seen    [historySize / 64]uint64

	received   int64 // without duplicates
	duplicates int64

	transit time.Duration
	timed   bool
	jitter  float64 // seconds

	priorExpected, priorReceived int64 // at the last report
}

// historySize is how many numbers back a duplicate is recognised.
const historySize = 128

// start begins the statistics at a packet.
func (s *source) start(ssrc uint32, seq uint16) {
	*s = source{ssrc: ssrc, started: true}
	s.base = 1<<16 | int64(seq)
	s.newest = s.base - 1
}

// place extends seq and says what it means.
func (s *source) place(seq uint16) (int64, verdict) {
	step := int64(int16(seq - uint16(s.newest)))
	if step > maxDropout || step <= -maxMisorder {
		if !s.strayed || seq != s.stray {
			s.strayed, s.stray = true, seq+1
			return 0, adrift
		}
		was := *s
		s.start(s.ssrc, seq)
		s.base -= was.lost() + was.received // what was counted so far stays counted
		s.received, s.duplicates, s.jitter = was.received, was.duplicates, was.jitter
		s.priorExpected, s.priorReceived = was.priorExpected, was.priorReceived
		s.mark(s.newest + 1)
		s.newest++
		s.received++
		return s.newest, restarted
	}
	s.strayed = false
	at := s.newest + step
	if step > 0 {
		for n := s.newest + 1; n <= at && n <= s.newest+historySize; n++ {
			s.seen[n%historySize/64] &^= 1 << (n % 64)
		}
		s.newest = at
		s.mark(at)
		s.received++
		return at, ahead
	}
	if at < s.base || s.seen[at%historySize/64]&(1<<(at%64)) != 0 {
		s.duplicates++
		return at, duplicate
	}
	s.mark(at)
	s.received++
	return at, behind
}

func (s *source) mark(n int64) { s.seen[n%historySize/64] |= 1 << (n % 64) }

// expected is how many packets the far end has sent since base.
func (s *source) expected() int64 { return s.newest - s.base + 1 }

// lost is how many of them are not here.
func (s *source) lost() int64 {
	if !s.started {
		return 0
	}
	return max(s.expected()-s.received, 0)
}

// time takes the arrival of a packet whose timestamp is stamp behind it in
// local time, for the interarrival jitter of RFC 3550 section 6.4.1.
func (s *source) time(transit time.Duration) {
	if s.timed {
		d := math.Abs((transit - s.transit).Seconds())
		if d < 1 { // a jump of the clock is not jitter
			s.jitter += (d - s.jitter) / 16
		}
	}
	s.transit, s.timed = transit, true
}

// fraction is the loss since it was last asked for, in 1/256 (RFC 3550
// appendix A.3).
func (s *source) fraction() uint8 {
	expected, received := s.expected(), s.received
	span := expected - s.priorExpected
	lost := span - (received - s.priorReceived)
	s.priorExpected, s.priorReceived = expected, received
	if span <= 0 || lost <= 0 {
		return 0
	}
	return uint8(min(lost<<8/span, math.MaxUint8))
}

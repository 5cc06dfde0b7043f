package fakemeta

import (
	"math"
	"time"

	"github.com/pion/rtcp"
)

// Stream is what is known of one RTP source.
type Stream struct {
	SSRC       uint32
	Packets    int // without duplicates
	Missing    int // sequence numbers that never came, between the first and the last
	Duplicates int
	Reordered  int // came after one with a higher number
	Jumps      int // places where timestamp and sequence number do not go together
	MaxGap     time.Duration
	First      time.Time
	Last       time.Time
	Jitter     time.Duration // RFC 3550, of the audio
}

// stream follows one source.
type stream struct {
	Stream
	ssrc      uint32
	base      int64 // the first number, extended
	top       int64 // the highest
	seen      map[int64]struct{}
	lastAudio int64 // its number; audio that follows must keep step
	audioTime uint32
	audioAt   time.Time
	audioOK   bool
	jitter    float64 // s
	reported  struct{ expected, got int64 }
}

// window is how many numbers back a duplicate is known as such.
const window = 1024

// add counts a packet. It returns how far ahead of all before it is: 1 when
// nothing is missing, less than 1 when it is late or known. step is what a
// packet adds to the timestamp; 0 where the timestamp does not run.
func (s *stream) add(number uint16, timestamp, step uint32, now time.Time) int64 {
	if s.First.IsZero() {
		s.SSRC, s.base, s.top, s.seen = s.ssrc, int64(number), int64(number)-1, map[int64]struct{}{}
		s.First, s.Last = now, now
	}
	n := s.top + int64(int16(number-uint16(s.top)))
	ahead := n - s.top
	if _, twice := s.seen[n]; twice {
		s.Duplicates++
		return 0
	}
	s.seen[n] = struct{}{}
	delete(s.seen, n-window)
	s.Packets++
	s.MaxGap = max(s.MaxGap, now.Sub(s.Last))
	s.Last = now
	if ahead < 1 {
		s.Reordered++
		s.base = min(s.base, n)
		return 0
	}
	s.top = n
	if step != 0 {
		s.clock(n, timestamp, step, now)
	} else {
		s.audioOK = false
	}
	return ahead
}

// clock compares the timestamps of two audio packets, and their arrival.
func (s *stream) clock(n int64, timestamp, step uint32, now time.Time) {
	if s.audioOK {
		if timestamp-s.audioTime != uint32(n-s.lastAudio)*step {
			s.Jumps++
		}
		unit := 0.02 / float64(step)
		d := math.Abs(now.Sub(s.audioAt).Seconds() - float64(int32(timestamp-s.audioTime))*unit)
		s.jitter += (d - s.jitter) / 16
		s.Jitter = time.Duration(s.jitter * float64(time.Second))
	}
	s.lastAudio, s.audioTime, s.audioAt, s.audioOK = n, timestamp, now, true
}

func (s *stream) stats() Stream {
	out := s.Stream
	out.Missing = int(s.top-s.base) + 1 - out.Packets
	return out
}

func (s *stream) reception() rtcp.ReceptionReport {
	expected, got := s.top-s.base+1, int64(s.Packets)
	lost := expected - got
	r := rtcp.ReceptionReport{
		SSRC: s.ssrc, TotalLost: uint32(min(max(lost, 0), 1<<23-1)), LastSequenceNumber: uint32(s.top),
		Jitter: uint32(s.jitter * 48000),
	}
	if e := expected - s.reported.expected; e > 0 {
		r.FractionLost = uint8(min(max((e-(got-s.reported.got))*256/e, 0), 255))
	}
	s.reported.expected, s.reported.got = expected, got
	return r
}

package media

import (
	"encoding/binary"
	"time"
)

// digitSize is the length of a telephone-event payload, RFC 4733 section 2.3.
const digitSize = 4

// maxDigit is the highest event that is a key of a telephone: 0-9, * # A-D.
const maxDigit = 15

// parseDigit reads a telephone-event payload. It is false for one that is too
// short and for events that are not keys. What follows the first four bytes is
// ignored, as RFC 4733 section 2.5.1.5 packs further states there.
func parseDigit(payload []byte) (Digit, bool) {
	if len(payload) < digitSize || payload[0] > maxDigit {
		return Digit{}, false
	}
	return Digit{
		Code:     payload[0],
		End:      payload[1]&0x80 != 0,
		Volume:   payload[1] & 0x3f,
		Duration: binary.BigEndian.Uint16(payload[2:]),
	}, true
}

// put writes the digit as a telephone-event payload of digitSize bytes.
func (d Digit) put(out []byte) []byte {
	out = append(out[:0], d.Code, d.Volume&0x3f, 0, 0)
	if d.End {
		out[1] |= 0x80
	}
	binary.BigEndian.PutUint16(out[2:], d.Duration)
	return out
}

// What a digit looks like on its way out.
const (
	digitEnds   = 3                      // times the end is sent, RFC 4733 section 2.5.1.4
	digitLost   = 150 * time.Millisecond // without an update the digit is over
	digitUpdate = 160                    // of duration per frameTime, at 8 kHz
	digitMax    = 0xffff
	digitStale  = 30 * time.Millisecond // an update later than this is made up
)

// eventScale is how many ticks of the agreed clock are one of 8 kHz.
func (t payloadTypes) eventScale() uint16 { return uint16(max(t.eventClock, narrowRate) / narrowRate) }

// toneOut is the digit that a sender is sending.
type toneOut struct {
	active    bool
	digit     Digit // as last sent
	source    uint32
	known     bool      // source is that of this or of the last digit
	timestamp uint32    // of all packets of its segment, in our clock
	full      uint32    // ticks of the segments that are full
	told      uint16    // duration as heard
	heard     time.Time // when
	over      bool      // the end was heard, or concluded
	ends      int       // still to send
	next      time.Time
}

// pushTone takes a telephone-event. All packets of one digit carry one source
// timestamp; a new one is a new digit. The first packet leaves at once, the
// others by the clock, whether or not the incoming ones get here.
func (s *sender) pushTone(f *Frame, now time.Time) {
	t := &s.tone
	if t.known && t.source == f.Timestamp {
		if !t.active || t.over {
			return // said again
		}
		t.heard = now
		t.told = max(t.told, f.Digit.Duration)
		t.over = f.Digit.End
		return
	}
	s.finishTone(now)
	*t = toneOut{
		active: true, known: true,
		source:    f.Timestamp,
		timestamp: s.timestamp,
		digit:     Digit{Code: f.Digit.Code, Volume: f.Digit.Volume},
		told:      f.Digit.Duration,
		heard:     now,
		over:      f.Digit.End,
		ends:      digitEnds,
		next:      now,
	}
	t.digit.Duration = t.told
	if t.over {
		t.digit.Duration = min(t.told, digitUpdate) // the start was lost: begin with one all the same
	}
	s.sendDigit(now, true)
	t.next = now.Add(frameTime)
	s.task.wake(t.next)
}

// tickTone sends the packet that is due and says when the next one is.
func (s *sender) tickTone(now time.Time) time.Time {
	t := &s.tone
	if t.next.After(now) {
		return t.next
	}
	silent := now.Sub(t.heard)
	switch {
	case t.over:
	case silent >= digitLost || t.digit.Duration >= digitMax-digitUpdate:
		t.over, t.told = true, t.digit.Duration
	case silent >= digitStale:
		t.digit.Duration += digitUpdate
	}
	t.digit.Duration = max(t.digit.Duration, t.told)
	if t.over {
		t.digit.End = true
		t.ends--
	}
	s.sendDigit(now, false)
	if t.next = t.next.Add(frameTime); !t.next.After(now) {
		t.next = now.Add(frameTime)
	}
	if t.ends == 0 {
		t.active = false
		s.fillAt = t.next
	}
	return t.next
}

// finishTone sends the ends that are left, at once, because something else
// begins.
func (s *sender) finishTone(now time.Time) {
	t := &s.tone
	if !t.active {
		return
	}
	t.digit.Duration = max(t.digit.Duration, t.told)
	t.digit.End = true
	for ; t.ends > 0; t.ends-- {
		s.writeDigit(now)
	}
	t.active = false
	s.fillAt = now.Add(frameTime)
}

// sendDigit sends a packet of the digit in the place of a frame of audio: the
// audio's clock goes on.
func (s *sender) sendDigit(now time.Time, first bool) {
	s.header.Marker = first
	s.writeDigit(now)
	s.timestamp += s.codec.ticks(frameTime)
	s.pace.sent(now, frameTime)
}

// writeDigit sends one packet of the digit, and before it the end of a segment
// that is full (RFC 4733 section 2.5.1.3).
func (s *sender) writeDigit(now time.Time) {
	t, d := &s.tone, s.tone.digit
	past := uint32(d.Duration) * uint32(s.types.eventScale())
	for past-t.full > digitMax {
		for range digitEnds {
			s.writeEvent(now, Digit{Code: d.Code, Volume: d.Volume, Duration: digitMax})
		}
		t.full += digitMax
		t.timestamp += digitMax
	}
	d.Duration = uint16(past - t.full)
	s.writeEvent(now, d)
}

func (s *sender) writeEvent(now time.Time, d Digit) {
	s.header.PayloadType = s.types.events
	s.header.Timestamp = s.tone.timestamp
	s.send(now, d.put(s.out))
	s.header.Marker = false
}

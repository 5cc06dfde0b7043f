package main

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// sendLog is how many packets back the time of sending is remembered.
const sendLog = 512

// talk is one direction of a call: when each packet went in, and what came of
// it at the other end. Packets are matched by the mark and from there on by
// counting, so that a frame that was left out or made up shows as a shift.
type talk struct {
	mu   sync.Mutex
	mark []bool // the packets of the speech that have the tone

	sent  int64 // packets that went in so far
	times [sendLog]int64

	ear      *ear
	started  bool
	ssrc     uint32
	highest  uint16
	cycles   int64
	anchored bool
	offset   int64 // number of a packet that comes out, less the one that went in
	last     int64 // when a packet came out last

	open        bool  // measuring
	first, past int64 // the packets that count, by their number going in; past 0: still measuring
	result      outcome
}

// outcome is what was measured in one direction of a call.
type outcome struct {
	expected int
	received int
	shifted  int             // frames left out or made up, as the marks tell
	delays   []time.Duration // from a packet that went in to the one that carries its sound
	gaps     []time.Duration // between two packets that came out
}

// lateAfter is what makes a packet late: its successor is due.
const lateAfter = 20 * time.Millisecond

// went notes that the next packet goes in, and returns its number.
func (t *talk) went(at time.Time) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.times[t.sent%sendLog] = at.UnixNano()
	t.sent++
	return t.sent - 1
}

// begin starts the measurement.
func (t *talk) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open, t.first, t.past, t.result = true, t.sent, 0, outcome{}
}

// end lets no further packet count; those that are on their way do.
func (t *talk) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.past = t.sent
	t.result.expected = int(t.past - t.first)
}

// collect ends the measurement.
func (t *talk) collect() outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open = false
	return t.result
}

// came takes an RTP packet, in the clear, that the kernel had at the given time.
func (t *talk) came(header, payload []byte, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	number := t.number(binary.BigEndian.Uint32(header[8:]), binary.BigEndian.Uint16(header[2:]))
	marked := t.ear.hears(payload)
	if marked {
		t.anchor(number, at)
	}
	in := number - t.offset
	if t.open && t.anchored && in >= t.first && (t.past == 0 || in < t.past) && in < t.sent && in > t.sent-sendLog {
		t.result.received++
		t.result.delays = append(t.result.delays, time.Duration(at-t.times[in%sendLog]))
		if t.last != 0 {
			t.result.gaps = append(t.result.gaps, time.Duration(at-t.last))
		}
	}
	t.last = at
}

// number extends a sequence number.
func (t *talk) number(ssrc uint32, sequence uint16) int64 {
	if !t.started || ssrc != t.ssrc {
		t.started, t.ssrc, t.highest, t.anchored = true, ssrc, sequence, false
	}
	if step := int16(sequence - t.highest); step > 0 {
		if sequence < t.highest {
			t.cycles += 1 << 16
		}
		t.highest = sequence
	} else if sequence > t.highest {
		return t.cycles - 1<<16 + int64(sequence)
	}
	return t.cycles + int64(sequence)
}

// anchor matches a packet that has the mark with the last one that went in
// with it.
func (t *talk) anchor(number, at int64) {
	in := t.sent - 1
	for in >= 0 && in > t.sent-sendLog && (!t.mark[in%int64(len(t.mark))] || t.times[in%sendLog] > at) {
		in--
	}
	if in < 0 || in <= t.sent-sendLog || t.times[in%sendLog] == 0 {
		return
	}
	offset := number - in
	if t.anchored && t.open && offset != t.offset {
		t.result.shifted += int(max(offset-t.offset, t.offset-offset))
	}
	t.anchored, t.offset = true, offset
}

// quantile of what is sorted in place.
func quantile(list []time.Duration, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[min(int(q*float64(len(list))), len(list)-1)]
}

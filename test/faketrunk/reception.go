package faketrunk

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/rtp"
)

// Reception is the record of what arrived as RTP.
type Reception struct {
	Packets        int
	Missing        int // sequence numbers between the first and the last that never came
	Duplicates     int
	Reordered      int
	SSRCs          []uint32 // every change of the source, also back to an earlier one
	SequenceJumps  int      // more than 100 numbers forward, or back to before the first
	TimestampJumps int      // audio next to audio whose timestamps do not tell the same distance as their numbers
	Payloads       map[uint8]int
	Sources        []netip.AddrPort
	First, Last    time.Time
	LongestPause   time.Duration // between two packets
	P99Pause       time.Duration // 99 of 100 pauses are not longer, in steps of 1 ms
	Strange        int           // not RTP, or a payload type that was not agreed on
	RTCP           int
	Told           Told
}

// books are the running form of a Reception.
type books struct {
	packets, missing, duplicates, reordered int
	sequenceJumps, timestampJumps           int
	strange, rtcp                           int
	told                                    told
	ssrcs                                   []uint32
	payloads                                map[uint8]int
	sources                                 []netip.AddrPort
	first, last                             time.Time
	longest                                 time.Duration
	pauses                                  [200]int // by ms

	ssrc    uint32
	highest uint32 // extended sequence number
	lowest  uint32
	seen    uint64 // the 64 numbers up to highest
	ts      uint32 // of the last audio
	tsSeq   uint32
	end     uint32 // the timestamp after the last audio
	hasTS   bool
}

const farJump = 100

// note enters a packet. It returns the samples of silence before it and whether
// it is to be played.
func (b *books) note(p *rtp.Packet, from netip.AddrPort, now time.Time, name string) (missing int, fresh bool) {
	if name == "" {
		b.strange++
		return 0, false
	}
	b.payloads[p.PayloadType]++
	if !slices.Contains(b.sources, from) && len(b.sources) < 16 {
		b.sources = append(b.sources, from)
	}
	if b.packets == 0 {
		b.first = now
	} else {
		pause := now.Sub(b.last)
		b.longest = max(b.longest, pause)
		b.pauses[min(int(pause/time.Millisecond), len(b.pauses)-1)]++
	}
	b.packets++
	b.last = now
	if len(b.ssrcs) == 0 || p.SSRC != b.ssrc {
		if len(b.ssrcs) < 1000 {
			b.ssrcs = append(b.ssrcs, p.SSRC)
		}
		b.ssrc = p.SSRC
		b.restart(p)
	} else if !b.sequence(p) {
		return 0, false
	}
	if name == dtmfName {
		b.hasTS = false
		return 0, true
	}
	return b.timestamp(p, len(p.Payload)), true
}

func (b *books) restart(p *rtp.Packet) {
	b.highest = 1<<16 + uint32(p.SequenceNumber)
	b.lowest = b.highest
	b.seen, b.hasTS, b.end = 1, false, 0
}

// sequence says whether the packet is new and the newest.
func (b *books) sequence(p *rtp.Packet) bool {
	d := int32(int16(p.SequenceNumber - uint16(b.highest)))
	switch {
	case d > farJump || d < -farJump:
		b.sequenceJumps++
		b.restart(p)
		return true
	case d > 0:
		b.missing += int(d) - 1
		b.highest += uint32(d)
		b.seen = b.seen<<d | 1
		return true
	case -d < 64 && b.seen&(1<<-d) != 0:
		b.duplicates++
		return false
	case b.highest-uint32(-d) < b.lowest:
		b.sequenceJumps++
		return false
	default:
		b.seen |= 1 << -d
		b.missing--
		b.reordered++
		return false
	}
}

// timestamp compares the distance in time with that in numbers and returns the
// samples between the last audio and this.
func (b *books) timestamp(p *rtp.Packet, samples int) (missing int) {
	if b.hasTS && p.Timestamp-b.ts != (b.highest-b.tsSeq)*uint32(samples) {
		b.timestampJumps++
	}
	if b.end != 0 {
		missing = int(int32(p.Timestamp - b.end))
	}
	if missing < 0 || missing > 10*rate {
		missing = 0
	}
	b.ts, b.tsSeq, b.hasTS = p.Timestamp, b.highest, true
	b.end = p.Timestamp + uint32(samples)
	return missing
}

// Reception returns the record so far.
func (a *Audio) Reception() Reception {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := &a.books
	r := Reception{
		Packets: b.packets, Missing: b.missing, Duplicates: b.duplicates, Reordered: b.reordered,
		SSRCs: slices.Clone(b.ssrcs), SequenceJumps: b.sequenceJumps, TimestampJumps: b.timestampJumps,
		Payloads: maps.Clone(b.payloads), Sources: slices.Clone(b.sources), First: b.first, Last: b.last,
		LongestPause: b.longest, Strange: b.strange, RTCP: b.rtcp, Told: b.told.Told,
	}
	left := (b.packets - 1) / 100
	for ms := len(b.pauses) - 1; ms >= 0; ms-- {
		if left -= b.pauses[ms]; left < 0 {
			r.P99Pause = time.Duration(ms+1) * time.Millisecond
			break
		}
	}
	return r
}

// PacketsSent is how many RTP packets the phone has sent.
func (a *Audio) PacketsSent() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int(a.out.packets)
}

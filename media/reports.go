package media

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"
)

// RTCP packet types (RFC 3550 section 12.1).
const (
	rtcpSender   = 200
	rtcpReceiver = 201
	rtcpSource   = 202
	rtcpBye      = 203
)

// reportInterval is the time between two reports: at random so that two ends
// do not fall into step (RFC 3550 section 6.3.1), and, with the time until it is
// looked at, below the five seconds that Meta may wait for a sign of life.
func reportInterval() time.Duration {
	const least, spread = 2500 * time.Millisecond, 1400 * time.Millisecond
	return least + rand.N(spread)
}

// reception is what a receiver knows about the far end's stream, in the terms
// of a report block (RFC 3550 section 6.4.1).
type reception struct {
	ssrc     uint32
	fraction uint8  // lost since the last report, of 256
	lost     int32  // in all; negative with duplicates
	highest  uint32 // extended sequence number
	jitter   uint32 // in the codec's clock
}

// reporter writes the RTCP of one leg and reads the far end's (RFC 3550
// section 6). Its methods may be called from any goroutine.
type reporter struct {
	ssrc uint32 // ours

	mu       sync.Mutex
	senderAt time.Time // when the far end's last sender report came
	senderID uint32    // its time, the middle of its NTP timestamp
	trip     time.Duration
	fraction float64 // of our packets that the far end missed lately, 0-1
	lost     uint32  // in all, as the far end counts: a signed number of 24 bits
	highest  uint32  // of our numbers that the far end has, extended
	reports  uint64  // blocks about us
}

// compose appends a compound packet: SR when something was sent, else RR, and
// our name. in is nil as long as nothing was received.
func (r *reporter) compose(out []byte, now time.Time, sent sendStats, in *reception) []byte {
	blocks := byte(0)
	if in != nil {
		blocks = 1
	}
	start := len(out)
	if sent.packets > 0 {
		out = append(out, 0x80|blocks, rtcpSender, 0, 0)
		out = binary.BigEndian.AppendUint32(out, r.ssrc)
		out = binary.BigEndian.AppendUint64(out, ntpTime(now))
		out = binary.BigEndian.AppendUint32(out, sent.timestamp)
		out = binary.BigEndian.AppendUint32(out, uint32(sent.packets))
		out = binary.BigEndian.AppendUint32(out, uint32(sent.octets))
	} else {
		out = append(out, 0x80|blocks, rtcpReceiver, 0, 0)
		out = binary.BigEndian.AppendUint32(out, r.ssrc)
	}
	if in != nil {
		out = r.block(out, now, in)
	}
	setLength(out[start:])
	return r.name(out)
}

func (r *reporter) block(out []byte, now time.Time, in *reception) []byte {
	r.mu.Lock()
	id, at := r.senderID, r.senderAt
	r.mu.Unlock()
	out = binary.BigEndian.AppendUint32(out, in.ssrc)
	lost := uint32(min(max(in.lost, -1<<23), 1<<23-1)) & 0xffffff
	out = binary.BigEndian.AppendUint32(out, uint32(in.fraction)<<24|lost)
	out = binary.BigEndian.AppendUint32(out, in.highest)
	out = binary.BigEndian.AppendUint32(out, in.jitter)
	delay := uint32(0)
	if id != 0 {
		delay = shortTime(now.Sub(at))
	}
	out = binary.BigEndian.AppendUint32(out, id)
	return binary.BigEndian.AppendUint32(out, delay)
}

// name appends SDES with our CNAME (RFC 3550 section 6.5).
func (r *reporter) name(out []byte) []byte {
	start := len(out)
	out = append(out, 0x81, rtcpSource, 0, 0)
	out = binary.BigEndian.AppendUint32(out, r.ssrc)
	out = append(out, 1, byte(len(cname)))
	out = append(out, cname...)
	out = append(out, 0)
	for (len(out)-start)%4 != 0 {
		out = append(out, 0)
	}
	setLength(out[start:])
	return out
}

// goodbye appends a BYE, which is to follow a report.
func (r *reporter) goodbye(out []byte) []byte {
	out = append(out, 0x81, rtcpBye, 0, 1)
	return binary.BigEndian.AppendUint32(out, r.ssrc)
}

// read takes a compound packet apart and remembers what it says about us. It is
// false for what is not RTCP; what came before the fault counts. A BYE ends
// nothing: the call does that, or the far end goes on under another SSRC.
func (r *reporter) read(packet []byte, now time.Time) bool {
	if len(packet) < 8 {
		return false
	}
	for len(packet) > 0 {
		if len(packet) < 4 || packet[0]>>6 != 2 {
			return false
		}
		size := 4 * (int(binary.BigEndian.Uint16(packet[2:])) + 1)
		if size > len(packet) {
			return false
		}
		count, body := int(packet[0]&0x1f), packet[4:size]
		switch packet[1] {
		case rtcpSender:
			if len(body) < 24 {
				return false
			}
			r.senderReport(binary.BigEndian.Uint32(body[6:]), now)
			r.readBlocks(count, body[24:], now)
		case rtcpReceiver:
			if len(body) < 4 {
				return false
			}
			r.readBlocks(count, body[4:], now)
		}
		packet = packet[size:]
	}
	return true
}

func (r *reporter) senderReport(id uint32, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.senderID, r.senderAt = id, now
}

func (r *reporter) readBlocks(count int, body []byte, now time.Time) {
	const size = 24
	for ; count > 0 && len(body) >= size; count-- {
		if binary.BigEndian.Uint32(body) == r.ssrc {
			r.aboutUs(body[:size], now)
		}
		body = body[size:]
	}
}

func (r *reporter) aboutUs(block []byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reports++
	r.fraction = float64(block[4]) / 256
	r.lost = binary.BigEndian.Uint32(block[4:]) & 0xffffff
	r.highest = binary.BigEndian.Uint32(block[8:])
	last, delay := binary.BigEndian.Uint32(block[16:]), binary.BigEndian.Uint32(block[20:])
	if last == 0 {
		return
	}
	// RFC 3550 section 6.4.1: now - LSR - DLSR, modulo 2^32; a clock that was
	// set meanwhile gives nonsense, which is left out.
	const longest = 1 << 16 * 30
	if units := uint32(ntpTime(now)>>16) - last - delay; units < longest {
		r.trip = time.Duration(units) * time.Second >> 16
	}
}

// farEnd is what the far end has told about our stream.
type farEnd struct {
	trip time.Duration // 0: unknown
	loss float64       // 0-1, of the last report
	told bool          // there was a report

	reports       uint64 // so far
	lost, highest uint32 // of the last one, see reporter
}

func (r *reporter) farEnd() farEnd {
	r.mu.Lock()
	defer r.mu.Unlock()
	return farEnd{r.trip, r.fraction, r.reports > 0, r.reports, r.lost, r.highest}
}

// ntpTime is RFC 5905's 64 bit format: seconds since 1900 and their fraction.
func ntpTime(t time.Time) uint64 {
	const since1900 = 2208988800
	seconds := uint64(t.Unix() + since1900)
	return seconds<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// shortTime is a duration in 1/65536 s, as in the delay of a report block.
func shortTime(d time.Duration) uint32 {
	return uint32(min(max(d, 0), time.Hour) << 16 / time.Second)
}

// setLength fills in the length of the RTCP packet, in 32 bit words less one.
func setLength(packet []byte) {
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)/4-1))
}

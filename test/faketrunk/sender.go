package faketrunk

import (
	"errors"
	"strings"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/zaf/g711"
)

var errPorts = errors.New("no pair of free ports")

const (
	digitFrames = 5 // 100 ms
	digitPause  = 5
	digitRepeat = 3 // of the end, RFC 4733 section 2.5.1.4
)

// sender is what the phone sends: one stream from the first packet to the last.
type sender struct {
	ssrc    uint32
	seq     uint16
	ts      uint32
	packets uint32
	bytes   uint32
	queue   []byte // digits to send, as event codes
	event   int    // frames of the digit so far, pause included
}

// send paces the phone's frames by the clock. After a delay of the machine it
// catches up, as a phone with a clock of its own would have sent them.
func (a *Audio) send() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := time.Now()
	pcm, packet := make([]int16, frameLen), make([]byte, 12+frameLen)
	for {
		select {
		case <-timer.C:
		case <-a.done:
			return
		}
		now := time.Now()
		if late := now.Sub(next); late > burst*frameTime {
			next = now.Add(-burst * frameTime)
		}
		for !next.After(now) {
			a.source.Read(pcm)
			a.frame(pcm, packet)
			next = next.Add(frameTime)
		}
		timer.Reset(time.Until(next))
	}
}

// frame sends 20 ms.
func (a *Audio) frame(pcm []int16, buf []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &a.out
	defer func() { o.ts += frameLen }()
	if a.closed || a.direction == RecvOnly || a.direction == Inactive || !a.remote.IsValid() {
		return
	}
	if len(o.queue) > 0 && a.dtmfPT != 0 && o.event < digitFrames {
		a.sendDigit(o)
		return
	}
	if o.event >= digitFrames {
		if o.event++; o.event >= digitFrames+digitPause {
			o.queue, o.event = o.queue[1:], 0
			a.stir()
		}
	}
	payload := buf[12 : 12+len(pcm)]
	mu := strings.EqualFold(a.law, "PCMU")
	for i, v := range pcm {
		if mu {
			payload[i] = g711.EncodeUlawFrame(v)
		} else {
			payload[i] = g711.EncodeAlawFrame(v)
		}
	}
	h := rtp.Header{Version: 2, Marker: o.packets == 0, PayloadType: a.sendPT, SequenceNumber: o.seq, Timestamp: o.ts, SSRC: o.ssrc}
	a.put(h, buf, payload)
}

func (a *Audio) sendDigit(o *sender) {
	var buf [16]byte
	o.event++
	start := o.ts - uint32(o.event-1)*frameLen
	duration := uint16(o.event * frameLen)
	last := o.event == digitFrames
	times := 1
	if last {
		times = digitRepeat
	}
	for range times {
		payload := buf[12:16]
		payload[0], payload[1] = o.queue[0], 10
		if last {
			payload[1] |= 0x80
		}
		payload[2], payload[3] = byte(duration>>8), byte(duration)
		a.put(rtp.Header{Version: 2, Marker: o.event == 1, PayloadType: a.dtmfPT, SequenceNumber: o.seq, Timestamp: start, SSRC: o.ssrc}, buf[:], payload)
	}
}

func (a *Audio) put(h rtp.Header, buf, payload []byte) {
	o := &a.out
	if _, err := h.MarshalTo(buf); err != nil {
		return
	}
	_, _ = a.conn.WriteToUDPAddrPort(buf[:12+len(payload)], a.remote)
	o.seq++
	o.packets++
	o.bytes += uint32(len(payload))
}

// report sends an RTCP sender report with one block about what was heard.
func (a *Audio) report() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || !a.remote.IsValid() || a.out.packets == 0 {
		return
	}
	now := time.Now()
	const epoch = 2_208_988_800 // seconds from 1900 to 1970
	ntp := uint64(now.Unix()+epoch)<<32 | uint64(now.Nanosecond())<<32/uint64(time.Second)
	sr := &rtcp.SenderReport{SSRC: a.out.ssrc, NTPTime: ntp, RTPTime: a.out.ts, PacketCount: a.out.packets, OctetCount: a.out.bytes}
	if a.books.packets > 0 {
		id, delay := a.books.told.last(now)
		sr.Reports = []rtcp.ReceptionReport{{
			SSRC: a.books.ssrc, TotalLost: uint32(max(a.books.missing, 0)), LastSequenceNumber: a.books.highest, LastSenderReport: id, Delay: delay,
		}}
	}
	b, err := rtcp.Marshal([]rtcp.Packet{sr, rtcp.NewCNAMESourceDescription(a.out.ssrc, "phone")})
	if err != nil {
		return
	}
	_, _ = a.rtcp.WriteToUDPAddrPort(b, a.control)
}

package faketrunk

import (
	"time"

	"github.com/pion/rtcp"
)

// Told is what the other side's reports said last.
type Told struct {
	Senders int           // sender reports so far
	Sent    uint32        // packets that it says it has sent
	Lost    int           // of the phone's packets
	Jitter  time.Duration // of the phone's packets
}

// told is the running form.
type told struct {
	Told

	id uint32 // the last sender report's time
	at time.Time
}

func (t *told) note(list []rtcp.Packet, own uint32, now time.Time) {
	for _, p := range list {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			t.Senders++
			t.Sent = p.PacketCount
			t.id, t.at = uint32(p.NTPTime>>16), now
			t.about(p.Reports, own)
		case *rtcp.ReceiverReport:
			t.about(p.Reports, own)
		}
	}
}

func (t *told) about(list []rtcp.ReceptionReport, own uint32) {
	for _, r := range list {
		if r.SSRC == own {
			t.Lost = int(int32(r.TotalLost<<8) >> 8) // 24 bits
			t.Jitter = time.Duration(r.Jitter) * time.Second / rate
		}
	}
}

// last names the last sender report and how long it has been here, in 1/65536 s.
func (t *told) last(now time.Time) (id, delay uint32) {
	if t.id == 0 {
		return 0, 0
	}
	return t.id, uint32(now.Sub(t.at) << 16 / time.Second)
}

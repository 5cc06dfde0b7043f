package media

import (
	"testing"
	"time"

	"github.com/pion/rtp"
)

// FuzzRTP feeds a receiver datagrams cut from the input: the first byte of each
// is how long it is, the second how much time has passed before it.
func FuzzRTP(f *testing.F) {
	packet := func(pt uint8, seq uint16, payload ...byte) []byte {
		p := rtp.Packet{Header: rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, SSRC: 1}, Payload: payload}
		data, err := p.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		return append([]byte{byte(len(data)), 20}, data...)
	}
	f.Add(append(packet(8, 65535, 1, 2, 3), packet(8, 1, 4, 5)...))
	f.Add(append(packet(111, 7, 0x08, 0x80, 1), packet(111, 9, 0x78)...))
	f.Add(append(packet(testEvents, 7, 11, 10, 0, 160), packet(testEvents, 8, 11, 0x8a, 3, 32)...))
	f.Add(append(packet(13, 7, 40), packet(77, 8)...))
	p, m := testPacer(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		pushed, last := 0, time.Duration(0)
		sink := sinkFunc(func(fr *Frame) {
			pushed++
			if fr.Kind == Audio && len(fr.PCM) == 0 && len(fr.Payload) == 0 {
				t.Error("an audio frame without audio")
			}
			if fr.Duration <= 0 || fr.Duration > maxOpusFrame*time.Millisecond {
				t.Errorf("a frame of %v", fr.Duration)
			}
			last += fr.Duration
		})
		for _, want := range []Format{{Rate: narrowRate}, {Rate: wideRate}, {Codec: Opus}, {Codec: PCMA}} {
			r := testReceiver(t, p, m, sink)
			r.setSink(sink, want)
			at := time.Now()
			rest, packets := data, 0
			var pkt rtp.Packet
			for len(rest) > 2 && packets < 200 {
				n := min(int(rest[0]), len(rest)-2)
				at = at.Add(time.Duration(rest[1]) * time.Millisecond)
				if pkt.Unmarshal(rest[2:2+n]) == nil {
					r.receive(&pkt.Header, pkt.Payload, at)
					packets++
				}
				rest = rest[2+n:]
			}
			r.close()
			st := r.stats()
			if int(st.PacketsIn) > packets || st.Jitter < 0 || st.MOS < 0 || st.MOS > 4.5 {
				t.Errorf("%d packets: %+v", packets, st)
			}
			if pushed > packets*(maxConcealed+10) {
				t.Errorf("%d frames from %d packets", pushed, packets)
			}
			pushed = 0
		}
	})
}

package media

import (
	"testing"
	"time"
)

// BenchmarkBridgeOverCodec compares what a call costs from packet to packet, both
// ways, with its codec work alone: decoding and encoding the same speech. Both
// take turns, so that whatever else the machine does hits both.
func BenchmarkBridgeOverCodec(b *testing.B) {
	const turn = 50 // frames
	l := newLoop(b, Opus, PCMA)
	enc, err := newOpusEncoder(testOpus(), nil)
	if err != nil {
		b.Fatal(err)
	}
	dec, err := newOpusDecoder(narrowRate)
	if err != nil {
		b.Fatal(err)
	}
	law := lawOf(PCMA)
	var pcm [maxPCM]int16
	var out [maxOpusPacket]byte
	codec := func(n int) {
		packet := l.in[0][n%len(l.in[0])].payload
		got, err := dec.Decode(packet, pcm[:])
		if err != nil {
			b.Fatal(err)
		}
		law.encode(out[:0], pcm[:got])
		speech := law.decode(pcm[:0], l.in[1][n%len(l.in[1])].payload)
		if _, err := enc.encode(speech, narrowRate, out[:]); err != nil {
			b.Fatal(err)
		}
	}
	var alone, whole time.Duration
	n := 0
	for range max(b.N/turn, 1) {
		began := cpuTime()
		for range turn {
			codec(n)
			n++
		}
		between := cpuTime()
		for range turn {
			l.step(0)
			l.step(1)
		}
		alone += between - began
		whole += cpuTime() - between
	}
	b.ReportMetric(float64(alone)/float64(n)/1000, "codec-us/frame")
	b.ReportMetric(float64(whole)/float64(n)/1000, "bridge-us/frame")
	b.ReportMetric(float64(whole)/float64(alone), "bridge/codec")
}

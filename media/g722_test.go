package media

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// Both bands come through, at their level; at 8 kHz the upper one is gone.
func TestG722Bands(t *testing.T) {
	for _, c := range []struct {
		freq  float64
		rate  int
		heard bool
	}{
		{300, wideRate, true},
		{3000, wideRate, true},
		{6500, wideRate, true},
		{1000, narrowRate, true},
		{6500, narrowRate, false},
	} {
		enc, dec := newG722Encoder(), newG722Decoder(c.rate)
		source, meter := tone.NewSource(c.freq, wideRate), tone.NewMeter(c.rate, c.freq)
		at := c.freq
		if c.freq > float64(c.rate)/2 {
			at = float64(c.rate) - c.freq // where it would be folded to
			meter = tone.NewMeter(c.rate, at)
		}
		pcm := make([]int16, wideRate/50)
		for range 100 {
			source.Read(pcm)
			code := enc.encode(make([]byte, 0, 200), pcm)
			if len(code) != 160 {
				t.Fatalf("a frame has %d bytes, want 160", len(code))
			}
			out := dec.decode(make([]int16, 0, 400), code)
			if len(out) != c.rate/50 {
				t.Fatalf("a frame decodes to %d samples, want %d", len(out), c.rate/50)
			}
			meter.Write(out)
		}
		db, heard := meter.Level(at)
		if c.heard != heard || c.heard && math.Abs(db-tone.DefaultLevel) > 2 {
			t.Errorf("%v Hz at %d Hz: %.1f dB, heard %v", c.freq, c.rate, db, heard)
		}
	}
}

func TestG722WithoutRoom(t *testing.T) {
	if got := newG722Encoder().encode(make([]byte, 0, 10), make([]int16, 320)); got != nil {
		t.Errorf("%d bytes into ten", len(got))
	}
	if got := newG722Decoder(wideRate).decode(make([]int16, 0, 10), make([]byte, 160)); len(got) != 0 {
		t.Errorf("%d samples into ten", len(got))
	}
	if got := newG722Decoder(wideRate).decode(nil, nil); len(got) != 0 {
		t.Errorf("%d samples of nothing", len(got))
	}
}

// Wide audio stays wide through the bridge: 5 kHz cannot pass a telephone.
func TestWideAudioBothWays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bridge, left, right, one, two := testCall(t, Opus, G722)
		const high = 5000
		for _, ph := range []*phone{one, two} {
			ph.tone = tone.NewSource(high, wideRate)
			ph.ear.listen(wideRate, high)
			ph.hear.setSink(ph.ear, Format{Rate: wideRate})
		}
		bridge.Start()
		pcm := make([]int16, wideRate/50)
		for range 100 {
			for _, ph := range []*phone{one, two} {
				ph.tone.Read(pcm)
				ph.talk.Push(&Frame{Kind: Audio, PCM: pcm, Rate: wideRate, Duration: frameTime})
			}
			time.Sleep(frameTime)
		}
		for name, ph := range map[string]*phone{"Opus": one, "G722": two} {
			if db, heard := ph.ear.meter.Level(high); !heard || db < -18 {
				t.Errorf("%v Hz at the %s side: %.1f dB", high, name, db)
			}
		}
		if lost := left.Stats().Lost + right.Stats().Lost; lost != 0 {
			t.Errorf("%d packets lost", lost)
		}
	})
}

// The RTP clock of G.722 is 8000, whatever its audio is (RFC 3551 section 4.5.2).
func TestG722OnTheSocket(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Codecs = []string{"G722", "PCMA"} })
	listener := newEar()
	listener.listen(wideRate, 5000)
	s.SetSink(listener, Format{Rate: wideRate})
	p := newPBX(t, "127.0.0.1")
	p.to = s.testAddr()
	if err := s.SetAnswer(p.sdp("9 8 101")); err != nil {
		t.Fatal(err)
	}
	s.Open()
	enc, dec := newG722Encoder(), newG722Decoder(wideRate)
	source, back := tone.NewSource(5000, wideRate), tone.NewSource(5000, wideRate)
	meter := tone.NewMeter(wideRate, 5000)
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	var last rtp.Packet
	pcm := make([]int16, wideRate/50)
	for i := range 60 {
		<-tick.C
		source.Read(pcm)
		pkt := rtp.Packet{
			Header:  rtp.Header{Version: 2, SSRC: p.ssrc, PayloadType: 9, SequenceNumber: p.number, Timestamp: p.stamp},
			Payload: enc.encode(make([]byte, 0, 160), pcm),
		}
		p.number++
		p.stamp += 160
		data, err := pkt.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.rtp.WriteToUDPAddrPort(data, p.to); err != nil {
			t.Fatal(err)
		}
		back.Read(pcm)
		s.Push(&Frame{Kind: Audio, PCM: pcm, Rate: wideRate, Duration: frameTime})
		got, _ := p.hear()
		if got.PayloadType != 9 || i > 0 && got.Timestamp != last.Timestamp+160 {
			t.Fatalf("%v follows %v", got.Header, last.Header)
		}
		last = got
		meter.Write(dec.decode(make([]int16, 0, 320), got.Payload))
	}
	until(t, "all packets were read", func() bool { return s.Stats().PacketsIn == 60 })
	s.SetSink(nil, Format{})
	if db, heard := meter.Level(5000); !heard {
		t.Errorf("5 kHz at the PBX: %.1f dB", db)
	}
	if db, heard := listener.meter.Level(5000); !heard {
		t.Errorf("5 kHz from the PBX: %.1f dB", db)
	}
}

func TestDoubler(t *testing.T) {
	for _, freq := range []float64{200, 1000, 3000} {
		d := &doubler{}
		source, meter := tone.NewSource(freq, narrowRate), tone.NewMeter(wideRate, freq, 8000-freq)
		pcm := make([]int16, narrowRate/50)
		for range 50 {
			source.Read(pcm)
			meter.Write(d.double(pcm))
		}
		if db, heard := meter.Level(freq); !heard || math.Abs(db-tone.DefaultLevel) > 1 {
			t.Errorf("%v Hz: %.1f dB", freq, db)
		}
		if db, heard := meter.Level(8000 - freq); heard || db > tone.DefaultLevel-25 {
			t.Errorf("%v Hz has an image at %.1f dB", freq, db)
		}
	}
	loud := &doubler{}
	high := make([]int16, 100)
	for i := range high {
		high[i] = math.MaxInt16
	}
	for i, v := range loud.double(high)[40:] {
		if v < math.MaxInt16-200 {
			t.Fatalf("sample %d of a constant is %d", i, v)
		}
	}
}

func BenchmarkG722(b *testing.B) {
	pcm := make([]int16, wideRate/50)
	voice(pcm, 0)
	b.Run("encode", func(b *testing.B) {
		enc, out := newG722Encoder(), make([]byte, 0, 160)
		b.ReportAllocs()
		for b.Loop() {
			enc.encode(out, pcm)
		}
	})
	b.Run("decode", func(b *testing.B) {
		code := newG722Encoder().encode(make([]byte, 0, 160), pcm)
		dec, out := newG722Decoder(wideRate), make([]int16, 0, 320)
		b.ReportAllocs()
		for b.Loop() {
			dec.decode(out, code)
		}
	})
}

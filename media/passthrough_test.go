package media

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// opusPackets are a tone in packets of a length.
func opusPackets(tb testing.TB, freq float64, length time.Duration, n int) [][]byte {
	tb.Helper()
	enc, err := newOpusEncoder(testOpus(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	source := tone.NewSource(freq, wideRate)
	pcm := make([]int16, wideRate*int(length/time.Millisecond)/1000)
	list := make([][]byte, n)
	for i := range list {
		source.Read(pcm)
		out := make([]byte, maxOpusPacket)
		size, err := enc.encode(pcm, wideRate, out)
		if err != nil {
			tb.Fatal(err)
		}
		list[i] = out[:size]
	}
	return list
}

// A leg with Opus on either side: packets of 20 ms pass unchanged, under our own
// numbers and times; longer ones are made into such.
func TestOpusPassesThrough(t *testing.T) {
	for _, length := range []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 60 * time.Millisecond} {
		t.Run(length.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, m := testPacer(t)
				var w wire
				left, right := testLeg(t, p, m, Opus, (&wire{}).write), testLeg(t, p, m, Opus, w.write)
				NewBridge(left, right).Start()
				right.sender.open()
				packets := opusPackets(t, 440, length, 50)
				s := &stream{codec: Opus, number: 65500, stamp: 1<<32 - 3000, ssrc: 4}
				for _, payload := range packets {
					h := s.header()
					s.stamp += Opus.ticks(length)
					left.receive(h, payload, time.Now())
					time.Sleep(length)
				}
				out := w.sent()
				wantStream(t, Opus, out)
				same := 0
				dec, err := newOpusDecoder(wideRate)
				if err != nil {
					t.Fatal(err)
				}
				meter := tone.NewMeter(wideRate, 440)
				pcm := make([]int16, wideRate)
				for _, pkt := range out {
					for _, payload := range packets {
						if bytes.Equal(pkt.payload, payload) {
							same++
						}
					}
					n, err := dec.Decode(pkt.payload, pcm)
					if err != nil {
						t.Fatal(err)
					}
					meter.Write(pcm[:n])
				}
				if length == frameTime && same < len(packets) || length != frameTime && same > 0 {
					t.Errorf("%d of %d packets left as they came", same, len(packets))
				}
				if db, heard := meter.Level(440); !heard || db < -16 {
					t.Errorf("440 Hz at %.1f dB", db)
				}
			})
		})
	}
}

// The PBX changes its codec in the middle of a call: both sides go on hearing
// each other, and the stream to the customer does not notice.
func TestCodecChangesInTheCall(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Codecs = []string{"opus", "G722", "PCMA", "PCMU"} })
	p := newPBX(t, "127.0.0.1")
	p.to = s.testAddr()
	var w wire
	var one *phone
	w.then = func(pkt sentPacket) { one.hear.receive(&pkt.Header, pkt.payload, time.Now()) }
	left := testLeg(t, e.pacer, e.metrics, Opus, w.write)
	one = testPhone(t, e.pacer, e.metrics, Opus, left, 620, 440)
	left.sender.open()
	bridge := NewBridge(left, s)
	offer := func(formats string) {
		t.Helper()
		if _, err := s.Reoffer(p.sdp(formats, "a=rtpmap:107 opus/48000/2", "a=fmtp:107 useinbandfec=1")); err != nil {
			t.Fatal(err)
		}
	}
	offer("107 101")
	bridge.Start()
	s.Open()
	far := testReceiver(t, e.pacer, e.metrics, nil)
	far.accept(107, Opus)
	for _, c := range []struct {
		formats string
		codec   Codec
		pt      uint8
	}{{"107 101", Opus, 107}, {"8 101", PCMA, 8}, {"9 101", G722, 9}, {"0", PCMU, 0}, {"107 8", Opus, 107}} {
		offer(c.formats)
		if s.Codec() != c.codec {
			t.Fatalf("%s: codec %v, want %v", c.formats, s.Codec(), c.codec)
		}
		talk := testSender(t, e.pacer, e.metrics, c.codec, func(h *rtp.Header, payload []byte) error {
			h.PayloadType, h.SSRC = c.pt, p.ssrc
			h.SequenceNumber = p.number
			p.number++
			data, err := (&rtp.Packet{Header: *h, Payload: payload}).Marshal()
			if err != nil {
				return err
			}
			_, err = p.rtp.WriteToUDPAddrPort(data, p.to)
			return err
		})
		drained(t, p)
		talk.open()
		listener := newEar(620)
		far.setSink(listener, Format{Rate: narrowRate})
		one.ear.mu.Lock()
		one.ear.meter.Reset()
		one.ear.mu.Unlock()
		tick := time.NewTicker(frameTime)
		for range 60 {
			<-tick.C
			talk.Push(toneFrame(p.tone))
			one.talk.Push(toneFrame(one.tone))
			pkt, _ := p.hear()
			far.receive(&pkt.Header, pkt.Payload, time.Now())
		}
		tick.Stop()
		talk.close()
		far.setSink(nil, Format{})
		if db, heard := listener.meter.Level(620); !heard {
			t.Errorf("%s: the PBX hears %.1f dB", c.formats, db)
		}
		if db, heard := one.ear.meter.Level(440); !heard {
			t.Errorf("%s: the customer hears %.1f dB", c.formats, db)
		}
	}
	bridge.Stop()
	left.sender.close()
	wantStream(t, Opus, w.sent())
}

// drained takes away what was sent before.
func drained(t *testing.T, p *pbx) {
	t.Helper()
	var buf [maxDatagram]byte
	for range underWay {
		p.rtp.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, _, err := p.rtp.ReadFromUDPAddrPort(buf[:]); err != nil {
			return
		}
	}
	t.Fatal("the packets do not end")
}

// Keys cross between clocks of 8 and 48 kHz with their length.
func TestDigitsBetweenClocks(t *testing.T) {
	for _, c := range []struct{ from, to int }{{narrowRate, 48000}, {48000, narrowRate}, {48000, 48000}} {
		t.Run(fmt.Sprint(c.from, "-", c.to), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, m := testPacer(t)
				var w wire
				out := newSender(p, m.sip, testOpus(), w.write)
				if err := out.use(Opus, payloadTypes{audio: 111, events: testEvents, hasEvents: true, eventClock: c.to}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(out.close)
				r := testReceiver(t, p, m, out)
				r.acceptEvents(testEvents, c.from)
				out.open()
				k := &keypad{stream: stream{codec: Opus, ssrc: 5}}
				k.send = func(h *rtp.Header, payload []byte) {
					if d, ok := parseDigit(payload); ok && h.PayloadType == testEvents {
						d.Duration *= uint16(c.from / narrowRate)
						payload = d.put(nil)
					}
					r.receive(h, payload, time.Now())
				}
				for code := range uint8(16) {
					k.talk(5)
					k.press(code, 5)
				}
				k.talk(20)
				got := events(t, w.sent())
				if len(got) != 16 {
					t.Fatalf("%d digits", len(got))
				}
				for i, e := range got {
					if e.code != uint8(i) || int(e.duration) != 800*c.to/narrowRate {
						t.Errorf("digit %d: %+v", i, e)
					}
				}
			})
		})
	}
}

// A key held for three seconds on a clock of 48 kHz leaves in segments: each begins where the one before is full, the
// first packet of all has the marker, the last segment the end.
func TestLongKeyIsSentInSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		out := newSender(p, m.sip, testOpus(), w.write)
		if err := out.use(Opus, payloadTypes{audio: 111, events: testEvents, hasEvents: true, eventClock: 48000}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(out.close)
		out.open()
		const frames = 150
		for i := range uint16(frames) {
			out.Push(&Frame{Kind: Event, Timestamp: 77, Digit: Digit{Code: 7, Duration: 160 * (i + 1), End: i == frames-1}})
			time.Sleep(frameTime)
		}
		time.Sleep(time.Second)
		hears := newEar()
		r := testReceiver(t, p, m, hears)
		r.acceptEvents(testEvents, 48000)
		var first, stamp uint32
		var last Digit
		ends, segments := 0, 0
		for _, sent := range w.sent() {
			if sent.PayloadType != testEvents {
				continue
			}
			d, _ := parseDigit(sent.payload)
			switch {
			case segments == 0:
				first, segments = sent.Timestamp, 1
			case sent.Timestamp != stamp:
				if last.Duration != digitMax || sent.Timestamp != stamp+digitMax {
					t.Errorf("a segment at %d follows one of %d at %d", sent.Timestamp-first, last.Duration, stamp-first)
				}
				segments++
			case sent.Marker || d.Duration < last.Duration:
				t.Errorf("%+v, marker %v, after %+v", d, sent.Marker, last)
			}
			if d.End {
				ends++
			}
			stamp, last = sent.Timestamp, d
			r.receive(&sent.Header, sent.payload, time.Now())
		}
		if total := stamp - first + uint32(last.Duration); segments != 3 || ends != digitEnds || total != 3*48000 {
			t.Errorf("%d segments with %d ends and %d ticks in all, want 3, %d, %d", segments, ends, total, digitEnds, 3*48000)
		}
		var keys []Digit
		for _, f := range hears.heard() {
			if f.Kind == Event && f.Digit.End {
				keys = append(keys, f.Digit)
			}
		}
		if len(keys) != 1 || keys[0].Duration != 3*narrowRate {
			t.Errorf("it is heard as %+v, want one key of %d", keys, 3*narrowRate)
		}
	})
}

// Such a key comes in three segments and is one key (RFC 4733 section 2.5.1.3).
func TestLongKeyInSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		out := testSender(t, p, m, PCMA, w.write)
		r := testReceiver(t, p, m, out)
		r.acceptEvents(testEvents, 48000)
		out.open()
		k := &keypad{stream: stream{codec: Opus, ssrc: 5}}
		k.send = func(h *rtp.Header, payload []byte) { r.receive(h, payload, time.Now()) }
		k.talk(10)
		begin, past := k.stamp, uint32(0)
		send := func(d Digit) {
			h := k.header()
			h.PayloadType, h.Timestamp = testEvents, begin
			k.send(h, d.put(nil))
		}
		for i := range uint32(150) {
			past += 960
			if past > digitMax {
				send(Digit{Code: 7, Duration: digitMax}) // the segment is full
				begin, past = begin+digitMax, past-digitMax
			}
			send(Digit{Code: 7, Duration: uint16(past), End: i == 149})
			k.stamp += 960
			time.Sleep(frameTime)
		}
		k.talk(20)
		got := events(t, w.sent())
		if len(got) != 1 || got[0].code != 7 || got[0].duration != 3*narrowRate {
			t.Errorf("got %+v, want one key of %d", got, 3*narrowRate)
		}
	})
}

package media

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
)

// keypad plays digits the way a phone sends them: updates every 20 ms, the end
// three times, audio between.
type keypad struct {
	stream

	send func(*rtp.Header, []byte)
}

func (k *keypad) talk(frames int) {
	for range frames {
		h, payload := k.law(160, 0x55)
		if k.codec == Opus {
			k.stamp += 960 - 160
			payload = []byte{0x08} // a pause is enough here
		}
		k.send(h, payload)
		time.Sleep(frameTime)
	}
}

func (k *keypad) press(code uint8, frames int) {
	stamp := k.stamp
	packet := func(d Digit, first bool) {
		h := k.header()
		h.Timestamp, h.PayloadType, h.Marker = stamp, testEvents, first
		k.send(h, d.put(nil))
		k.stamp += k.codec.ticks(frameTime)
		time.Sleep(frameTime)
	}
	for i := range frames {
		packet(Digit{Code: code, Volume: 10, Duration: uint16(160 * (i + 1))}, i == 0)
	}
	for range digitEnds {
		packet(Digit{Code: code, Volume: 10, Duration: uint16(160 * frames), End: true}, false)
	}
}

// event is a digit as it left a sender.
type event struct {
	code          uint8
	stamp         uint32
	packets, ends int
	duration      uint16
}

// events reads the digits off the wire and holds each to RFC 4733 section 2.5.
func events(t *testing.T, packets []sentPacket) []event {
	t.Helper()
	var list []event
	for i, p := range packets {
		if p.PayloadType != testEvents {
			continue
		}
		d, ok := parseDigit(p.payload)
		if !ok {
			t.Fatalf("packet %d: % x", i, p.payload)
		}
		if len(list) == 0 || list[len(list)-1].stamp != p.Timestamp {
			if !p.Marker {
				t.Errorf("digit %d begins without the marker", len(list))
			}
			if d.End {
				t.Errorf("digit %d begins with its end", len(list))
			}
			list = append(list, event{code: d.Code, stamp: p.Timestamp})
		} else if p.Marker {
			t.Errorf("digit %d has the marker again", len(list)-1)
		}
		e := &list[len(list)-1]
		e.packets++
		if d.Code != e.code || d.Duration < e.duration || e.ends > 0 && !d.End {
			t.Errorf("digit %d: %+v after %+v", len(list)-1, d, *e)
		}
		e.duration = d.Duration
		if d.End {
			e.ends++
		}
	}
	for i, e := range list {
		if e.ends != digitEnds {
			t.Errorf("digit %d ends %d times", i, e.ends)
		}
	}
	return list
}

func TestDigitsThroughTheGateway(t *testing.T) {
	for _, from := range []Codec{Opus, PCMA} {
		for _, loss := range []int{0, 10, 30} {
			t.Run(fmt.Sprint(from, loss), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, m := testPacer(t)
					var w wire
					out := testSender(t, p, m, PCMU, w.write)
					r := testReceiver(t, p, m, out)
					out.open()
					rng := rand.New(rand.NewPCG(uint64(loss), 7))
					k := &keypad{stream: stream{codec: from, number: 65500, stamp: 1<<32 - 5000, ssrc: 5}}
					k.send = func(h *rtp.Header, payload []byte) {
						if rng.IntN(100) >= loss {
							r.receive(h, payload, time.Now())
						}
					}
					const rounds = 10
					for range rounds {
						for code := range uint8(16) {
							k.talk(5)
							k.press(code, 5)
						}
					}
					k.talk(20)
					got := events(t, w.sent())
					if len(got) != 16*rounds {
						t.Fatalf("%d digits, want %d", len(got), 16*rounds)
					}
					for i, e := range got {
						if e.code != uint8(i%16) {
							t.Errorf("digit %d is %d", i, e.code)
						}
						if loss == 0 && e.duration != 800 {
							t.Errorf("digit %d lasts %d, want 800", i, e.duration)
						}
					}
					wantStream(t, PCMU, w.sent())
				})
			})
		}
	}
}

// The audio's clock goes on under a digit, in steps of a frame, on 48 kHz too.
func TestDigitTakesThePlaceOfAudio(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, Opus, w.write)
		s.open()
		for i := range 200 {
			now := uint16(i - 50)
			if i >= 50 && i < 60 {
				s.Push(&Frame{Kind: Event, Timestamp: 77, Digit: Digit{Code: 5, Duration: 160 * (now + 1), End: i == 59}})
			}
			s.Push(&Frame{Kind: Audio, PCM: make([]int16, 160), Rate: narrowRate, Duration: frameTime})
			time.Sleep(frameTime)
		}
		got := w.sent()
		var before, after sentPacket
		var digits []sentPacket
		for _, p := range got {
			switch {
			case p.PayloadType == testEvents:
				digits = append(digits, p)
			case len(digits) == 0:
				before = p
			case after.payload == nil:
				after = p
			}
		}
		if len(digits) < 11 || len(digits) > 13 {
			t.Errorf("%d packets of a digit of 200 ms", len(digits))
		}
		if digits[0].Timestamp != before.Timestamp+960 {
			t.Errorf("the digit is at %d, the audio before it at %d", digits[0].Timestamp, before.Timestamp)
		}
		if want := before.Timestamp + 960*uint32(len(digits)+1); after.Timestamp != want {
			t.Errorf("audio goes on at %d, want %d", after.Timestamp, want)
		}
		if d := after.at.Sub(digits[len(digits)-1].at); d > 2*frameTime {
			t.Errorf("%v of nothing after the digit", d)
		}
		for i := 1; i < len(digits); i++ {
			if d := digits[i].at.Sub(digits[i-1].at); d > 25*time.Millisecond {
				t.Errorf("%v between updates", d)
			}
		}
	})
}

func TestLostEndIsSentAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.open()
		s.Push(&Frame{Kind: Event, Timestamp: 1, Digit: Digit{Code: 1, Duration: 160}})
		time.Sleep(time.Second)
		got := events(t, w.sent())
		if len(got) != 1 || got[0].packets < 5 {
			t.Fatalf("got %+v", got)
		}
		s.Push(&Frame{Kind: Event, Timestamp: 1, Digit: Digit{Code: 1, Duration: 8000, End: true}})
		time.Sleep(time.Second)
		if got := events(t, w.sent()); len(got) != 1 {
			t.Errorf("a late packet of the same digit is a second digit: %+v", got)
		}
		// One that never ends does not hold the audio for ever.
		for i := range 1000 {
			s.Push(&Frame{Kind: Event, Timestamp: 2, Digit: Digit{Code: 2, Duration: uint16(min(160*(i+1), digitMax))}})
			time.Sleep(frameTime)
		}
		got = events(t, w.sent())
		if len(got) != 2 || got[1].packets > 420 {
			t.Errorf("%d digits, the last of %d packets", len(got), got[len(got)-1].packets)
		}
	})
}

func TestDigitsTooCloseTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.open()
		for i := range uint32(4) {
			s.Push(&Frame{Kind: Event, Timestamp: i * 400, Digit: Digit{Code: uint8(i), Duration: 320, End: true}})
			time.Sleep(10 * time.Millisecond)
		}
		s.close()
		if got := events(t, w.sent()); len(got) != 4 {
			t.Errorf("%d digits, want 4", len(got))
		}
	})
}

func TestReceiverTellsADigitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		e := newEar()
		r := testReceiver(t, p, m, e)
		k := &keypad{stream: stream{codec: PCMA, ssrc: 5}}
		k.send = func(h *rtp.Header, payload []byte) { r.receive(h, payload, time.Now()) }
		k.press(7, 5)
		h := k.header()
		h.PayloadType = testEvents
		r.receive(h, []byte{16, 0, 0, 100}, time.Now()) // a hook flash is no digit
		ends := 0
		for _, f := range e.heard() {
			if f.Kind == Event && f.Digit.End {
				ends++
			}
		}
		if ends != 1 {
			t.Errorf("told %d ends, want 1", ends)
		}
		if n := len(e.heard()); n != 6 {
			t.Errorf("%d frames, want 6", n)
		}
	})
}

func TestParseDigit(t *testing.T) {
	for _, c := range []struct {
		payload []byte
		want    Digit
		ok      bool
	}{
		{nil, Digit{}, false},
		{[]byte{1, 2, 3}, Digit{}, false},
		{[]byte{16, 0, 0, 1}, Digit{}, false},
		{[]byte{11, 0x8a, 3, 0x20}, Digit{Code: 11, Volume: 10, End: true, Duration: 800}, true},
		{[]byte{15, 0x3f, 0xff, 0xff, 9, 9}, Digit{Code: 15, Volume: 63, Duration: 65535}, true},
	} {
		got, ok := parseDigit(c.payload)
		if got != c.want || ok != c.ok {
			t.Errorf("% x is %+v %v, want %+v %v", c.payload, got, ok, c.want, c.ok)
		}
		if !ok {
			continue
		}
		if again, _ := parseDigit(got.put(nil)); again != got {
			t.Errorf("%+v written and read is %+v", got, again)
		}
	}
}

func FuzzTelephoneEvent(f *testing.F) {
	f.Add([]byte{11, 0x8a, 3, 0x20})
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, payload []byte) {
		d, ok := parseDigit(payload)
		if !ok {
			return
		}
		if again, ok := parseDigit(d.put(nil)); !ok || again != d {
			t.Errorf("%+v written and read is %+v", d, again)
		}
	})
}

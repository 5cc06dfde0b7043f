package media

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/test/tone"
)

// Keys that a PBX tells by INFO go out as telephone-events, in order and at
// their length, however quickly they were told.
func TestPressedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		out := testSender(t, p, m, Opus, w.write)
		r := testReceiver(t, p, m, out)
		out.open()
		k := newKeysIn(p, r)
		time.Sleep(time.Second)
		for code := range uint8(16) {
			if err := k.press(Key{code, 100 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(7 * time.Millisecond)
		}
		for _, c := range []struct {
			key  Key
			want error
		}{{Key{Code: 16}, errNoKey}, {Key{Code: 3}, nil}, {Key{Code: 4, Duration: time.Hour}, nil}} {
			if err := k.press(c.key); !errors.Is(err, c.want) {
				t.Errorf("%+v: %v, want %v", c.key, err, c.want)
			}
		}
		time.Sleep(20 * time.Second)
		got := events(t, w.sent())
		if len(got) != 18 {
			t.Fatalf("%d keys, want 18", len(got))
		}
		for i, e := range got[:16] {
			if e.code != uint8(i) || e.duration != 800 {
				t.Errorf("key %d is %+v", i, e)
			}
		}
		if got[16].duration != 320 || got[17].duration != 40000 {
			t.Errorf("the shortest lasts %d, the longest %d", got[16].duration, got[17].duration)
		}
		for i := range maxKeysHeld + 1 {
			if err := k.press(Key{Code: 1}); (err != nil) != (i == maxKeysHeld) {
				t.Errorf("key %d in the queue: %v", i, err)
			}
		}
		k.close()
		if err := k.press(Key{Code: 1}); !errors.Is(err, errClosed) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// A trunk that takes digits by INFO is told each once, also when the packets
// with its end are lost; no telephone-event is agreed on or sent.
func TestKeysAreTold(t *testing.T) {
	told := make(chan Key, 20)
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Info = func(k Key) { told <- k } })
	if offer := string(s.Offer()); strings.Contains(offer, "telephone-event") {
		t.Errorf("offer\n%s", offer)
	}
	p := newPBX(t, "127.0.0.1")
	p.to = s.testAddr()
	answer, err := s.Answer(p.sdp("8 101"))
	if err != nil || strings.Contains(string(answer), "telephone-event") {
		t.Errorf("answer %v\n%s", err, answer)
	}
	s.Open()
	push := func(code uint8, stamp uint32, duration uint16, end bool) {
		s.Push(&Frame{Kind: Event, Digit: Digit{Code: code, Duration: duration, End: end}, Timestamp: stamp, Duration: frameTime})
	}
	for range 2 { // the second round repeats the first
		push(1, 1000, 160, false)
		push(1, 1000, 800, false)
		push(1, 1000, 960, true)
		push(1, 1000, 960, true)
	}
	push(2, 9000, 320, false)  // its end is lost, another follows
	push(3, 19000, 480, false) // its end is lost, nothing follows
	var got []Key
	for range 3 {
		select {
		case k := <-told:
			got = append(got, k)
		case <-time.After(10 * time.Second):
			t.Fatalf("told %v", got)
		}
	}
	want := []Key{{1, 120 * time.Millisecond}, {2, 40 * time.Millisecond}, {3, 60 * time.Millisecond}}
	if !slices.Equal(got, want) || len(told) != 0 {
		t.Errorf("told %v and %d more, want %v", got, len(told), want)
	}
	for range 10 {
		if pkt, _ := p.hear(); pkt.PayloadType != 8 {
			t.Errorf("payload type %d", pkt.PayloadType)
		}
	}
}

// After a pause the marker shows where the speech begins again; a frame that was
// filled in is no pause.
func TestMarkerAfterSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.open()
		source := tone.NewSource(440, narrowRate)
		speak := func(n int) {
			for range n {
				s.Push(toneFrame(source))
				time.Sleep(frameTime)
			}
		}
		speak(20)
		time.Sleep(3 * frameTime)
		speak(20)
		before := len(w.sent())
		time.Sleep(time.Second)
		speak(20)
		marked := 0
		for i, pkt := range w.sent() {
			if i == 0 || !pkt.Marker {
				continue
			}
			if marked++; i < before+40 {
				t.Errorf("packet %d has the marker", i)
			}
		}
		if marked != 1 {
			t.Errorf("%d markers after the first packet, want 1", marked)
		}
	})
}

// Packets of 10 to 60 ms and odd lengths, of each codec: all of it is heard, and
// goes on in packets of 20 ms. Comfort noise between them is silence.
func TestPacketLengths(t *testing.T) {
	for _, c := range []Codec{PCMA, PCMU, G722} {
		for _, length := range []int{10, 20, 30, 40, 60, 25, 15} {
			t.Run(c.String()+" "+(time.Duration(length)*time.Millisecond).String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testPacketLength(t, c, length) })
			})
		}
	}
}

func testPacketLength(t *testing.T, c Codec, length int) {
	t.Helper()
	p, m := testPacer(t)
	var w wire
	left, right := testLeg(t, p, m, c, (&wire{}).write), testLeg(t, p, m, Opus, w.write)
	NewBridge(left, right).Start()
	right.sender.open()
	source := tone.NewSource(440, narrowRate)
	coder := newSender(p, m.sip, testOpus(), nil)
	if err := coder.use(c, payloadTypes{}); err != nil {
		t.Fatal(err)
	}
	s := &stream{codec: c, number: 65530, ssrc: 9}
	pcm := make([]int16, 8*length)
	talk := func(total int) {
		for range total / length {
			source.Read(pcm)
			h := s.header()
			s.stamp += uint32(len(pcm))
			left.receive(h, coder.encodePCM(pcm, narrowRate), time.Now())
			time.Sleep(time.Duration(length) * time.Millisecond)
		}
	}
	talk(1200)
	h := s.header()
	h.PayloadType = comfortNoise
	s.stamp += 8000
	left.receive(h, []byte{60}, time.Now())
	time.Sleep(time.Second)
	talk(1200)
	time.Sleep(reorderWait) // no longer: the sound goes on for a moment after its end
	out := w.sent()
	wantStream(t, Opus, out)
	if n := len(out); n < 170 || n > 175+int(maxLead/frameTime) { // a burst may be ahead of the clock for a moment
		t.Errorf("%d packets in 3.5 s", n)
	}
	dec, err := newOpusDecoder(narrowRate)
	if err != nil {
		t.Fatal(err)
	}
	meter, heard := tone.NewMeter(narrowRate, 440), 0
	frame := make([]int16, narrowRate)
	for _, pkt := range out {
		n, err := dec.Decode(pkt.payload, frame)
		if err != nil {
			t.Fatal(err)
		}
		meter.Write(frame[:n])
		if power(frame[:n]) > 2000 {
			heard++
		}
	}
	if db, is := meter.Level(440); !is {
		t.Errorf("440 Hz at %.1f dB", db)
	}
	if heard < 114 || heard > 126 { // 2.4 s
		t.Errorf("%d frames with the tone, want about 120", heard)
	}
	if st := left.Stats(); st.Lost != 0 || st.Concealed != 0 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
}

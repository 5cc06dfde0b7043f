package media

import (
	"testing"
	"testing/synctest"
	"time"

	"wagate/test/tone"
)

// wantStream checks what holds for every stream: one source, numbers without a
// gap, timestamps that advance by a frame with every audio packet.
func wantStream(t *testing.T, c Codec, packets []sentPacket) {
	t.Helper()
	for i := 1; i < len(packets); i++ {
		prev, p := packets[i-1], packets[i]
		if p.SSRC != prev.SSRC || p.SequenceNumber != prev.SequenceNumber+1 {
			t.Fatalf("packet %d: source %x number %d follows %x %d", i, p.SSRC, p.SequenceNumber, prev.SSRC, prev.SequenceNumber)
		}
		if p.PayloadType != testEvents && prev.PayloadType != testEvents {
			if step := p.Timestamp - prev.Timestamp; step != c.ticks(frameTime) {
				t.Fatalf("packet %d: timestamp steps by %d, want %d", i, step, c.ticks(frameTime))
			}
		}
	}
}

func TestNothingBeforeTheGateOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, Opus, w.write)
		s.Push(toneFrame(tone.NewSource(440, narrowRate)))
		time.Sleep(time.Second)
		if n := len(w.sent()); n != 0 {
			t.Fatalf("%d packets before open", n)
		}
		s.open()
		synctest.Wait()
		if n := len(w.sent()); n != 1 {
			t.Fatalf("%d packets as the gate opens, want 1", n)
		}
		early := newSender(p, m.sip, testOpus(), w.write)
		early.open() // before the codec is known
		if err := early.use(PCMA, payloadTypes{audio: 8}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := len(w.sent()); n != 2 {
			t.Fatalf("%d packets of two senders, want 2", n)
		}
		early.close()
		s.close()
		n := len(w.sent())
		time.Sleep(time.Second)
		s.Push(toneFrame(tone.NewSource(440, narrowRate)))
		if got := len(w.sent()); got != n {
			t.Fatalf("%d packets after close", got-n)
		}
	})
}

func TestComfortSilenceKeepsTime(t *testing.T) {
	for _, c := range []Codec{Opus, PCMA, PCMU, G722} {
		t.Run(c.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, m := testPacer(t)
				var w wire
				s := testSender(t, p, m, c, w.write)
				s.open()
				time.Sleep(60 * time.Second)
				got := w.sent()
				if n := len(got); n < 2999 || n > 3001 {
					t.Errorf("%d packets in a minute, want 3000", n)
				}
				wantStream(t, c, got)
				if !got[0].Marker || got[1].Marker {
					t.Error("only the first packet has the marker")
				}
				for i := 1; i < len(got); i++ {
					if d := got[i].at.Sub(got[i-1].at); d < 18*time.Millisecond || d > 22*time.Millisecond {
						t.Fatalf("packet %d comes after %v", i, d)
					}
				}
			})
		})
	}
}

func TestSpeechThenSilenceThenSpeech(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, Opus, w.write)
		s.open()
		source := tone.NewSource(440, narrowRate)
		speak := func(n int) {
			tick := time.NewTicker(frameTime)
			defer tick.Stop()
			for range n {
				<-tick.C
				s.Push(toneFrame(source))
			}
		}
		speak(100)
		quiet := time.Now()
		time.Sleep(2 * time.Second)
		speak(100)
		got := w.sent()
		wantStream(t, Opus, got)
		for i := 1; i < len(got); i++ {
			if d := got[i].at.Sub(got[i-1].at); d > fillAfter+2*time.Millisecond {
				t.Errorf("a pause of %v", d)
			}
		}
		if n := len(got); n < 290 || n > 302 {
			t.Errorf("%d packets in 6 s, want about 300", n)
		}
		first := -1
		for i, pkt := range got {
			if pkt.at.After(quiet) && first < 0 {
				first = i
			}
		}
		if d := got[first].at.Sub(quiet); d != fillAfter {
			t.Errorf("comfort begins after %v, want %v", d, fillAfter)
		}
	})
}

// A source that pauses says so now and then. That neither adds packets nor
// leaves a hole, and speech is not late after it.
func TestPauseOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, Opus, w.write)
		s.open()
		start := time.Now()
		source := tone.NewSource(440, narrowRate)
		for range 5 {
			for range 50 {
				time.Sleep(frameTime)
				s.Push(toneFrame(source))
			}
			for range 10 {
				time.Sleep(frameTime)
				s.Push(&Frame{Kind: Silence, Duration: frameTime})
				time.Sleep(400*time.Millisecond - frameTime)
			}
			time.Sleep(7 * time.Millisecond)
		}
		got := w.sent()
		wantStream(t, Opus, got)
		if n, want := len(got), int(time.Since(start)/frameTime); n < want-5 || n > want+5 {
			t.Errorf("%d packets in the time of %d", n, want)
		}
		for i := 1; i < len(got); i++ {
			if d := got[i].at.Sub(got[i-1].at); d > 2*frameTime {
				t.Errorf("packet %d comes after %v", i, d)
			}
		}
	})
}

func TestLateClockSkipsAndNeverBursts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.mu.Lock() // what a starved CPU looks like: nobody gets to run
		s.state, s.fillAt = senderOpen, time.Now()
		s.mu.Unlock()
		time.Sleep(time.Second)
		s.task.wake(time.Now())
		synctest.Wait()
		if n := len(w.sent()); n != 1 {
			t.Fatalf("%d packets after a stall, want 1", n)
		}
		time.Sleep(10 * frameTime)
		synctest.Wait()
		if n := len(w.sent()); n != 11 {
			t.Errorf("%d packets 200 ms later, want 11", n)
		}
	})
}

// A stall of the far network ends with all its packets at once: what is sent
// must not stay late for ever.
func TestBurstIsWonBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.open()
		source := tone.NewSource(440, narrowRate)
		tick := time.NewTicker(frameTime)
		defer tick.Stop()
		speak := func(n int) {
			for range n {
				<-tick.C
				s.Push(toneFrame(source))
			}
		}
		speak(50)
		time.Sleep(500 * time.Millisecond)
		for range 25 {
			s.Push(toneFrame(source))
		}
		speak(500)
		n := len(w.sent())
		if want := 50 + 25 + 500; n > want+2 {
			t.Errorf("%d packets in the time of %d: the stall is still there", n, want)
		}
		wantStream(t, PCMA, w.sent())
	})
}

// TestLeadIsLivedDown: whatever put the sender ahead of time, the sound that goes
// on meanwhile is let in again as soon as the time has passed.
func TestLeadIsLivedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.open()
		src := tone.NewSource(440, narrowRate)
		s.mu.Lock()
		s.pace.sent(time.Now(), maxLead+200*time.Millisecond) // as many digits do
		s.mu.Unlock()
		for range 50 {
			s.Push(toneFrame(src))
			time.Sleep(frameTime)
		}
		before := len(w.sent())
		for range 50 {
			s.Push(toneFrame(src))
			time.Sleep(frameTime)
		}
		loud := 0
		for _, packet := range w.sent()[before:] {
			if packet.payload[0] != packet.payload[80] { // silence is one value
				loud++
			}
		}
		if loud < 45 { // the rest of the lead is lived down a frame at a time
			t.Errorf("%d of 50 frames were sent a second later", loud)
		}
	})
}

func TestFastClockLosesAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.open()
		source := tone.NewSource(440, narrowRate)
		start := time.Now()
		for range 10_000 { // 0.1 % fast: 10 frames too many
			s.Push(toneFrame(source))
			time.Sleep(frameTime - frameTime/1000)
		}
		sent := time.Duration(len(w.sent())) * frameTime
		if lead := sent - time.Since(start); lead > 80*time.Millisecond {
			t.Errorf("%v ahead of time", lead)
		}
	})
}

func TestHoldStopsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, PCMA, w.write)
		s.open()
		time.Sleep(time.Second)
		s.pause(true)
		before := w.sent()
		time.Sleep(time.Second)
		if n := len(w.sent()); n != len(before) {
			t.Fatalf("%d packets while held", n-len(before))
		}
		s.pause(false)
		synctest.Wait()
		got := w.sent()
		last, next := before[len(before)-1], got[len(before)]
		if next.SequenceNumber != last.SequenceNumber+1 {
			t.Errorf("number %d follows %d", next.SequenceNumber, last.SequenceNumber)
		}
		gone := PCMA.span(next.Timestamp - last.Timestamp)
		if passed := next.at.Sub(last.at); gone > passed || passed-gone >= frameTime {
			t.Errorf("timestamps went on by %v in %v", gone, passed)
		}
		if !next.Marker {
			t.Error("the first packet after a pause has no marker")
		}
	})
}

func TestPassThroughIsByteExact(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, m := testPacer(t)
		var w wire
		s := testSender(t, p, m, Opus, w.write)
		s.open()
		payload := []byte{0x78, 1, 2, 3}
		s.Push(&Frame{Kind: Audio, Codec: Opus, Payload: payload, Duration: frameTime})
		got := w.sent()
		if last := got[len(got)-1]; string(last.payload) != string(payload) {
			t.Errorf("payload % x, want % x", last.payload, payload)
		}
		s2 := testSender(t, p, m, PCMU, w.write)
		s2.open()
		law := alaw.encode(nil, []int16{0, 1000, -1000})
		s2.Push(&Frame{Kind: Audio, Codec: PCMA, Payload: law, Duration: frameTime})
		got = w.sent()
		want := ulaw.encode(nil, alaw.decode(nil, law))
		if last := got[len(got)-1]; string(last.payload) != string(want) {
			t.Errorf("A-law to mu-law gives % x, want % x", last.payload, want)
		}
	})
}

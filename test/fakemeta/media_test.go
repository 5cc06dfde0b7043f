package fakemeta

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"wagate/test/tone"
)

// up brings a call up to the first words in both directions.
func (g *gateway) up(o CallOptions) (*Customer, *leg, context.CancelFunc) {
	g.t.Helper()
	c, offer := g.place(o)
	l := newLeg(g.t)
	answer := l.answer(offer)
	g.must(g.do("pre_accept", c.ID(), answer))
	l.wait()
	g.must(g.do("accept", c.ID(), answer))
	ctx, stop := context.WithCancel(g.t.Context())
	l.speak(ctx, tone.NewSource(620, rate))
	if err := c.WaitMedia(g.ctx()); err != nil {
		g.t.Fatal(err)
	}
	return c, l, stop
}

// TestLateDescription: checks before pre_accept get no answer, so a gateway
// whose checks give up never connects; one that goes on connects at once.
func TestLateDescription(t *testing.T) {
	g := start(t, Options{})
	c, offer := g.place(CallOptions{})
	l := newLeg(t)
	answer := l.answer(offer) // pion begins to check here
	g.until("the peer has checked in vain", func() bool { return c.Report().EarlySTUN >= 8 })
	select {
	case <-l.up:
		t.Fatal("connected before Meta knew the description")
	default:
	}
	g.must(g.do("pre_accept", c.ID(), answer))
	l.wait()
	if r := c.Report(); r.StrangeSTUN != 0 {
		t.Errorf("%d strange checks", r.StrangeSTUN)
	}
}

func TestEarlyMedia(t *testing.T) {
	g := start(t, Options{})
	c, offer := g.place(CallOptions{})
	l := newLeg(t)
	answer := l.answer(offer)
	g.must(g.do("pre_accept", c.ID(), answer))
	l.wait()
	g.meta.Fail(Fault{Kind: LateReply, Action: "accept", Delay: 100 * time.Millisecond, Times: 1})
	accepted := make(chan graphReply, 1)
	go func() { accepted <- g.do("accept", c.ID(), answer) }()
	if err := c.Wait(g.ctx(), Connected); err != nil {
		t.Fatal(err)
	}
	l.send([]byte{0xf8, 0xff, 0xfe}) // accepted, but nobody has said so yet
	if _, err := g.meta.WaitViolation(g.ctx(), EarlyMedia); err != nil {
		t.Fatal(err)
	}
	g.must(<-accepted)
	l.send([]byte{0xf8, 0xff, 0xfe})
	g.until("the second packet is there", func() bool { return len(c.Packets()) >= 2 })
	if p := c.Packets(); !p[0].Early || p[1].Early || c.Report().Early != 1 {
		t.Errorf("packets %+v", p)
	}
}

// TestStreamFaults: what must not happen to a stream is seen.
func TestStreamFaults(t *testing.T) {
	g := start(t, Options{})
	c, l, stop := g.up(CallOptions{})
	stop()
	l.wg.Wait()
	n := len(c.Packets())
	l.seq++ // one is missing
	l.ts += 960
	l.send([]byte{0xf8, 0xff, 0xfe})
	l.ts += 480 // a jump
	l.send([]byte{0xf8, 0xff, 0xfe})
	l.seq-- // twice
	l.ts -= 960
	l.send([]byte{0xf8, 0xff, 0xfe})
	g.until("three more packets are there", func() bool { return len(c.Packets()) >= n+3 })
	if s := c.Report().Streams[0]; s.Missing != 1 || s.Jumps != 1 || s.Duplicates != 1 {
		t.Errorf("the stream is %+v", s)
	}
}

// TestStream counts without a network.
func TestStream(t *testing.T) {
	now := time.Now()
	s := stream{ssrc: 9}
	for i, n := range []uint16{65534, 65535, 1, 0, 2, 2, 4} {
		now = now.Add(frame)
		ahead := s.add(n, uint32(n)*960, 960, now)
		if want := []int64{1, 1, 2, 0, 1, 0, 2}[i]; ahead != want {
			t.Errorf("packet %d is %d ahead, want %d", n, ahead, want)
		}
	}
	// The timestamps wrap where the numbers do not: one jump, at 65535 -> 1.
	if got := s.stats(); got.Packets != 6 || got.Missing != 1 || got.Duplicates != 1 || got.Reordered != 1 || got.Jumps != 1 {
		t.Errorf("got %+v", got)
	}
	if r := s.reception(); r.TotalLost != 1 || r.FractionLost != 256/7 || r.LastSequenceNumber != 65536+4 {
		t.Errorf("report %+v", r)
	}
}

func TestDigits(t *testing.T) {
	g := start(t, Options{})
	c, l, stop := g.up(CallOptions{})
	defer stop()
	if err := c.Press(g.ctx(), "5#x"); err == nil {
		t.Error("x is a key")
	}
	if err := c.Press(g.ctx(), "5#"); err != nil {
		t.Fatal(err)
	}
	if err := l.meter.Wait(g.ctx()); err != nil { // speech goes on around the keys
		t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) != 2*(keyTone+keyEnds) {
		t.Fatalf("%d event packets", len(l.events))
	}
	for i, p := range l.events {
		n := i % (keyTone + keyEnds)
		first := l.events[i-n]
		code, end := p.Payload[0], p.Payload[1]&0x80 != 0
		length := int(p.Payload[2])<<8 | int(p.Payload[3])
		if code != []byte{5, 11}[i/(keyTone+keyEnds)] || end != (n >= keyTone) || p.Marker != (n == 0) ||
			p.Timestamp != first.Timestamp || length != min(n+1, keyTone)*160 || p.SequenceNumber != first.SequenceNumber+uint16(n) {
			t.Errorf("packet %d is %v %v", i, p.Header, p.Payload)
		}
	}
	if gap := l.events[8].Timestamp - l.events[0].Timestamp; gap != (keyTone+keyEnds+keyPause)*960 {
		t.Errorf("the second key came %d later on the 48 kHz clock", gap)
	}
}

// TestDelay measures the way through the codecs in both directions.
func TestDelay(t *testing.T) {
	g := start(t, Options{})
	out, in := tone.NewMarker(rate, 250*time.Millisecond), tone.NewListener(rate)
	c, l, stop := g.up(CallOptions{Sound: Sound{Voice: out, Ear: in}})
	stop()
	l.wg.Wait()
	back := tone.NewMarker(rate, 250*time.Millisecond)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l.speak(ctx, back)
	g.until("chirps are heard both ways", func() bool { return len(in.Heard()) >= 2 && len(l.heard.Heard()) >= 2 })
	for way, d := range map[string][]time.Duration{
		"to the gateway": tone.Delays(out.Sent(), l.heard.Heard()), "to the customer": tone.Delays(back.Sent(), in.Heard()),
	} {
		if slices.Sort(d); d[len(d)/2] < 0 || d[len(d)/2] > 250*time.Millisecond { // the figure itself is the machine's
			t.Errorf("chirps %s took %v", way, d)
		}
	}
	c.HangUp()
}

// TestSilence: a call without media ends, at the begin and later.
func TestSilence(t *testing.T) {
	t.Run("from the begin", func(t *testing.T) {
		t.Parallel()
		g := start(t, Options{StartSilence: 300 * time.Millisecond})
		c, _ := g.place(CallOptions{})
		g.must(g.do("accept", c.ID(), plainAnswer))
		e := g.wait(KindTerminate, c.ID(), 1)
		if e.raw["status"] != "FAILED" || e.val["errors"].([]any)[0].(map[string]any)["code"] != 138021.0 ||
			e.raw["errors"].([]any)[0].(map[string]any)["code"] != 138021.0 || e.raw["duration"] == nil {
			t.Errorf("terminate is %v", e.val)
		}
		if end := c.End(); end.By != ByMeta || end.Talked < 300*time.Millisecond {
			t.Errorf("ended %+v", end)
		}
	})
	t.Run("later", func(t *testing.T) {
		t.Parallel()
		g := start(t, Options{Silence: 400 * time.Millisecond})
		c, l, stop := g.up(CallOptions{})
		stop()
		l.close() // its RTCP would keep the call up
		g.wait(KindTerminate, c.ID(), 1)
		if end := c.End(); end.Code != 138021 {
			t.Errorf("ended %+v", end)
		}
	})
	t.Run("vanished", func(t *testing.T) {
		t.Parallel()
		g := start(t, Options{Silence: 400 * time.Millisecond})
		c, _, stop := g.up(CallOptions{})
		defer stop()
		c.Vanish()
		g.wait(KindTerminate, c.ID(), 1)
		if end := c.End(); end.Code != 138022 {
			t.Errorf("ended %+v", end)
		}
	})
}

// TestSpeech: the ways to be silent.
func TestSpeech(t *testing.T) {
	g := start(t, Options{})
	c, l, stop := g.up(CallOptions{})
	defer stop()
	if err := l.meter.Wait(g.ctx(), 440); err != nil {
		t.Fatal(err)
	}
	c.Speech(Muted)
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.audio
	}
	g.until("a muted customer is silent", func() bool { return l.meter.Silent(440) >= 200*time.Millisecond })
	c.Speech(Quiet)
	begin, sent := time.Now(), count()
	g.until("a quiet customer has sent three packets", func() bool { return count() >= sent+3 })
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("three packets of a quiet customer came in %v", took)
	}
	c.Say(tone.NewSource(440, rate))
	c.Speech(Speaking)
	l.meter.Reset()
	if err := l.meter.Wait(g.ctx(), 440); err != nil {
		t.Error(err)
	}
}

// TestEnds: the user hangs up or gives up in each state.
func TestEnds(t *testing.T) {
	g := start(t, Options{})
	ring, _ := g.place(CallOptions{Patience: 200 * time.Millisecond})
	g.must(g.do("pre_accept", ring.ID(), plainAnswer))
	e := g.wait(KindTerminate, ring.ID(), 1)
	if e.raw["status"] != "COMPLETED" || e.raw["duration"] != nil || ring.End().By != ByUser {
		t.Errorf("gave up: %v", e.raw)
	}
	if err := ring.Wait(g.ctx(), Connected); err == nil {
		t.Error("a call that was not accepted is connected")
	}
	talk, _ := g.place(CallOptions{})
	g.must(g.do("accept", talk.ID(), plainAnswer))
	talk.HangUp()
	talk.HangUp()
	if e := g.wait(KindTerminate, talk.ID(), 1); e.raw["duration"] == nil {
		t.Errorf("hung up: %v", e.raw)
	}
	if b := talk.Book(); b.State != Ended || b.Talked != talk.End().Talked || b.Open < b.Talked {
		t.Errorf("the book shows %+v", b)
	}
	g.clean()
}

// TestManyCalls: fifty at once, all heard.
func TestManyCalls(t *testing.T) {
	calls := 50
	if testing.Short() {
		calls = 10
	}
	g := start(t, Options{})
	var wg sync.WaitGroup
	for i := range calls {
		l := newLeg(t)
		wg.Go(func() {
			c, offer := g.place(CallOptions{User: User{Name: fmt.Sprint("Customer ", i)}})
			answer := l.answer(offer)
			g.must(g.do("pre_accept", c.ID(), answer))
			l.wait()
			g.must(g.do("accept", c.ID(), answer))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			l.speak(ctx, tone.NewSource(620, rate))
			if err := c.WaitHeard(g.ctx()); err != nil {
				t.Error(err)
			}
			if err := l.meter.Wait(g.ctx()); err != nil {
				t.Error(err)
			}
			c.HangUp()
		})
	}
	wg.Wait()
	if err := g.meta.WaitQuiet(g.ctx()); err != nil {
		t.Error(err)
	}
	if n := len(g.meta.Books()); n != calls {
		t.Errorf("%d calls in the books", n)
	}
	g.clean()
}

// TestSharedPort: behind one relay port, two calls from different ports are
// kept apart.
func TestSharedPort(t *testing.T) {
	g := start(t, Options{SharePort: true})
	a, _, stopA := g.up(CallOptions{})
	defer stopA()
	b, _, stopB := g.up(CallOptions{})
	defer stopB()
	if a.peer.relays[0] != b.peer.relays[0] {
		t.Fatal("two relay ports")
	}
	for _, c := range []*Customer{a, b} {
		if err := c.WaitHeard(g.ctx()); err != nil {
			t.Error(err)
		}
	}
	g.clean()
}

// TestPassive: nobody begins the handshake.
func TestPassive(t *testing.T) {
	g := start(t, Options{})
	c, offer := g.place(CallOptions{})
	l := newLeg(t)
	l.answer(offer)
	g.must(g.do("pre_accept", c.ID(), ownText(l.pc.LocalDescription().SDP, "passive")))
	if _, err := g.meta.WaitViolation(g.ctx(), NobodyShakes); err != nil {
		t.Error(err)
	}
	if l.pc.ConnectionState() == webrtc.PeerConnectionStateConnected || c.Report().Secured {
		t.Error("connected all the same")
	}
}

package media

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"

	"wagate/config"
)

// frames collects what a leg hears.
type frames struct {
	mu   sync.Mutex
	got  []Frame
	more chan struct{}
}

func newFrames() *frames { return &frames{more: make(chan struct{}, 1)} }

func (f *frames) Push(fr *Frame) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := *fr
	c.Payload = append([]byte(nil), fr.Payload...)
	f.got = append(f.got, c)
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// until waits for a frame.
func (f *frames) until(t *testing.T, what string, is func(Frame) bool) Frame {
	t.Helper()
	for deadline := time.After(patience); ; {
		f.mu.Lock()
		for _, fr := range f.got {
			if is(fr) {
				f.mu.Unlock()
				return fr
			}
		}
		f.mu.Unlock()
		select {
		case <-f.more:
		case <-deadline:
			t.Fatalf("%s was not heard", what)
		}
	}
}

// A whole call from the customer's side, against both families of Meta's offer:
// silence until Open, then one stream without a gap, whatever comes from behind.
func TestCustomerCalls(t *testing.T) {
	for _, file := range []string{"offer-2026.sdp", "offer-2024.sdp"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			e := testEngine(t, nil)
			p := testPeer(t, e)
			heard := newFrames()
			p.SetSink(heard, Format{Codec: Opus})
			m := answered(t, p, file)
			st := p.Stats()
			if st.ICE <= 0 || st.DTLS <= 0 {
				t.Errorf("set-up times: ICE %v, DTLS %v", st.ICE, st.DTLS)
			}

			// The customer may be heard before we are.
			m.talk(p, []byte{0x48, 1, 2, 3})
			p.Push(&Frame{Kind: Audio, Codec: Opus, Payload: []byte{0x48, 9}, Duration: frameTime})
			if n := m.relay.tap.media.Load(); n != 0 {
				t.Errorf("%d media packets left before Open", n)
			}

			p.Open()
			stop := make(chan struct{})
			var pusher sync.WaitGroup
			pusher.Go(func() { // audio for a second, then nothing: comfort silence follows
				tick := time.NewTicker(frameTime)
				defer tick.Stop()
				for range 50 {
					select {
					case <-tick.C:
					case <-stop:
						return
					}
					p.Push(&Frame{Kind: Audio, Codec: Opus, Payload: []byte{0x48, 7, 7, 7}, Duration: frameTime})
				}
			})
			first := wantContinuous(t, m, 110)
			close(stop)
			pusher.Wait()
			wantReport(t, m, p, first)
			if got := p.Stats(); got.PacketsIn == 0 || got.PacketsOut < 110 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// wantContinuous reads n packets: one source, nothing missing, no jump. It
// returns the first.
func wantContinuous(t *testing.T, m *meta, n int) packet {
	t.Helper()
	first := nextPacket(t, m)
	if !first.Marker {
		t.Error("first packet has no marker")
	}
	last := first
	for range n - 1 {
		p := nextPacket(t, m)
		if p.SSRC != first.SSRC || p.PayloadType != 111 {
			t.Errorf("source %d, payload type %d; want %d, 111", p.SSRC, p.PayloadType, first.SSRC)
		}
		if p.SequenceNumber != last.SequenceNumber+1 {
			t.Errorf("sequence number %d follows %d", p.SequenceNumber, last.SequenceNumber)
		}
		if p.Timestamp != last.Timestamp+960 {
			t.Errorf("timestamp %d follows %d", p.Timestamp, last.Timestamp)
		}
		last = p
	}
	return first
}

type packet struct {
	SSRC, Timestamp uint32
	SequenceNumber  uint16
	PayloadType     uint8
	Marker          bool
}

func nextPacket(t *testing.T, m *meta) packet {
	t.Helper()
	select {
	case p := <-m.packets:
		return packet{p.SSRC, p.Timestamp, p.SequenceNumber, p.PayloadType, p.Marker}
	case <-time.After(patience):
		t.Fatalf("no packet; %d left us, %d were read too late", m.relay.tap.media.Load(), m.lost.Load())
		return packet{}
	}
}

// wantReport reads our first sender report and holds its clocks to the truth:
// the time of day, and the stream's place in it.
func wantReport(t *testing.T, m *meta, p *Peer, first packet) {
	t.Helper()
	var raw []byte
	select {
	case raw = <-m.sr:
	case <-time.After(patience):
		t.Fatal("no sender report")
	}
	list, err := rtcp.Unmarshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	sr, ok := list[0].(*rtcp.SenderReport)
	if !ok {
		t.Fatalf("first in the compound packet: %T", list[0])
	}
	if sr.SSRC != p.sender.ssrc() || sr.PacketCount == 0 || len(sr.Reports) != 1 {
		t.Errorf("got %+v", sr)
	}
	if sr.NTPTime < ntpTime(p.started) || sr.NTPTime > ntpTime(time.Now()) {
		t.Errorf("report of %x, between %x and %x", sr.NTPTime, ntpTime(p.started), ntpTime(time.Now()))
	}
	last := first.Timestamp + 960*(sr.PacketCount-1)
	if ahead := int32(sr.RTPTime - last); ahead < 0 || ahead > 48000 {
		t.Errorf("report's clock is %d ticks after the last packet", ahead)
	}
}

// Meta's relay answers nothing before it was told our description, which may be
// seconds after we began to ask.
func TestMetaLearnsOurDescriptionLate(t *testing.T) {
	t.Parallel()
	e := testEngine(t, nil)
	p := testPeer(t, e)
	m := newMeta(t, newRelay(t), 0)
	m.relay.tap.deaf.Store(true)
	answer, err := p.Answer(t.Context(), m.offer("offer-2026.sdp"))
	if err != nil {
		t.Fatal(err)
	}
	late := int64(3 * time.Second / checkInterval)
	m.relay.tap.until(t, "the thirtieth check", func() bool { return m.relay.tap.checks.Load() >= late })
	select {
	case <-p.Connected():
		t.Fatal("connected to a deaf relay")
	default:
	}
	m.relay.tap.deaf.Store(false)
	m.take(answer)
	wait(t, "connection", p.Connected())
}

func TestForgedCertificate(t *testing.T) {
	t.Parallel()
	e := testEngine(t, nil)
	p := testPeer(t, e)
	m := newMeta(t, newRelay(t), 0)
	offer := m.offer("offer-2026.sdp")
	at := strings.Index(offer, "a=fingerprint:sha-256 ") + len("a=fingerprint:sha-256 ")
	digit := "0"
	if offer[at:at+1] == digit {
		digit = "1"
	}
	answer, err := p.Answer(t.Context(), offer[:at]+digit+offer[at+1:])
	if err != nil {
		t.Fatal(err)
	}
	p.Open()
	m.take(answer)
	wait(t, "failure", p.Failed())
	if !errors.Is(p.Err(), errFingerprint) {
		t.Errorf("got %v, want %v", p.Err(), errFingerprint)
	}
	select {
	case <-p.Connected():
		t.Error("connected to a forged certificate")
	default:
	}
	if n := m.relay.tap.media.Load(); n != 0 {
		t.Errorf("%d media packets sent to a forged certificate", n)
	}
}

// Consent is STUN's: packets of the far end do not replace it, silence of the
// far end does not take it away.
func TestConsent(t *testing.T) {
	t.Parallel()
	e := testEngine(t, func(c *config.Media) { c.ICETimeout = 400 * time.Millisecond })
	p := testPeer(t, e)
	m := answered(t, p, "offer-2026.sdp")
	p.Open()
	asked := m.relay.tap.checks.Load()
	m.relay.tap.until(t, "consent checks", func() bool { return m.relay.tap.checks.Load() >= asked+10 })
	if p.Err() != nil {
		t.Fatalf("a silent customer ended the call: %v", p.Err())
	}
	m.relay.tap.deaf.Store(true)
	for seq := uint16(0); ; seq++ {
		m.track.send(t, 111, seq, uint32(seq)*960, []byte{0x48, 1})
		select {
		case <-p.Failed():
			if !errors.Is(p.Err(), errConsent) {
				t.Errorf("got %v, want %v", p.Err(), errConsent)
			}
			return
		case <-time.After(frameTime):
		}
		if seq > 500 {
			t.Fatal("no failure without consent")
		}
	}
}

// A call to a customer, with either DTLS role left to us.
func TestBusinessCalls(t *testing.T) {
	for name, role := range map[string]webrtc.DTLSRole{"Meta is DTLS client": webrtc.DTLSRoleClient, "we are DTLS client": webrtc.DTLSRoleServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := testEngine(t, nil)
			p := testPeer(t, e)
			offer, err := p.Offer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m := newMeta(t, newRelay(t), role)
			if err := p.SetAnswer(m.answer(offer, "answer-meta.sdp")); err != nil {
				t.Fatal(err)
			}
			wait(t, "connection", p.Connected())
			p.Open()
			wantContinuous(t, m, 10)
			m.talk(p, []byte{0x48, 1})
			if err := p.SetAnswer("v=0"); !errors.Is(err, errDescribed) {
				t.Errorf("second answer: got %v", err)
			}
		})
	}
}

// Meta's relays have few addresses: two calls may have the same one.
func TestTwoCallsOnOneRelay(t *testing.T) {
	t.Parallel()
	e := testEngine(t, nil)
	r := newRelay(t)
	var peers []*Peer
	var metas []*meta
	for range 2 {
		p, m := testPeer(t, e), newMeta(t, r, 0)
		answer, err := p.Answer(t.Context(), m.offer("offer-2026.sdp"))
		if err != nil {
			t.Fatal(err)
		}
		m.take(answer)
		wait(t, "connection", p.Connected())
		p.Open()
		peers, metas = append(peers, p), append(metas, m)
	}
	if peers[0].hub != e.shared || peers[1].hub == e.shared {
		t.Error("want the shared socket for the first call and an own one for the second")
	}
	for i, m := range metas {
		heard := newFrames()
		peers[i].SetSink(heard, Format{Codec: Opus})
		m.talk(peers[i], []byte{0x48, byte(i)})
		got := heard.until(t, "a frame", func(f Frame) bool { return len(f.Payload) > 1 })
		if got.Payload[1] != byte(i) {
			t.Errorf("call %d hears call %d", i, got.Payload[1])
		}
		if ssrc := nextPacket(t, m).SSRC; ssrc != peers[i].sender.ssrc() {
			t.Errorf("Meta hears %d in call %d, want %d", ssrc, i, peers[i].sender.ssrc())
		}
	}
	if err := peers[0].Close(); err != nil {
		t.Error(err)
	}
	third := testPeer(t, e)
	if _, err := third.Answer(t.Context(), newMeta(t, r, 0).offer("offer-2026.sdp")); err != nil {
		t.Fatal(err)
	}
	if third.hub != e.shared {
		t.Error("the relay's address is still taken after the first call's end")
	}
}

// Payload types that nobody agreed on are counted and passed over; digits come
// even where the offer did not have them.
func TestOddPayloadTypes(t *testing.T) {
	t.Parallel()
	e := testEngine(t, nil)
	p := testPeer(t, e)
	heard := newFrames()
	p.SetSink(heard, Format{Codec: Opus})
	m := newMeta(t, newRelay(t), 0)
	offer := strings.Replace(m.offer("offer-2026.sdp"), "a=rtpmap:126 telephone-event/8000\r\n", "", 1)
	answer, err := p.Answer(t.Context(), offer)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(answer, ":126 ") || strings.Contains(answer, " 126\r\n") {
		t.Errorf("answer has a payload type that was not offered:\n%s", answer)
	}
	m.take(answer)
	wait(t, "connection", p.Connected())
	n := m.talk(p, []byte{0x48, 1})
	m.track.send(t, 100, n, uint32(n)*960, []byte{1, 2, 3})
	digit := make([]byte, 4)
	digit[0], digit[1] = 5, 10
	binary.BigEndian.PutUint16(digit[2:], 160)
	m.track.send(t, 126, n+1, uint32(n+1)*960, digit)
	m.track.send(t, 111, n+2, uint32(n+2)*960, []byte{0x48, 4})
	heard.until(t, "audio after the odd packet", func(f Frame) bool { return len(f.Payload) == 2 && f.Payload[1] == 4 })
	got := heard.until(t, "the digit", func(f Frame) bool { return f.Kind == Event })
	if got.Digit.Code != 5 || got.Digit.Duration != 160 {
		t.Errorf("got %+v", got.Digit)
	}
	if st := p.Stats(); st.Dropped == 0 || st.Lost != 0 {
		t.Errorf("got %+v", st)
	}
}

func TestPeerIsDescribedOnce(t *testing.T) {
	t.Parallel()
	e := testEngine(t, nil)
	p := testPeer(t, e)
	inside := strings.NewReplacer("57.144.43.49", "169.254.169.254", "2a03:2880:f312:131:face:b00c:0:699c", "fe80::1")
	if _, err := p.Answer(t.Context(), inside.Replace(golden(t, "offer-2026.sdp"))); !errors.Is(err, ErrBadSDP) {
		t.Errorf("an offer that points into the host: got %v", err)
	}
	if err := p.SetAnswer(golden(t, "answer-meta.sdp")); !errors.Is(err, errDescribed) {
		t.Errorf("an answer without an offer: got %v", err)
	}
	if _, err := p.Offer(t.Context()); err != nil {
		t.Errorf("offer after a refused answer: %v", err)
	}
	if _, err := p.Offer(t.Context()); !errors.Is(err, errDescribed) {
		t.Errorf("second offer: got %v", err)
	}
	noCodec := strings.Replace(golden(t, "offer-2026.sdp"), "opus", "red", 1)
	if _, err := testPeer(t, e).Answer(t.Context(), noCodec); !errors.Is(err, ErrNoCodec) {
		t.Errorf("offer without opus: got %v", err)
	}
}

func TestCloseAtAnyTime(t *testing.T) {
	t.Parallel()
	e := testEngine(t, nil)
	m := newMeta(t, newRelay(t), 0)
	offer := m.offer("offer-2026.sdp")
	fresh, asking := testPeer(t, e), testPeer(t, e)
	if _, err := asking.Answer(t.Context(), offer); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Peer{fresh, asking} {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { p.Close() })
		}
		wg.Wait()
		if _, err := p.Answer(t.Context(), offer); !errors.Is(err, errClosed) {
			t.Errorf("answer after Close: got %v", err)
		}
		p.Open()
		p.Push(&Frame{Kind: Silence})
	}
	e.Close()
	if _, err := e.NewPeer(PeerOptions{}); !errors.Is(err, errClosed) {
		t.Errorf("peer after the engine's Close: got %v", err)
	}
}

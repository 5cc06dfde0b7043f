package media

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/interceptor"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"wagate/config"
)

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// testEngine is bound to loopback.
func testEngine(t *testing.T, change func(*config.Media)) *Engine {
	t.Helper()
	cfg := config.Media{
		WebRTC:     config.WebRTC{Listen: netip.MustParseAddrPort("127.0.0.1:0")},
		RTP:        config.RTP{Bind: netip.MustParseAddr("127.0.0.1"), Ports: config.PortRange{First: 20000, Last: 20099}},
		Opus:       config.Opus{Bitrate: 20000, Complexity: config.ComplexityAuto},
		Timeout:    20 * time.Second,
		ICETimeout: 30 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	e, err := NewEngine(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func testPeer(t *testing.T, e *Engine) *Peer {
	t.Helper()
	p, err := e.NewPeer(PeerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// wait fails the test if the event does not come.
func wait(t *testing.T, what string, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
}

// tap is Meta's socket: it can be deaf to STUN, and counts what comes.
type tap struct {
	net.PacketConn
	deaf          atomic.Bool
	checks, media atomic.Int64
	seen          chan struct{} // a token after each datagram
}

// ReadFrom drops STUN while the tap is deaf, as Meta's relay does for a call
// that it was told nothing of.
func (s *tap) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, addr, err := s.PacketConn.ReadFrom(b)
		if err != nil || n == 0 {
			return n, addr, err
		}
		stun := b[0] < 4
		if stun {
			s.checks.Add(1)
		} else if b[0] >= 128 && b[0] < 192 {
			s.media.Add(1)
		}
		select {
		case s.seen <- struct{}{}:
		default:
		}
		if !stun || !s.deaf.Load() {
			return n, addr, nil
		}
	}
}

// until waits for the tap to have seen enough.
func (s *tap) until(t *testing.T, what string, enough func() bool) {
	t.Helper()
	for deadline := time.After(patience); !enough(); {
		select {
		case <-s.seen:
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		}
	}
}

// relay is the address of one or several of Meta's calls.
type relay struct {
	tap *tap
	mux *ice.UDPMuxDefault
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{tap: &tap{PacketConn: conn, seen: make(chan struct{}, 1)}}
	r.mux = ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: r.tap, Logger: quiet().NewLogger("")})
	t.Cleanup(func() { r.mux.Close() })
	return r
}

// meta is the cloud's end of one call: ICE-lite, DTLS, one track.
type meta struct {
	t       *testing.T
	relay   *relay
	pc      *webrtc.PeerConnection
	track   *rawTrack
	packets chan *rtp.Packet // what we send; a full channel loses
	lost    atomic.Int64
	sr      chan []byte // RTCP of ours
}

// rawTrack writes packets as they are.
type rawTrack struct {
	mu   sync.Mutex
	out  webrtc.TrackLocalWriter
	ssrc uint32
}

func (r *rawTrack) Bind(c webrtc.TrackLocalContext) (webrtc.RTPCodecParameters, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out, r.ssrc = c.WriteStream(), uint32(c.SSRC())
	return c.CodecParameters()[0], nil
}
func (r *rawTrack) Unbind(webrtc.TrackLocalContext) error { return nil }
func (r *rawTrack) ID() string                            { return "WhatsAppTrack1" }
func (r *rawTrack) RID() string                           { return "" }
func (r *rawTrack) StreamID() string                      { return "7da83f2b" }
func (r *rawTrack) Kind() webrtc.RTPCodecType             { return webrtc.RTPCodecTypeAudio }

func (r *rawTrack) send(t *testing.T, pt uint8, seq uint16, stamp uint32, payload []byte) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &rtp.Header{Version: 2, PayloadType: pt, SequenceNumber: seq, Timestamp: stamp, SSRC: r.ssrc}
	if _, err := r.out.WriteRTP(h, payload); err != nil {
		t.Error(err)
	}
}

// talk sends audio until p hears it, pion drops what comes before it is ready
// itself, and returns the next sequence number.
func (c *meta) talk(p *Peer, payload []byte) uint16 {
	c.t.Helper()
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for n := uint16(1); n < 500; n++ {
		c.track.send(c.t, 111, n, uint32(n)*960, payload)
		select {
		case <-p.Heard():
			return n + 1
		case <-tick.C:
		}
	}
	c.t.Fatal("nothing was heard")
	return 0
}

// newMeta makes the cloud's end. role is its DTLS role where it answers.
func newMeta(t *testing.T, r *relay, role webrtc.DTLSRole) *meta {
	t.Helper()
	var s webrtc.SettingEngine
	s.SetLite(true)
	s.SetICEUDPMux(r.mux)
	s.SetIncludeLoopbackCandidate(true)
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetICECredentials(newICECredentials().ufrag, newICECredentials().pwd[:22]+"==")
	s.LoggerFactory = quiet()
	if role != 0 {
		if err := s.SetAnsweringDTLSRole(role); err != nil {
			t.Fatal(err)
		}
	}
	var m webrtc.MediaEngine
	for _, c := range []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, PayloadType: 111},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "audio/telephone-event", ClockRate: 8000}, PayloadType: 126},
	} {
		if err := m.RegisterCodec(c, webrtc.RTPCodecTypeAudio); err != nil {
			t.Fatal(err)
		}
	}
	api := webrtc.NewAPI(webrtc.WithSettingEngine(s), webrtc.WithMediaEngine(&m), webrtc.WithInterceptorRegistry(&interceptor.Registry{}))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	c := &meta{t: t, relay: r, pc: pc, track: &rawTrack{}, packets: make(chan *rtp.Packet, 1000), sr: make(chan []byte, 10)}
	pc.OnTrack(c.listen)
	if _, err := pc.AddTrack(c.track); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.GracefulClose() })
	return c
}

func (c *meta) listen(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
	go func() {
		buf := make([]byte, 1500)
		for {
			n, _, err := receiver.Read(buf)
			if err != nil {
				return
			}
			select {
			case c.sr <- append([]byte(nil), buf[:n]...):
			default:
			}
		}
	}()
	for {
		p, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		select {
		case c.packets <- p:
		default:
			c.lost.Add(1)
		}
	}
}

// offer is Meta's offer in the words of a file of testdata.
func (c *meta) offer(file string) string {
	c.t.Helper()
	d, err := c.pc.CreateOffer(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.describe(d, file)
}

// take gives Meta our answer; pion knows its section by another name.
func (c *meta) take(answer string) {
	c.t.Helper()
	answer = strings.NewReplacer("BUNDLE audio", "BUNDLE 0", "mid:audio", "mid:0").Replace(answer)
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		c.t.Errorf("Meta takes our answer: %v", err)
	}
}

// answer is Meta's answer to our offer.
func (c *meta) answer(offer, file string) string {
	c.t.Helper()
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		c.t.Fatalf("Meta takes our offer: %v", err)
	}
	d, err := c.pc.CreateAnswer(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.describe(d, file)
}

// describe writes what pion says in Meta's words.
func (c *meta) describe(d webrtc.SessionDescription, file string) string {
	c.t.Helper()
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(d); err != nil {
		c.t.Fatal(err)
	}
	wait(c.t, "gathering", gathered)
	r, err := parseWebRTC(c.pc.LocalDescription().SDP)
	if err != nil {
		c.t.Fatal(err)
	}
	sum := strings.ToUpper(hex.EncodeToString(r.fingerprint.sum))
	var pairs []string
	for i := 0; i < len(sum); i += 2 {
		pairs = append(pairs, sum[i:i+2])
	}
	addr := r.candidates[0].addr
	var out []string
	v4 := true
	for line := range strings.SplitSeq(golden(c.t, file), "\r\n") {
		switch {
		case strings.HasPrefix(line, "a=ice-ufrag:"):
			line = "a=ice-ufrag:" + r.ufrag
		case strings.HasPrefix(line, "a=ice-pwd:"):
			line = "a=ice-pwd:" + r.pwd
		case strings.HasPrefix(line, "a=setup:"):
			line = "a=setup:" + r.setup
		case strings.HasPrefix(line, "a=fingerprint:"):
			line = "a=fingerprint:sha-256 " + strings.Join(pairs, ":")
		case strings.HasPrefix(line, "a=candidate:") && v4:
			v4 = false
			f := strings.Fields(line)
			f[4], f[5] = addr.Addr().String(), fmt.Sprint(addr.Port())
			line = strings.Join(f, " ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\r\n")
}

// answered connects p to a new Meta end as an incoming call.
func answered(t *testing.T, p *Peer, file string) *meta {
	t.Helper()
	m := newMeta(t, newRelay(t), 0)
	answer, err := p.Answer(t.Context(), m.offer(file))
	if err != nil {
		t.Fatal(err)
	}
	m.take(answer)
	wait(t, "connection", p.Connected())
	return m
}

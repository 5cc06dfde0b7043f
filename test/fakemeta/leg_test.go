package fakemeta

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hraban/opus"
	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"wagate/test/tone"
)

// leg is the WhatsApp side of the gateway: a pion peer.
type leg struct {
	t      *testing.T
	pc     *webrtc.PeerConnection
	track  *webrtc.TrackLocalStaticRTP
	up     chan struct{}
	meter  *tone.Meter
	mu     sync.Mutex
	events []rtp.Packet // telephone-events heard
	audio  int
	heard  *tone.Listener
	wg     sync.WaitGroup
	seq    uint16
	ts     uint32
	ssrc   uint32
}

func newLeg(t *testing.T) *leg {
	t.Helper()
	var media webrtc.MediaEngine
	for _, c := range []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, PayloadType: 111},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "audio/telephone-event", ClockRate: 8000}, PayloadType: 126},
	} {
		if err := media.RegisterCodec(c, webrtc.RTPCodecTypeAudio); err != nil {
			t.Fatal(err)
		}
	}
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	s.SetIPFilter(func(ip net.IP) bool { return ip.IsLoopback() })
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	s.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	if err := s.SetAnsweringDTLSRole(webrtc.DTLSRoleClient); err != nil {
		t.Fatal(err)
	}
	s.SetICEMaxBindingRequests(65535)
	s.SetDTLSRetransmissionInterval(100 * time.Millisecond)
	api := webrtc.NewAPI(webrtc.WithMediaEngine(&media), webrtc.WithSettingEngine(s))
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	l := &leg{t: t, pc: pc, up: make(chan struct{}), meter: tone.NewMeter(rate, 440), ssrc: 7, heard: tone.NewListener(rate)}
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		if s == webrtc.PeerConnectionStateConnected {
			close(l.up)
		}
	})
	pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) { l.listen(tr) })
	l.track, err = webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, "audio", "wagate")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pc.AddTrack(l.track); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

func (l *leg) close() {
	l.pc.GracefulClose()
	l.wg.Wait()
}

func (l *leg) listen(tr *webrtc.TrackRemote) {
	dec, err := opus.NewDecoder(rate, 1)
	if err != nil {
		l.t.Error(err)
		return
	}
	pcm := make([]int16, rate/10)
	for {
		p, _, err := tr.ReadRTP()
		if err != nil {
			return
		}
		now := time.Now()
		l.mu.Lock()
		if p.PayloadType == 126 {
			l.events = append(l.events, *p)
		} else {
			l.audio++
		}
		l.mu.Unlock()
		if p.PayloadType != 111 {
			continue
		}
		if n, err := dec.Decode(p.Payload, pcm); err == nil {
			l.meter.Write(pcm[:n])
			l.heard.WriteAt(pcm[:n], now)
		}
	}
}

// answer is our own text for the offer, made of pion's parts.
func (l *leg) answer(offer string) string {
	l.t.Helper()
	if err := l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		l.t.Fatal(err)
	}
	a, err := l.pc.CreateAnswer(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.local(a, "active")
}

func (l *leg) local(d webrtc.SessionDescription, setup string) string {
	l.t.Helper()
	gathered := webrtc.GatheringCompletePromise(l.pc)
	if err := l.pc.SetLocalDescription(d); err != nil {
		l.t.Fatal(err)
	}
	<-gathered
	return ownText(l.pc.LocalDescription().SDP, setup)
}

// ownText writes the description that spec 1.9 recommends.
func ownText(sdp, setup string) string {
	part := map[string]string{}
	for line := range strings.Lines(sdp) {
		line = strings.TrimRight(line, "\r\n")
		for _, name := range []string{"ice-ufrag:", "ice-pwd:", "fingerprint:", "mid:"} {
			if v, ok := strings.CutPrefix(line, "a="+name); ok {
				part[name] = v
			}
		}
		if f := strings.Fields(line); strings.HasPrefix(line, "a=candidate:") && f[1] == "1" {
			part["candidate"], part["port"] = strings.TrimPrefix(line, "a=candidate:"), f[5]
		}
	}
	lines := []string{
		"v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE " + part["mid:"],
		"m=audio " + part["port"] + " UDP/TLS/RTP/SAVPF 111 126", "c=IN IP4 127.0.0.1",
		"a=candidate:" + part["candidate"], "a=end-of-candidates",
		"a=ice-ufrag:" + part["ice-ufrag:"], "a=ice-pwd:" + part["ice-pwd:"], "a=fingerprint:" + part["fingerprint:"],
		"a=setup:" + setup, "a=mid:" + part["mid:"], "a=sendrecv", "a=rtcp-mux",
		"a=rtpmap:111 opus/48000/2", "a=fmtp:111 " + opusParams, "a=rtpmap:126 telephone-event/8000", "a=fmtp:126 0-16",
		"a=ptime:20", "a=maxptime:20", "a=ssrc:7 cname:wa-edge",
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

func (l *leg) wait() {
	l.t.Helper()
	select {
	case <-l.up:
	case <-time.After(patience):
		l.t.Fatal("the peer connection is not up")
	}
}

// speak sends a tone, 20 ms at a time, until ctx ends.
func (l *leg) speak(ctx context.Context, sound tone.Reader) {
	enc, err := opus.NewEncoder(rate, 1, opus.AppVoIP)
	if err != nil {
		l.t.Fatal(err)
	}
	l.wg.Go(func() {
		tick := time.NewTicker(frame)
		defer tick.Stop()
		pcm, buf := make([]int16, frameSamples), make([]byte, 1000)
		for {
			now := time.Now()
			if m, ok := sound.(timedReader); ok {
				m.ReadAt(pcm, now)
			} else {
				sound.Read(pcm)
			}
			n, err := enc.Encode(pcm, buf)
			if err != nil {
				l.t.Error(err)
				return
			}
			l.send(buf[:n])
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (l *leg) send(payload []byte) {
	l.seq++
	l.ts += 960
	l.track.WriteRTP(&rtp.Packet{
		Header:  rtp.Header{Version: 2, PayloadType: 111, SequenceNumber: l.seq, Timestamp: l.ts, SSRC: l.ssrc},
		Payload: payload,
	})
}

func (l *leg) String() string { return fmt.Sprintf("leg of %s", l.t.Name()) }

package media

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pion/rtp"
)

// normal takes out of a description what differs from run to run.
func normal(s *Socket, text []byte) string {
	r := strings.NewReplacer(
		fmt.Sprint("o=- ", s.session.id, " "), "o=- ID ",
		fmt.Sprint(" ", s.pair.port, " "), " PORT ",
		fmt.Sprint(":", s.pair.port+1), ":PORT+1",
		"\r\n", "\n",
	)
	return r.Replace(string(text))
}

func TestSocketOffer(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	want := `v=0
o=- ID 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio PORT RTP/AVP 8 0 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=rtcp:PORT+1
a=sendrecv
`
	first := s.Offer()
	if got := normal(s, first); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again := s.Offer(); string(again) != string(first) {
		t.Errorf("asked again:\n%s", again)
	}
	plain := pbxSocket(t, e, func(o *SocketOptions) { o.Plain, o.Codecs = true, []string{"pcmu", "G722", "PCMU"} })
	if got := string(plain.Offer()); strings.Contains(got, "telephone-event") || !strings.Contains(got, " RTP/AVP 0\r\n") {
		t.Errorf("plain offer:\n%s", got)
	}
	if s.pair.port%2 != 0 {
		t.Errorf("RTP on odd port %d", s.pair.port)
	}
}

func TestSetAnswer(t *testing.T) {
	e := pbxEngine(t, nil)
	const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	for _, c := range []struct {
		name, rest string
		codec      Codec
		err        error
	}{
		{"one codec", "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n", PCMU, nil},
		{"two codecs: ours first", "m=audio 4000 RTP/AVP 0 8\r\n", PCMA, nil},
		{"with names of its own", "m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 pcma/8000/1\r\n", PCMA, nil},
		{"events alone", "m=audio 4000 RTP/AVP 101\r\na=rtpmap:101 telephone-event/8000\r\n", 0, ErrNoCodec},
		{"refused", "m=audio 0 RTP/AVP 8\r\n", 0, ErrNoCodec},
		{"another codec", "m=audio 4000 RTP/AVP 18\r\n", 0, ErrNoCodec},
		{"16 kHz", "m=audio 4000 RTP/AVP 97\r\na=rtpmap:97 PCMA/16000\r\n", 0, ErrNoCodec},
		{"encrypted", "m=audio 4000 RTP/SAVP 8\r\n", 0, ErrNoCodec},
		{"a video line too many", "m=audio 4000 RTP/AVP 8\r\nm=video 0 RTP/AVP 31\r\n", 0, ErrBadSDP},
		{"no line at all", "", 0, ErrBadSDP},
	} {
		s := pbxSocket(t, e, nil)
		s.Offer()
		err := s.SetAnswer([]byte(head + c.rest))
		if !errors.Is(err, c.err) || s.Codec() != c.codec {
			t.Errorf("%s: %v and %v, want %v and %v", c.name, s.Codec(), err, c.codec, c.err)
		}
	}
	if err := pbxSocket(t, e, nil).SetAnswer(nil); !errors.Is(err, ErrBadSDP) {
		t.Errorf("nothing: %v", err)
	}
}

func TestSocketAnswer(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	offer := `v=0
o=pbx 9 9 IN IP4 127.0.0.1
s=call
c=IN IP4 127.0.0.1
t=0 0
m=video 5000 RTP/AVP 99
a=rtpmap:99 H264/90000
m=audio 4000 RTP/AVP 18 0 8 96 13
a=rtpmap:96 telephone-event/8000
a=mid:a
a=rtcp-mux
a=sendonly
m=application 0 UDP/BFCP *
`
	want := `v=0
o=- ID 1 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=video 0 RTP/AVP 99
a=inactive
m=audio PORT RTP/AVP 8 96
a=rtpmap:8 PCMA/8000
a=rtpmap:96 telephone-event/8000
a=fmtp:96 0-15
a=ptime:20
a=rtcp-mux
a=recvonly
a=mid:a
m=application 0 UDP/BFCP *
a=inactive
`
	answer, err := s.Answer([]byte(offer))
	if err != nil {
		t.Fatal(err)
	}
	if got := normal(s, answer); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if p := s.path.Load(); !p.mux || p.rtcp != p.rtp {
		t.Errorf("path %+v", *p)
	}
	for _, bad := range []string{
		strings.Replace(offer, "audio 4000", "audio 0", 1),
		strings.Replace(offer, "RTP/AVP 18 0 8", "RTP/SAVP 18 0 8", 1),
		strings.Replace(offer, "18 0 8", "18", 1),
	} {
		if _, err := s.Answer([]byte(bad)); !errors.Is(err, ErrNoCodec) {
			t.Errorf("%v, want ErrNoCodec for\n%s", err, bad)
		}
	}
}

// Hold and its end, as the PBX asks for them in re-INVITEs: our version goes up
// only when our description changes, and the codec stays.
func TestHoldAndResume(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	p := newPBX(t, "127.0.0.1")
	p.to = s.testAddr()
	s.Offer()
	if err := s.SetAnswer(p.sdp("0 101")); err != nil {
		t.Fatal(err)
	}
	s.Open()
	last, _ := p.hear()
	for _, step := range []struct {
		what    string
		offer   []byte
		want    string
		version int
		sends   bool
	}{
		{"hold with music", p.sdp("8 0 101", "a=sendonly"), "recvonly", 2, false},
		{"the same again", p.sdp("8 0 101", "a=sendonly"), "recvonly", 2, false},
		{"hold without", p.sdp("8 0 101", "a=inactive"), "inactive", 3, false},
		{"resume", p.sdp("8 0 101", "a=sendrecv"), "sendrecv", 4, true},
		{"hold the old way", []byte(strings.Replace(string(p.sdp("8 0 101")), "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0", 1)), "recvonly", 5, false},
		{"resume", p.sdp("8 0 101"), "sendrecv", 6, true},
		{"we are to be silent", p.sdp("8 0 101", "a=recvonly"), "sendonly", 7, true},
		{"refresh", p.sdp("8 0 101", "a=recvonly"), "sendonly", 7, true},
	} {
		answer, err := s.Reoffer(step.offer)
		if err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		text := string(answer)
		if !strings.Contains(text, "a="+step.want+"\r\n") || !strings.Contains(text, fmt.Sprintf("o=- %d %d ", s.session.id, step.version)) {
			t.Errorf("%s: want %s, version %d, got\n%s", step.what, step.want, step.version, text)
		}
		if s.Codec() != PCMU || !strings.Contains(text, "RTP/AVP 0 101\r\n") {
			t.Errorf("%s: the codec changed to %v", step.what, s.Codec())
		}
		if step.sends {
			for n := 0; ; n++ {
				if n == underWay {
					t.Fatalf("%s: %d packets, and none that begins anew", step.what, n)
				}
				pkt, _ := p.hear()
				if step := pkt.SequenceNumber - last.SequenceNumber; step != 1 {
					t.Errorf("number steps by %d", step)
				}
				if last = pkt; pkt.Marker {
					break // the first one after the hold
				}
				if step.want == "sendonly" {
					break
				}
			}
		} else {
			last = drainRTP(t, p, last)
		}
	}
	if got := string(mustReoffer(t, s, nil)); !strings.Contains(got, "RTP/AVP 0 8 101\r\n") {
		t.Errorf("an INVITE without an offer is answered with\n%s", got)
	}
	before := s.path.Load()
	if _, err := s.Reoffer([]byte("v=0\r\nm=audio 1 RTP/AVP 3\r\n")); err == nil {
		t.Error("nonsense was accepted")
	}
	if s.path.Load() != before || s.Codec() != PCMU {
		t.Error("a refused re-INVITE changed the call")
	}
	// The PBX moves its audio, and changes its mind about the codec.
	moved := newPBX(t, "127.0.0.1")
	if _, err := s.Reoffer(moved.sdp("8")); err != nil {
		t.Fatal(err)
	}
	if pkt, _ := moved.hear(); pkt.PayloadType != 8 {
		t.Errorf("payload type %d, want 8", pkt.PayloadType)
	}
}

func mustReoffer(t *testing.T, s *Socket, offer []byte) []byte {
	t.Helper()
	answer, err := s.Reoffer(offer)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// underWay is more packets than can be on their way to the PBX when the call
// changes: ten seconds of audio.
const underWay = 500

// drainRTP reads what was under way when the hold began.
func drainRTP(t *testing.T, p *pbx, last rtp.Packet) rtp.Packet {
	t.Helper()
	for range underWay {
		n, ok := p.poll()
		if !ok {
			return last
		}
		last = n
	}
	t.Fatal("the audio goes on in spite of the hold")
	return last
}

// FuzzSocketSDP: no description breaks us, and every answer is legal for its
// offer: as many m= lines of the same kind, and ours to nobody forbidden.
func FuzzSocketSDP(f *testing.F) {
	e := pbxEngine(f, nil)
	s := pbxSocket(f, e, func(o *SocketOptions) {
		o.Codecs, o.Secure = []string{"opus", "G722", "PCMA", "PCMU"}, SecureOptional
	})
	p := newPBX(f, "127.0.0.1")
	f.Add(p.sdp("107 9 102", "a=rtpmap:107 opus/48000/2", "a=rtpmap:102 telephone-event/48000", newMasterKey("1", suites[1]).line()))
	f.Add([]byte(strings.Replace(string(p.sdp("8", newMasterKey("1", suites[2]).line()+"|2^31|1:4 WSH=64")), "RTP/AVP", "RTP/SAVP", 1)))
	f.Add(p.sdp("8 0 101"))
	f.Add(p.sdp("0", "a=sendonly", "a=rtcp-mux", "a=mid:x"))
	f.Add([]byte("v=0\r\nc=IN IP4 0.0.0.0\r\nm=video 1 RTP/AVP 99\r\nm=audio 9 RTP/AVP 8\r\na=rtcp:70000\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		answer, err := s.Reoffer(text)
		if path := s.path.Load(); path != nil && path.rtp.IsValid() && path.rtp.Addr() != loopback {
			t.Fatalf("audio would go to %v", path.rtp)
		}
		if err == nil && len(text) > 0 {
			wantLegal(t, text, answer)
		}
		_ = s.SetAnswer(text)
	})
}

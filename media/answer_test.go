package media

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// wantLegal holds an answer to RFC 3264 section 6: the offer's m= lines, none of
// another kind or profile, no format that was not offered or means something
// else, a direction that fits, keys and a shared port only as offered.
func wantLegal(t *testing.T, offer, answer []byte) {
	t.Helper()
	o, err := parseSDP(string(offer))
	if err != nil {
		t.Fatalf("offer: %v", err)
	}
	a, err := parseSDP(string(answer))
	if err != nil {
		t.Fatalf("answer: %v\n%s", err, answer)
	}
	if len(a.sections) != len(o.sections) {
		t.Fatalf("%d m= lines answer %d\n%s", len(a.sections), len(o.sections), answer)
	}
	taken := 0
	for i := range a.sections {
		as, os := &a.sections[i], &o.sections[i]
		if as.kind != os.kind || as.proto != os.proto {
			t.Errorf("m= line %d is %s %s, offered %s %s", i, as.kind, as.proto, os.kind, os.proto)
		}
		if as.port == 0 {
			continue
		}
		taken++
		if os.port == 0 {
			t.Errorf("m= line %d was not offered", i)
		}
		wantLegalSection(t, os, as)
	}
	if taken != 1 {
		t.Errorf("%d m= lines are taken\n%s", taken, answer)
	}
}

func wantLegalSection(t *testing.T, offered, s *section) {
	t.Helper()
	theirs := offered.payloads()
	for _, f := range s.payloads() {
		same := func(g format) bool { return g.pt == f.pt && g.is(f.name, f.clock) }
		if !slices.ContainsFunc(theirs, same) {
			t.Errorf("payload type %d is %s/%d, which was not offered", f.pt, f.name, f.clock)
		}
	}
	unspecified := offered.address().Addr().IsUnspecified()
	allowed := map[string][]string{
		"sendrecv": {"sendrecv", "recvonly", "sendonly", "inactive"}, "sendonly": {"recvonly", "inactive"},
		"recvonly": {"sendonly", "inactive"}, "inactive": {"inactive"},
	}[offered.direction()]
	if !slices.Contains(allowed, s.direction()) || unspecified && s.direction() == "sendrecv" {
		t.Errorf("%s is answered with %s", offered.direction(), s.direction())
	}
	if _, mux := s.own("rtcp-mux"); mux {
		if _, ok := offered.own("rtcp-mux"); !ok {
			t.Error("rtcp-mux was not offered")
		}
	}
	keys, seen := readCryptos(s)
	if seen != (len(keys) == 1) || isSecure(s.proto) && !seen {
		t.Errorf("%d keys in an answer over %s", len(keys), s.proto)
	}
	offeredKeys, _ := readCryptos(offered)
	if seen && !slices.ContainsFunc(offeredKeys, func(k *masterKey) bool {
		return k.tag == keys[0].tag && k.suite == keys[0].suite && string(k.secret) != string(keys[0].secret)
	}) {
		t.Error("the key's tag or suite was not offered, or it is the offered key")
	}
	if mid, ok := s.own("mid"); ok {
		if theirs, _ := offered.own("mid"); theirs != mid {
			t.Errorf("mid %q, offered %q", mid, theirs)
		}
	}
}

// What PBXs offer, and what it comes to for a trunk with each codec in the order
// opus, G722, PCMA, PCMU.
func TestAnswers(t *testing.T) {
	const (
		opus   = "a=rtpmap:107 opus/48000/2\n"
		te     = "a=rtpmap:101 telephone-event/8000\n"
		te48   = "a=rtpmap:102 telephone-event/48000\n"
		hold   = "c=IN IP4 0.0.0.0\n"
		crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4\n"
	)
	for _, c := range []struct {
		name, media string
		want        string // formats and direction of the answer's audio
		err         error
	}{
		{"A-law alone", "m=audio 4000 RTP/AVP 8\n", "8 sendrecv", nil},
		{"mu-law alone", "m=audio 4000 RTP/AVP 0\n", "0 sendrecv", nil},
		{"both laws", "m=audio 4000 RTP/AVP 0 8\n", "8 sendrecv", nil},
		{"G.722 too", "m=audio 4000 RTP/AVP 0 8 9\n", "9 sendrecv", nil},
		{"G.722 with its name", "m=audio 4000 RTP/AVP 9\na=rtpmap:9 G722/8000\n", "9 sendrecv", nil},
		{"G.722 with the clock it should have had", "m=audio 4000 RTP/AVP 96\na=rtpmap:96 G722/16000\n", "", ErrNoCodec},
		{"Opus", "m=audio 4000 RTP/AVP 8 107\n" + opus, "107 sendrecv", nil},
		{"Opus by another case", "m=audio 4000 RTP/AVP 107\na=rtpmap:107 OPUS/48000/2\n", "107 sendrecv", nil},
		{"Opus without channels", "m=audio 4000 RTP/AVP 107\na=rtpmap:107 opus/48000\n", "107 sendrecv", nil},
		{"Opus at 8 kHz", "m=audio 4000 RTP/AVP 107\na=rtpmap:107 opus/8000/2\n", "", ErrNoCodec},
		{"Opus and events of either clock", "m=audio 4000 RTP/AVP 107 8 101 102\n" + opus + te + te48, "107 102 sendrecv", nil},
		{"Opus and events of 8 kHz", "m=audio 4000 RTP/AVP 107 8 101\n" + opus + te, "107 101 sendrecv", nil},
		{"A-law and events of either clock", "m=audio 4000 RTP/AVP 8 102 101\n" + te + te48, "8 101 sendrecv", nil},
		{"A-law and events of 48 kHz", "m=audio 4000 RTP/AVP 8 102\n" + te48, "8 102 sendrecv", nil},
		{"events of 16 kHz", "m=audio 4000 RTP/AVP 8 103\na=rtpmap:103 telephone-event/16000\n", "8 sendrecv", nil},
		{"events under an odd number", "m=audio 4000 RTP/AVP 8 120\na=rtpmap:120 telephone-event/8000\na=fmtp:120 0-16\n", "8 120 sendrecv", nil},
		{"events alone", "m=audio 4000 RTP/AVP 101\n" + te, "", ErrNoCodec},
		{"comfort noise", "m=audio 4000 RTP/AVP 8 13\n", "8 sendrecv", nil},
		{"comfort noise alone", "m=audio 4000 RTP/AVP 13\n", "", ErrNoCodec},
		{"what we have not", "m=audio 4000 RTP/AVP 18 4 3\n", "", ErrNoCodec},
		{"what we have not first", "m=audio 4000 RTP/AVP 18 4 3 0\n", "0 sendrecv", nil},
		{"a law under a dynamic number", "m=audio 4000 RTP/AVP 97\na=rtpmap:97 PCMA/8000\n", "97 sendrecv", nil},
		{"a law with its channel", "m=audio 4000 RTP/AVP 97\na=rtpmap:97 PCMU/8000/1\n", "97 sendrecv", nil},
		{"a law in stereo", "m=audio 4000 RTP/AVP 97\na=rtpmap:97 PCMU/8000/2\n", "", ErrNoCodec},
		{"a law at 16 kHz", "m=audio 4000 RTP/AVP 97\na=rtpmap:97 PCMA/16000\n", "", ErrNoCodec},
		{"a static number renamed", "m=audio 4000 RTP/AVP 8\na=rtpmap:8 G729/8000\n", "", ErrNoCodec},
		{"a number twice", "m=audio 4000 RTP/AVP 8 8 8\n", "8 sendrecv", nil},
		{"a number without a name", "m=audio 4000 RTP/AVP 99 8\n", "8 sendrecv", nil},
		{"a number out of range", "m=audio 4000 RTP/AVP 200 8\n", "8 sendrecv", nil},
		{"no number at all", "m=audio 4000 RTP/AVP x\n", "", ErrNoCodec},

		{"sendrecv said", "m=audio 4000 RTP/AVP 8\na=sendrecv\n", "8 sendrecv", nil},
		{"sendonly", "m=audio 4000 RTP/AVP 8\na=sendonly\n", "8 recvonly", nil},
		{"recvonly", "m=audio 4000 RTP/AVP 8\na=recvonly\n", "8 sendonly", nil},
		{"inactive", "m=audio 4000 RTP/AVP 8\na=inactive\n", "8 inactive", nil},
		{"sendonly for the session", "a=sendonly\nm=audio 4000 RTP/AVP 8\n", "8 recvonly", nil},
		{"the section's direction wins", "a=inactive\nm=audio 4000 RTP/AVP 8\na=sendrecv\n", "8 sendrecv", nil},
		{"0.0.0.0", "m=audio 4000 RTP/AVP 8\n" + hold, "8 recvonly", nil},
		{"0.0.0.0 and sendonly", "m=audio 4000 RTP/AVP 8\n" + hold + "a=sendonly\n", "8 recvonly", nil},
		{"0.0.0.0 and inactive", "m=audio 4000 RTP/AVP 8\n" + hold + "a=inactive\n", "8 inactive", nil},
		{"0.0.0.0 and recvonly", "m=audio 4000 RTP/AVP 8\n" + hold + "a=recvonly\n", "8 sendonly", nil},
		{"::", "m=audio 4000 RTP/AVP 8\nc=IN IP6 ::\n", "8 recvonly", nil},
		{"the discard port", "m=audio 9 RTP/AVP 8\n", "8 sendrecv", nil},

		{"a shared port", "m=audio 4000 RTP/AVP 8\na=rtcp-mux\n", "8 sendrecv", nil},
		{"a shared port and numbers like RTCP's", "m=audio 4000 RTP/AVP 72 8\na=rtpmap:72 opus/48000/2\na=rtcp-mux\n", "8 sendrecv", nil},
		{"reports elsewhere", "m=audio 4000 RTP/AVP 8\na=rtcp:5000 IN IP4 198.51.100.1\n", "8 sendrecv", nil},
		{"reports on no port", "m=audio 4000 RTP/AVP 8\na=rtcp:70000\n", "8 sendrecv", nil},
		{"ptime 10", "m=audio 4000 RTP/AVP 8\na=ptime:10\n", "8 sendrecv", nil},
		{"ptime 60", "m=audio 4000 RTP/AVP 8\na=ptime:60\na=maxptime:60\n", "8 sendrecv", nil},
		{"with a mid", "m=audio 4000 RTP/AVP 8\na=mid:0\n", "8 sendrecv", nil},
		{"with a mid that is none", "m=audio 4000 RTP/AVP 8\na=mid:a b\n", "8 sendrecv", nil},
		{"with feedback", "m=audio 4000 RTP/AVPF 8\na=rtcp-fb:* nack\n", "8 sendrecv", nil},
		{"with ICE", "a=ice-ufrag:abcd\na=ice-pwd:abcdabcdabcdabcdabcdab\nm=audio 4000 RTP/AVP 8\na=candidate:1 1 UDP 1 10.0.0.1 4000 typ host\n", "8 sendrecv", nil},

		{"video after", "m=audio 4000 RTP/AVP 8\nm=video 4002 RTP/AVP 99\na=rtpmap:99 H264/90000\n", "8 sendrecv", nil},
		{"video before", "m=video 4002 RTP/AVP 99\na=rtpmap:99 H264/90000\nm=audio 4000 RTP/AVP 8\n", "8 sendrecv", nil},
		{"fax too", "m=audio 4000 RTP/AVP 8\nm=image 4004 udptl t38\n", "8 sendrecv", nil},
		{"fax alone", "m=image 4004 udptl t38\n", "", ErrNoCodec},
		{"two audio lines", "m=audio 4000 RTP/AVP 0\nm=audio 4010 RTP/AVP 8\n", "0 sendrecv", nil},
		{"the first audio line is of no use", "m=audio 4000 RTP/AVP 18\nm=audio 4010 RTP/AVP 8\n", "8 sendrecv", nil},
		{"audio refused", "m=audio 0 RTP/AVP 8\n", "", ErrNoCodec},
		{"no media", "", "", ErrNoCodec},
		{"encrypted by DTLS", "m=audio 4000 UDP/TLS/RTP/SAVP 8\na=fingerprint:sha-256 AA\n", "", ErrNoCodec},
		{"encrypted without a key", "m=audio 4000 RTP/SAVP 8\n", "", ErrNoCodec},
		{"encrypted", "m=audio 4000 RTP/SAVP 8\n" + crypto, "8 sendrecv", nil},
		{"in the clear and encrypted", "m=audio 4000 RTP/AVP 8\nm=audio 4010 RTP/SAVP 0\n" + crypto, "0 sendrecv", nil},
		{"encrypted if we like", "m=audio 4000 RTP/AVP 8\n" + crypto, "8 sendrecv", nil},
		{"somebody else's address", "m=audio 4000 RTP/AVP 8\nc=IN IP4 198.51.100.1\n", "", ErrForbiddenAddress},
		{"a name", "m=audio 4000 RTP/AVP 8\nc=IN IP4 pbx.example.com\n", "", ErrBadSDP},
		{"multicast", "m=audio 4000 RTP/AVP 8\nc=IN IP4 224.2.1.1/127\n", "", ErrForbiddenAddress},
		{"a broken line", "m=audio 4000 RTP/AVP 8\nbroken\n", "", ErrBadSDP},
		{"a port that is none", "m=audio 99999 RTP/AVP 8\n", "", ErrBadSDP},
	} {
		e := pbxEngine(t, nil)
		s := pbxSocket(t, e, func(o *SocketOptions) {
			o.Codecs, o.Secure = []string{"opus", "G722", "PCMA", "PCMU"}, SecureOptional
		})
		text := "v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nt=0 0\n" + c.media
		offer := []byte(strings.ReplaceAll(text, "\n", "\r\n"))
		answer, err := s.Answer(offer)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
			continue
		}
		if err != nil {
			if s.path.Load() != nil || s.Codec() != NoCodec {
				t.Errorf("%s: refused, and something is left of it", c.name)
			}
			continue
		}
		wantLegal(t, offer, answer)
		d, err := parseSDP(string(answer))
		if err != nil {
			t.Fatal(err)
		}
		sec, _ := d.audio()
		if got := fmt.Sprint(strings.Join(sec.formats, " "), " ", sec.direction()); got != c.want {
			t.Errorf("%s: answered with %s, want %s", c.name, got, c.want)
		}
		// A refresh changes nothing, not even the version.
		if again := mustReoffer(t, s, offer); string(again) != string(answer) {
			t.Errorf("%s: the same again is answered with\n%s\nafter\n%s", c.name, again, answer)
		}
		// And what we would offer now keeps the numbers.
		ours, err := parseSDP(string(mustReoffer(t, s, nil)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range ours.sections[0].payloads() {
			for _, g := range d.sections[slices.IndexFunc(d.sections, func(x section) bool { return x.port != 0 })].payloads() {
				if f.pt == g.pt && !f.is(g.name, g.clock) {
					t.Errorf("%s: payload type %d meant %s and means %s", c.name, f.pt, g.name, f.name)
				}
			}
		}
	}
}

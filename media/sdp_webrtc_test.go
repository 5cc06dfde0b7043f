package media

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wagate/config"
)

// golden reads testdata/name with the CRLF that session descriptions have on
// the wire; the files have bare LF.
func golden(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.ReplaceAll(string(b), "\n", "\r\n")
}

// wantGolden compares line by line.
func wantGolden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", name), []byte(strings.ReplaceAll(got, "\r\n", "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, have := strings.SplitAfter(golden(t, name), "\r\n"), strings.SplitAfter(got, "\r\n")
	for i := range max(len(want), len(have)) {
		var w, h string
		if i < len(want) {
			w = want[i]
		}
		if i < len(have) {
			h = have[i]
		}
		if w != h {
			t.Errorf("%s:%d: got %q, want %q", name, i+1, h, w)
		}
	}
}

func TestReadMetaOffers(t *testing.T) {
	for _, c := range []struct {
		file       string
		ufrag, pwd string
		candidates []string // best first
		mid        string
		opus       uint8
		digits     uint8
	}{
		{
			"offer-2026.sdp", "NvPeRHRlBReaRYCZ", "+219v9nKr3xSQIn8s+Fy8g==",
			[]string{"[2a03:2880:f312:131:face:b00c:0:699c]:3480", "57.144.43.49:3480"},
			"audio", 111, 126,
		},
		{
			"offer-2024.sdp", "b/Rm1Bs5zXxyhnHG", "Jr2MHXgnFyj2E79mK4mQ2DUf",
			[]string{"[2a03:2880:f211:d1:face:b00c:0:6443]:40012", "157.240.12.53:40012"},
			"audio", 111, 126,
		},
	} {
		r, err := parseWebRTC(golden(t, c.file))
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if r.ufrag != c.ufrag || r.pwd != c.pwd || !r.lite || r.mid != c.mid || !r.bundled || r.setup != "actpass" {
			t.Errorf("%s: got %+v", c.file, r)
		}
		if r.find(Opus).pt != c.opus || r.digits.pt != c.digits || len(r.fingerprint.sum) != 32 {
			t.Errorf("%s: got opus %d, digits %d, fingerprint %x", c.file, r.find(Opus).pt, r.digits.pt, r.fingerprint.sum)
		}
		var got []string
		for _, a := range r.candidates {
			got = append(got, a.addr.String())
		}
		if strings.Join(got, " ") != strings.Join(c.candidates, " ") {
			t.Errorf("%s: candidates: got %q, want %q", c.file, got, c.candidates)
		}
	}
}

func TestRefusedOffers(t *testing.T) {
	good := golden(t, "offer-2026.sdp")
	change := func(from, to string) string {
		if !strings.Contains(good, from) {
			t.Fatalf("the offer has no %q", from)
		}
		return strings.ReplaceAll(good, from, to)
	}
	for name, c := range map[string]struct {
		offer string
		want  error
		says  string
	}{
		"empty":             {"", ErrBadSDP, "empty"},
		"not SDP":           {"hello\r\n", ErrBadSDP, "v=0"},
		"no audio":          {change("m=audio", "m=video"), ErrBadSDP, "no audio"},
		"audio refused":     {change("m=audio 3480", "m=audio 0"), ErrBadSDP, "no audio"},
		"plain RTP":         {change("UDP/TLS/RTP/SAVPF", "RTP/AVP"), ErrBadSDP, "not DTLS-SRTP"},
		"no opus":           {change("opus/48000/2", "red/48000/2"), ErrNoCodec, "opus"},
		"opus at 8 kHz":     {change("opus/48000/2", "opus/8000"), ErrNoCodec, "opus"},
		"no fingerprint":    {change("a=fingerprint:sha-256", "a=x-fingerprint:"), ErrBadSDP, "fingerprint"},
		"sha-1 only":        {change("a=fingerprint:sha-256", "a=fingerprint:sha-1"), ErrBadSDP, "fingerprint"},
		"short fingerprint": {change("75:85:02:", ""), ErrBadSDP, "length"},
		"no ufrag":          {change("a=ice-ufrag:NvPeRHRlBReaRYCZ", "a=x:y"), ErrBadSDP, "ice-ufrag"},
		"no password":       {change("a=ice-pwd:", "a=x:"), ErrBadSDP, "ice-pwd"},
		"control character": {change("a=mid:audio", "a=mid:au\x00dio"), ErrBadSDP, "control"},
		"mid injects":       {change("a=mid:audio", "a=mid:au dio"), ErrBadSDP, "mid"},
		"port":              {change("m=audio 3480", "m=audio 99999"), ErrBadSDP, "port"},
		"huge":              {good + strings.Repeat("a=x:"+strings.Repeat("y", 1000)+"\r\n", 70), ErrBadSDP, "bytes"},
		"many lines":        {good + strings.Repeat("a=x\r\n", maxSDPLines), ErrBadSDP, "lines"},
		"many sections":     {good + strings.Repeat("m=video 0 RTP/AVP 0\r\n", maxSDPSections), ErrBadSDP, "m= lines"},
	} {
		_, err := parseWebRTC(c.offer)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %v that says %q", name, err, c.want, c.says)
		}
	}
}

func TestOfferWithoutDigitsOrMid(t *testing.T) {
	offer := golden(t, "offer-2026.sdp")
	for _, line := range []string{"a=rtpmap:126 telephone-event/8000\r\n", "a=mid:audio\r\n"} {
		offer = strings.Replace(offer, line, "", 1)
	}
	r, err := parseWebRTC(offer)
	if err != nil {
		t.Fatal(err)
	}
	if r.digitType() != 126 || r.digits.name != "" {
		t.Errorf("digits are expected on %d (offered: %q), want 126 all the same", r.digitType(), r.digits.name)
	}
	if r.mid != "" || r.bundled {
		t.Errorf("got mid %q, bundled %v", r.mid, r.bundled)
	}
}

// What the far end cannot take is not sent to it.
func TestOpusLimits(t *testing.T) {
	ours := config.Opus{Bitrate: 24000, FEC: config.Auto}
	for _, c := range []struct {
		fmtp string
		want config.Opus
	}{
		{"maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;useinbandfec=1", config.Opus{Bitrate: 20000}},
		{"minptime=10;useinbandfec=1", config.Opus{Bitrate: 24000}},
		{"MaxAverageBitrate=64000; useinbandfec=1", config.Opus{Bitrate: 24000}},
		{"maxaveragebitrate=1;useinbandfec=1", config.Opus{Bitrate: leastBitrate}},
		{"maxaveragebitrate=many;useinbandfec=1", config.Opus{Bitrate: 24000}},
		{"useinbandfec=0", config.Opus{Bitrate: 24000, FEC: config.Off}},
		{"", config.Opus{Bitrate: 24000, FEC: config.Off}},
	} {
		if got := (format{fmtp: c.fmtp}).limit(ours); got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.fmtp, got, c.want)
		}
	}
}

// The texts we send, as in the recommended forms of Meta's field reports: one
// fingerprint, no trickle, no mDNS, nothing that a library adds.
func TestOurDescriptions(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("203.0.113.40:42006"), netip.MustParseAddrPort("[2001:db8::40]:42006")
	var sum [32]byte
	for i := range sum {
		sum[i] = byte(7 * i)
	}
	base := localSide{
		session: 4611731400430051336, addrs: []netip.AddrPort{v4}, ufrag: "Zk3PQWERTYUIOP23", pwd: "C7UOQ2M0SVW9XB4TJ6YRAD1E55",
		fingerprint: sum, proto: "UDP/TLS/RTP/SAVPF", ssrc: 2917345011,
	}
	answer := base
	answer.setup, answer.mid, answer.bundled = "active", "audio", true
	answer.speech, answer.digits, answer.hasDigits = []format{formatOf(Opus, 111)}, 126, true
	wantGolden(t, "answer.sdp", answer.text())

	two := answer
	two.addrs = []netip.AddrPort{v4, v6}
	two.hasDigits, two.mid, two.bundled, two.speech = false, "", false, []format{formatOf(Opus, 96)}
	two.after = []section{{kind: "video", port: 9, proto: "UDP/TLS/RTP/SAVPF", formats: []string{"100", "101"}, attributes: []attribute{{"mid", "v"}}}}
	wantGolden(t, "answer-two-addresses.sdp", two.text())

	offer := base
	offer.setup, offer.mid, offer.bundled = "actpass", "0", true
	offer.speech, offer.digits, offer.hasDigits = (&Peer{codecs: []Codec{Opus}}).offers(), digitType, true
	wantGolden(t, "offer-ours.sdp", offer.text())
	offer.speech = (&Peer{codecs: []Codec{Opus, PCMA, PCMU}}).offers()
	wantGolden(t, "offer-g711.sdp", offer.text())
	answer.speech = []format{formatOf(PCMU, 0)}
	wantGolden(t, "answer-g711.sdp", answer.text())
}

func FuzzOffer(f *testing.F) {
	for _, name := range []string{"offer-2026.sdp", "offer-2024.sdp", "answer.sdp", "answer-two-addresses.sdp", "offer-ours.sdp", "answer-meta.sdp", "offer-g711.sdp", "answer-g711.sdp"} {
		f.Add(golden(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := parseWebRTC(text)
		if err != nil {
			if !errors.Is(err, ErrBadSDP) && !errors.Is(err, ErrNoCodec) {
				t.Errorf("untyped error: %v", err)
			}
			return
		}
		if len(r.candidates) > maxCandidates {
			t.Errorf("%d candidates", len(r.candidates))
		}
		// What we make of it is itself a description that can be read.
		l := localSide{
			addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:4")}, ufrag: "u", pwd: "p", setup: "active",
			proto: r.proto, mid: r.mid, bundled: r.bundled, speech: r.speech,
			digits: r.digits.pt, hasDigits: r.digits.name != "", before: r.sections[:r.audio], after: r.sections[r.audio+1:],
		}
		ours, err := parseWebRTC(l.text())
		if err != nil {
			t.Fatalf("our answer %q: %v", l.text(), err)
		}
		if len(ours.sections) != len(r.sections) || ours.audio != r.audio || ours.mid != r.mid {
			t.Errorf("our answer does not mirror the offer: %q", l.text())
		}
	})
}

package media

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"wagate/test/tone"
)

// testKey is key material as it stands in a line.
func testKey(size int, fill byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, size))
}

func TestParseCrypto(t *testing.T) {
	short, long := testKey(30, 1), testKey(46, 2)
	for _, c := range []struct {
		line string
		good bool
	}{
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short, true},
		{"1 AES_CM_128_HMAC_SHA1_32 inline:" + short, true},
		{"7 AES_256_CM_HMAC_SHA1_80 inline:" + long, true},
		{"7 AES_256_CM_HMAC_SHA1_80 inline:" + strings.TrimRight(long, "="), true},
		{"1 aes_cm_128_hmac_sha1_80 inline:" + short, true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^48", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|1048576", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:4", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|1:4", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " WSH=64", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " KDR=0 FEC_ORDER=FEC_SRTP", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " -x=1", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " UNENCRYPTED_SRTP", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " UNENCRYPTED_SRTCP", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " UNAUTHENTICATED_SRTP", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " WSH=63", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " KDR=1", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " FEC_KEY=inline:" + short, false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " x=1", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^49", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^0", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|0", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|many", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:0", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|256:1", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:200", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:4|x", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + ";inline:" + short, false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + long, false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short[:20], false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:!!!!", false},
		{"1 AES_CM_128_HMAC_SHA1_80 uri:" + short, false},
		{"1 AES_CM_128_HMAC_SHA1_80", false},
		{"1 F8_128_HMAC_SHA1_80 inline:" + short, false},
		{"one AES_CM_128_HMAC_SHA1_80 inline:" + short, false},
		{"1234567890 AES_CM_128_HMAC_SHA1_80 inline:" + short, false},
		{"", false},
	} {
		k, err := parseCrypto(c.line)
		if (err == nil) != c.good {
			t.Errorf("%q: %v", c.line, err)
			continue
		}
		if err == nil {
			again, err := parseCrypto(strings.TrimPrefix(k.line(), "a=crypto:"))
			if err != nil || !bytes.Equal(again.secret, k.secret) || again.tag != k.tag || again.suite != k.suite {
				t.Errorf("%q comes back as %q", c.line, k.line())
			}
		}
	}
	if k, err := parseCrypto("1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|258:4"); err != nil || !bytes.Equal(k.mki, []byte{0, 0, 1, 2}) {
		t.Errorf("MKI %v, %v", k, err)
	}
}

func FuzzCrypto(f *testing.F) {
	f.Add("1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey(30, 1) + "|2^20|1:4 WSH=64 KDR=0")
	f.Add("2 AES_256_CM_HMAC_SHA1_80 inline:" + testKey(46, 1))
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseCrypto(text)
		if err != nil {
			return
		}
		if len(k.secret) != k.suite.size || len(k.mki) > maxMKISize || strings.ContainsAny(k.line(), "\r\n") {
			t.Errorf("%q gives %+v", text, k)
		}
		if _, err := newOpener(k, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// securedPBX is a far end with keys.
type securedPBX struct {
	*pbx

	suite   suite
	key     *masterKey // of what it sends
	out, in *srtp.Context
	ctlOut  *srtp.Context
	ctlIn   *srtp.Context
	sealed  [maxDatagram]byte
	header  rtp.Header
}

// rekey takes another key for what the PBX sends.
func (p *securedPBX) rekey() {
	p.key = newMasterKey("1", p.suite)
	p.out, p.ctlOut = mustContext(p.t, p.key), mustContext(p.t, p.key)
}

func mustContext(tb testing.TB, k *masterKey) *srtp.Context {
	tb.Helper()
	c, err := k.context()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// listen takes the gateway's key out of its description.
func (p *securedPBX) listen(description []byte) {
	p.t.Helper()
	d, err := parseSDP(string(description))
	if err != nil {
		p.t.Fatal(err)
	}
	keys, _ := readCryptos(&d.sections[0])
	for _, k := range keys {
		if k.tag == p.key.tag && k.suite == p.suite {
			p.in, p.ctlIn = mustContext(p.t, k), mustContext(p.t, k)
			return
		}
	}
	p.t.Fatalf("no key of suite %s and tag %s:\n%s", p.suite.name, p.key.tag, description)
}

func (p *securedPBX) protect(plain []byte) []byte {
	out, err := p.out.EncryptRTP(p.sealed[:0], plain, &p.header)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *securedPBX) say() {
	if _, err := p.rtp.WriteToUDPAddrPort(p.protect(p.packet()), p.to); err != nil {
		p.t.Fatal(err)
	}
}

func (p *securedPBX) hear() rtp.Packet {
	p.t.Helper()
	var buf [maxDatagram]byte
	p.rtp.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		n, _, err := p.rtp.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			p.t.Fatalf("nothing that can be decrypted: %v", err)
		}
		plain, err := p.in.DecryptRTP(nil, buf[:n], nil)
		if err != nil {
			continue // of the key before
		}
		var pkt rtp.Packet
		if err := pkt.Unmarshal(plain); err != nil {
			p.t.Fatal(err)
		}
		return pkt
	}
}

// secured is the PBX's description with its key.
func (p *securedPBX) secured() []byte {
	text := p.sdp("8 101", p.key.line())
	return bytes.Replace(text, []byte("RTP/AVP"), []byte("RTP/SAVP"), 1)
}

// securePBX is a PBX that offered a call with a suite and has the answer.
func securePBX(tb testing.TB, s *Socket, su suite) *securedPBX {
	tb.Helper()
	p := &securedPBX{pbx: newPBX(tb, "127.0.0.1"), suite: su}
	p.to = s.testAddr()
	p.rekey()
	answer, err := s.Answer(p.secured())
	if err != nil {
		tb.Fatal(err)
	}
	p.listen(answer)
	return p
}

// Every suite, offered by us and by the PBX: tones both ways, RTCP encrypted,
// nothing in the clear.
func TestEncryptedTones(t *testing.T) {
	for _, su := range suites {
		for _, who := range []string{"the PBX", "we"} {
			t.Run(su.name+" "+who, func(t *testing.T) {
				e := pbxEngine(t, nil)
				s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureRequired })
				var p *securedPBX
				if who == "we" {
					offer := s.Offer()
					if !bytes.Contains(offer, []byte("RTP/SAVP ")) || !bytes.Equal(offer, s.Offer()) {
						t.Fatalf("offer\n%s", offer)
					}
					p = &securedPBX{pbx: newPBX(t, "127.0.0.1"), suite: su}
					p.to = s.testAddr()
					p.rekey()
					for i, other := range suites {
						if other == su {
							p.key.tag = fmt.Sprint(i + 1)
						}
					}
					if err := s.SetAnswer(p.secured()); err != nil {
						t.Fatal(err)
					}
					p.listen(offer)
				} else {
					p = securePBX(t, s, su)
				}
				listener := newEar(440)
				s.SetSink(listener, Format{Rate: narrowRate})
				s.Open()
				source, meter := tone.NewSource(620, narrowRate), tone.NewMeter(narrowRate, 620)
				tick := time.NewTicker(frameTime)
				defer tick.Stop()
				for range 40 {
					<-tick.C
					p.say()
					s.Push(toneFrame(source))
					pkt := p.hear()
					meter.Write(alaw.decode(nil, pkt.Payload))
				}
				until(t, "all packets were read", func() bool { return s.Stats().PacketsIn == 40 })
				s.SetSink(nil, Format{})
				if db, heard := meter.Level(620); !heard {
					t.Errorf("620 Hz at the PBX: %.1f dB", db)
				}
				if db, heard := listener.meter.Level(440); !heard {
					t.Errorf("440 Hz from the PBX: %.1f dB", db)
				}
				if st := s.Stats(); st.Dropped != 0 || st.Lost != 0 {
					t.Errorf("%+v", st)
				}
				wantEncryptedReports(t, s, p)
			})
		}
	}
}

// wantEncryptedReports exchanges SRTCP both ways.
func wantEncryptedReports(t *testing.T, s *Socket, p *securedPBX) {
	t.Helper()
	var buf [maxDatagram]byte
	p.rtcp.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := p.rtcp.ReadFromUDPAddrPort(buf[:])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rtcp.Unmarshal(buf[:n]); err == nil && bytes.Contains(buf[:n], []byte(cname)) {
		t.Error("our report is in the clear")
	}
	plain, err := p.ctlIn.DecryptRTCP(nil, buf[:n], nil)
	if err != nil {
		t.Fatal(err)
	}
	list, err := rtcp.Unmarshal(plain)
	if err != nil {
		t.Fatal(err)
	}
	sr := list[0].(*rtcp.SenderReport)
	rr, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: p.ssrc, Reports: []rtcp.ReceptionReport{{
		SSRC: s.sender.ssrc(), LastSenderReport: uint32(sr.NTPTime >> 16), Delay: 1,
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	control := netip.AddrPortFrom(loopback, p.to.Port()+1)
	p.rtcp.WriteToUDPAddrPort(rr, control) // in the clear: not believed
	until(t, "the plain report was refused", func() bool { return s.Stats().Dropped == 1 })
	if trip := s.Stats().RoundTrip; trip != 0 {
		t.Errorf("a report in the clear made a round trip of %v", trip)
	}
	sealed, err := p.ctlOut.EncryptRTCP(nil, rr, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.rtcp.WriteToUDPAddrPort(sealed, control)
	until(t, "the round trip is known", func() bool { return s.Stats().RoundTrip > 0 })
}

// Ten thousand forged and replayed packets from the PBX's own address neither
// end the call nor interrupt the tone, nor do they keep it alive.
func TestForgedAndReplayed(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureRequired })
	listener := newEar(440)
	s.SetSink(listener, Format{Rate: narrowRate})
	p := securePBX(t, s, suites[0])
	s.Open()
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	const frames, bad = 100, 100
	refused := uint64(0)
	for range frames {
		<-tick.C
		good := bytes.Clone(p.protect(p.packet()))
		forged := bytes.Clone(good)
		forged[len(forged)-1] ^= 1
		strange := bytes.Clone(forged)
		for i := range bad {
			var data []byte
			switch i % 4 {
			case 0:
				data = forged
			case 1:
				strange[8] = byte(i) // another source each time
				data = strange
			case 2:
				data = good[:len(good)-10] // as if it were in the clear
			case 3:
				if i == 3 {
					refused-- // the first is the packet itself
				}
				data = good
			}
			p.rtp.WriteToUDPAddrPort(data, p.to)
			refused++
			if i%25 == 24 {
				until(t, "the packets were seen", func() bool { return s.Stats().Dropped+s.Stats().Duplicates >= refused })
			}
		}
		p.hear()
	}
	s.SetSink(nil, Format{})
	select {
	case <-s.Failed():
		t.Fatalf("the call ended: %v", s.Err())
	default:
	}
	st := s.Stats()
	if st.PacketsIn != frames || st.Lost != 0 || st.Concealed != 0 {
		t.Errorf("%+v", st)
	}
	if db, heard := listener.meter.Level(440); !heard {
		t.Errorf("440 Hz: %.1f dB", db)
	}
	if gaps := listener.meter.Gaps(); len(gaps) > 0 {
		t.Errorf("gaps in the tone: %v", gaps)
	}
}

// Behind NAT the address is learned from a packet with the key, not from
// another of the trunk's hosts that has none.
func TestLearnedAfterAuthentication(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure, o.NAT = SecureRequired, true })
	p := &securedPBX{pbx: newPBX(t, "127.0.0.1"), suite: suites[0]}
	p.to = s.testAddr()
	p.rekey()
	behind := strings.ReplaceAll(string(p.secured()), "127.0.0.1", "192.168.7.7")
	behind = strings.ReplaceAll(behind, fmt.Sprint("m=audio ", port(p.rtp)), "m=audio 9")
	answer, err := s.Answer([]byte(behind))
	if err != nil {
		t.Fatal(err)
	}
	p.listen(answer)
	s.Open()
	evil := newPBX(t, "127.0.0.1")
	evil.to = s.testAddr()
	for range 10 {
		evil.say()
	}
	until(t, "the packets without the key were refused", func() bool { return s.Stats().Dropped == 10 })
	if evil.hears() {
		t.Error("a packet without the key moved the audio")
	}
	p.say()
	p.hear()
}

// A new key in a re-INVITE starts anew, the same one goes on, also after the
// PBX's sequence number has rolled over.
func TestRekey(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureOptional })
	p := securePBX(t, s, suites[0])
	s.Open()
	round := func(n uint64) {
		t.Helper()
		was := s.Stats().PacketsIn
		for range n {
			p.say()
			p.hear()
		}
		until(t, "the packets are in", func() bool { return s.Stats().PacketsIn == was+n })
	}
	round(10) // 65530 and on: the rollover counters of the PBX are one now
	first := s.session.local

	if answer := mustReoffer(t, s, p.secured()); !bytes.Contains(answer, []byte(first.line())) {
		t.Errorf("a refresh changed our key:\n%s", answer)
	}
	round(10)

	late := bytes.Clone(p.protect(p.packet())) // under way when the key changes
	p.rekey()
	answer := mustReoffer(t, s, p.secured())
	if bytes.Contains(answer, []byte(first.line())) {
		t.Errorf("our key outlived that of the PBX:\n%s", answer)
	}
	p.listen(answer)
	was := s.Stats().PacketsIn
	p.rtp.WriteToUDPAddrPort(late, p.to)
	until(t, "the packet of the former key is in", func() bool { return s.Stats().PacketsIn == was+1 })
	round(10)
	if s.path.Load().open.former.Load() != nil {
		t.Error("the former key is kept")
	}
	if st := s.Stats(); st.Dropped != 0 || st.Lost != 0 {
		t.Errorf("%+v", st)
	}

	// The PBX asks for an offer: ours goes on with the key in use.
	offer := mustReoffer(t, s, nil)
	if !bytes.Contains(offer, []byte(strings.TrimPrefix(s.session.local.line(), "a="))) {
		t.Errorf("the offer has not our key:\n%s", offer)
	}
	plain := p.sdp("8 101", p.key.line())
	if _, err := s.Reoffer(plain); err != nil {
		t.Fatal(err)
	}
	if s.session.awaits {
		t.Error("the answer was not taken for one")
	}
	round(10)

	// Without encryption from now on, where that is allowed.
	mustReoffer(t, s, p.sdp("8 101"))
	p.pbx.say()
	for n := 0; ; n++ {
		pkt, _ := p.pbx.hear()
		if len(pkt.Payload) == 160 { // encrypted ones are longer by their seal
			break
		}
		if n == underWay {
			t.Fatalf("still encrypted: %d bytes of %v", len(pkt.Payload), pkt.Header)
		}
	}
}

func TestMKI(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureRequired })
	p := &securedPBX{pbx: newPBX(t, "127.0.0.1"), suite: suites[0]}
	p.to = s.testAddr()
	p.key = newMasterKey("3", p.suite)
	p.key.mki = []byte{0, 0, 0, 9}
	p.out = mustContext(t, p.key)
	offer := strings.Replace(string(p.secured()), p.key.line(), p.key.line()+"|2^31|9:4", 1)
	answer, err := s.Answer([]byte(offer))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(answer, []byte("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:")) {
		t.Errorf("answer\n%s", answer)
	}
	p.listen(answer)
	s.Open()
	for range 5 {
		p.say()
		p.hear()
	}
	until(t, "the packets are in", func() bool { return s.Stats().PacketsIn == 5 })
}

// Who may be answered how: encrypted offers never in the clear, and no less than
// the trunk asks for.
func TestSecurityTable(t *testing.T) {
	e := pbxEngine(t, nil)
	key := newMasterKey("1", suites[0]).line()
	bad := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey(30, 1) + " UNENCRYPTED_SRTP"
	foreign := "a=crypto:1 F8_128_HMAC_SHA1_80 inline:" + testKey(30, 1)
	second := newMasterKey("2", suites[2]).line()
	for _, c := range []struct {
		secure  Security
		profile string
		lines   []string
		answer  string // profile of the answer; "": refused
		tag     string // of its key; "": none
	}{
		{SecureOff, "RTP/AVP", nil, "RTP/AVP", ""},
		{SecureOff, "RTP/AVP", []string{key}, "RTP/AVP", ""},
		{SecureOff, "RTP/SAVP", []string{key}, "", ""},
		{SecureOff, "RTP/AVPF", nil, "RTP/AVPF", ""},
		{SecureOptional, "RTP/AVP", nil, "RTP/AVP", ""},
		{SecureOptional, "RTP/AVP", []string{key}, "RTP/AVP", "1"},
		{SecureOptional, "RTP/AVP", []string{bad}, "RTP/AVP", ""},
		{SecureOptional, "RTP/SAVP", []string{key}, "RTP/SAVP", "1"},
		{SecureOptional, "RTP/SAVPF", []string{key}, "RTP/SAVPF", "1"},
		{SecureOptional, "RTP/SAVP", []string{bad}, "", ""},
		{SecureOptional, "RTP/SAVP", nil, "", ""},
		{SecureRequired, "RTP/AVP", nil, "", ""},
		{SecureRequired, "RTP/AVP", []string{key}, "RTP/AVP", "1"},
		{SecureRequired, "RTP/SAVP", []string{key}, "RTP/SAVP", "1"},
		{SecureRequired, "RTP/SAVP", []string{foreign, second}, "RTP/SAVP", "2"},
		{SecureRequired, "RTP/SAVP", []string{bad, second, key}, "RTP/SAVP", "2"},
		{SecureRequired, "RTP/SAVP", []string{bad}, "", ""},
		{SecureRequired, "UDP/TLS/RTP/SAVP", []string{key}, "", ""},
	} {
		s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = c.secure })
		offer := bytes.Replace(newPBX(t, "127.0.0.1").sdp("8 101", c.lines...), []byte("RTP/AVP"), []byte(c.profile), 1)
		answer, err := s.Answer(offer)
		name := fmt.Sprint(c.secure, " ", c.profile, " ", c.lines)
		if c.answer == "" {
			if !errors.Is(err, ErrNoCodec) || s.path.Load() != nil {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		d, err := parseSDP(string(answer))
		if err != nil {
			t.Fatal(err)
		}
		keys, seen := readCryptos(&d.sections[0])
		if d.sections[0].proto != c.answer || seen != (c.tag != "") || seen && keys[0].tag != c.tag {
			t.Errorf("%s: answered with\n%s", name, answer)
		}
		if encrypted := s.path.Load().seal != nil; encrypted != seen || (s.path.Load().open != nil) != seen {
			t.Errorf("%s: encrypted %v", name, encrypted)
		}
	}
}

// What answers our offers, and what does not.
func TestSecurityOfAnswers(t *testing.T) {
	e := pbxEngine(t, nil)
	key, other, wrong := newMasterKey("1", suites[0]).line(), newMasterKey("2", suites[0]).line(), newMasterKey("9", suites[0]).line()
	for _, c := range []struct {
		secure  Security
		plain   bool
		profile string
		lines   []string
		good    bool
	}{
		{SecureOff, false, "RTP/AVP", nil, true},
		{SecureOff, false, "RTP/SAVP", []string{key}, false},
		{SecureOptional, false, "RTP/AVP", nil, true},
		{SecureOptional, false, "RTP/AVP", []string{key}, true},
		{SecureOptional, false, "RTP/AVP", []string{wrong}, false},
		{SecureOptional, false, "RTP/SAVP", []string{key}, false},
		{SecureOptional, true, "RTP/AVP", nil, true},
		{SecureRequired, false, "RTP/SAVP", []string{key}, true},
		{SecureRequired, true, "RTP/SAVP", []string{key}, true},
		{SecureRequired, false, "RTP/SAVP", []string{other}, false}, // tag 2 is another suite
		{SecureRequired, false, "RTP/SAVP", []string{key, key}, false},
		{SecureRequired, false, "RTP/SAVP", nil, false},
		{SecureRequired, false, "RTP/AVP", []string{key}, false},
		{SecureRequired, false, "RTP/AVP", nil, false},
	} {
		s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure, o.Plain = c.secure, c.plain })
		offer := s.Offer()
		if c.secure == SecureOptional && bytes.Contains(offer, []byte("a=crypto")) == c.plain {
			t.Errorf("plain %v offer:\n%s", c.plain, offer)
		}
		answer := bytes.Replace(newPBX(t, "127.0.0.1").sdp("8", c.lines...), []byte("RTP/AVP"), []byte(c.profile), 1)
		err := s.SetAnswer(answer)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrNoCodec) {
			t.Errorf("%v plain %v, %s %v: %v", c.secure, c.plain, c.profile, c.lines, err)
		}
		if p := s.path.Load(); err == nil && (p.seal != nil) != (c.lines != nil && c.secure != SecureOff) {
			t.Errorf("%v, %s %v: encrypted %v", c.secure, c.profile, c.lines, p.seal != nil)
		}
	}
	a, b := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureRequired }), pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureRequired })
	if bytes.Equal(a.Offer()[bytes.Index(a.Offer(), []byte("inline")):][:40], b.Offer()[bytes.Index(b.Offer(), []byte("inline")):][:40]) {
		t.Error("two calls have one key")
	}
}

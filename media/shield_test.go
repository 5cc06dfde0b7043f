package media

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"wagate/test/tone"
)

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
					p = newSecuredPBX(t, s, su)
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
	p := newSecuredPBX(t, s, suites[0])
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
	p := newSecuredPBX(t, s, suites[0])
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

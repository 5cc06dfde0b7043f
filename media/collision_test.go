package media

import (
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"

	"wagate/test/tone"
)

// TestPBXHasOurSource: a PBX that uses our SSRC is heard and hears us, the
// reports keep apart who sent what, and its BYE is its own. We keep the number,
// against RFC 3550 section 8.2.
func TestPBXHasOurSource(t *testing.T) {
	t.Parallel()
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	listener := newEar(440)
	s.SetSink(listener, Format{Rate: narrowRate})
	p := answeredPBX(t, s)
	p.ssrc = s.sender.ssrc()
	s.Open()
	const frames, each = 100, 10
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	meter, source := tone.NewMeter(narrowRate, 620), tone.NewSource(620, narrowRate)
	rtcpTo := netip.AddrPortFrom(loopback, p.to.Port()+1)
	send := func(list ...rtcp.Packet) {
		raw, err := rtcp.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.rtcp.WriteToUDPAddrPort(raw, rtcpTo); err != nil {
			t.Fatal(err)
		}
	}
	var heard uint16
	for i := range frames {
		<-tick.C
		if i%each == each-1 {
			p.packet() // is lost
		} else {
			p.say()
		}
		s.Push(toneFrame(source))
		pkt, _ := p.hear()
		if pkt.SSRC != p.ssrc || i > 0 && pkt.SequenceNumber != heard+1 {
			t.Fatalf("%v after number %d", pkt.Header, heard)
		}
		heard = pkt.SequenceNumber
		meter.Write(alaw.decode(nil, pkt.Payload))
		if i == frames/2 {
			send(&rtcp.ReceiverReport{SSRC: p.ssrc}, &rtcp.Goodbye{Sources: []uint32{p.ssrc}})
		}
	}
	var buf [maxDatagram]byte
	p.rtcp.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, _, err := p.rtcp.ReadFromUDPAddrPort(buf[:])
	if err != nil {
		t.Fatal(err)
	}
	list, err := rtcp.Unmarshal(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	sr, ok := list[0].(*rtcp.SenderReport)
	if !ok || sr.SSRC != p.ssrc || len(sr.Reports) != 1 || sr.Reports[0].SSRC != p.ssrc {
		t.Fatalf("report %+v", list[0])
	}
	if sent, lost := int(sr.PacketCount), int(sr.Reports[0].TotalLost); sent == 0 || sent > frames || lost > frames/each {
		t.Errorf("it says that %d packets were sent and %d lost", sent, lost)
	}
	send(&rtcp.SenderReport{SSRC: p.ssrc, NTPTime: 1 << 40, Reports: []rtcp.ReceptionReport{{
		SSRC: p.ssrc, FractionLost: 64, LastSenderReport: uint32(sr.NTPTime >> 16), Delay: 1,
	}}})
	until(t, "the round trip is known", func() bool { return s.Stats().RoundTrip > 0 })
	if far := s.reporter.farEnd(); far.loss != 0.25 || far.reports != 1 {
		t.Errorf("of our packets are lost: %+v", far)
	}
	until(t, "all packets were read", func() bool { return s.Stats().PacketsIn == frames-frames/each })
	s.SetSink(nil, Format{})
	if st := s.Stats(); st.Lost != frames/each-1 { // nobody knows of the last one
		t.Errorf("%+v", st)
	}
	if db, heard := meter.Level(620); !heard {
		t.Errorf("620 Hz at the PBX: %.1f dB", db)
	}
	if db, heard := listener.meter.Level(440); !heard {
		t.Errorf("440 Hz from the PBX: %.1f dB", db)
	}
}

// TestPBXSendsOurPacketsBack: what has our SSRC in earnest is a line test, which
// returns our own packets. They are sound like any other, and no reason to
// change the number: it would come back as well.
func TestPBXSendsOurPacketsBack(t *testing.T) {
	t.Parallel()
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	listener := newEar(620)
	s.SetSink(listener, Format{Rate: narrowRate})
	p := answeredPBX(t, s)
	s.Open()
	const frames = 60
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	source := tone.NewSource(620, narrowRate)
	var sent []sentPacket
	for range frames {
		<-tick.C
		s.Push(toneFrame(source))
		pkt, _ := p.hear()
		sent = append(sent, sentPacket{Header: pkt.Header})
		raw, err := pkt.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.rtp.WriteToUDPAddrPort(raw, p.to); err != nil {
			t.Fatal(err)
		}
	}
	wantStream(t, PCMA, sent)
	until(t, "all packets were read", func() bool { return s.Stats().PacketsIn == frames })
	s.SetSink(nil, Format{})
	if st := s.Stats(); st.Lost+st.Late+st.Duplicates+st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	if db, heard := listener.meter.Level(620); !heard {
		t.Errorf("620 Hz comes back with %.1f dB", db)
	}
}

// TestCustomerHasOurSource: two ends of a WhatsApp leg with one SSRC hear each
// other through their keys, and neither changes what its description has
// announced.
func TestCustomerHasOurSource(t *testing.T) {
	t.Parallel()
	one, two := testEngine(t, nil), testEngine(t, nil)
	caller, callee := testPeer(t, one), testPeer(t, two)
	callee.sender.header.SSRC, callee.reporter.ssrc = caller.sender.ssrc(), caller.sender.ssrc()
	negotiate(t, caller, callee)
	ears := []*ear{newEar(440), newEar(620)}
	callee.SetSink(ears[0], Format{Rate: narrowRate})
	caller.SetSink(ears[1], Format{Rate: narrowRate})
	caller.Open()
	callee.Open()
	low, high := tone.NewSource(440, narrowRate), tone.NewSource(620, narrowRate)
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	for range 60 {
		<-tick.C
		caller.Push(toneFrame(low))
		callee.Push(toneFrame(high))
	}
	now := time.Now()
	if !caller.sendReport(now) || !callee.sendReport(now) {
		t.Error("a report could not be sent")
	}
	for name, p := range map[string]*Peer{"caller": caller, "callee": callee} {
		until(t, name+" was told of its packets", func() bool { return p.reporter.farEnd().told })
		if far := p.reporter.farEnd(); far.loss != 0 || p.Stats().Dropped != 0 {
			t.Errorf("%s: %+v, %+v", name, far, p.Stats())
		}
	}
	callee.SetSink(nil, Format{})
	caller.SetSink(nil, Format{})
	for i, freq := range []float64{440, 620} {
		if db, heard := ears[i].meter.Level(freq); !heard {
			t.Errorf("%v Hz comes with %.1f dB", freq, db)
		}
	}
}

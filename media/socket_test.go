package media

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"wagate/config"
	"wagate/test/tone"
)

func TestSocketToneBothWays(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	listener := newEar(440)
	s.SetSink(listener, Format{Rate: narrowRate})
	p := answeredPBX(t, s)
	s.Open()
	tick := time.NewTicker(frameTime)
	defer tick.Stop()
	meter := tone.NewMeter(narrowRate, 620)
	source := tone.NewSource(620, narrowRate)
	var last rtp.Packet
	for i := range 100 {
		<-tick.C
		p.say()
		s.Push(toneFrame(source))
		pkt, from := p.hear()
		if from != s.testAddr() || pkt.PayloadType != 8 {
			t.Fatalf("payload type %d from %v, want 8 from %v", pkt.PayloadType, from, s.testAddr())
		}
		if i > 0 && (pkt.SequenceNumber != last.SequenceNumber+1 || pkt.Timestamp != last.Timestamp+160 || pkt.SSRC != last.SSRC) {
			t.Errorf("%v follows %v", pkt.Header, last.Header)
		}
		last = pkt
		meter.Write(alaw.decode(nil, pkt.Payload))
	}
	wait(t, "the PBX was heard", s.Heard())
	if db, heard := meter.Level(620); !heard {
		t.Errorf("620 Hz at the PBX: %.1f dB", db)
	}
	until(t, "all packets were read", func() bool { return s.Stats().PacketsIn == 100 })
	s.SetSink(nil, Format{})
	if db, heard := listener.meter.Level(440); !heard {
		t.Errorf("440 Hz from the PBX: %.1f dB", db)
	}
	st := s.Stats()
	if st.PacketsIn != 100 || st.PacketsOut < 100 || st.Lost != 0 || st.FirstAudio == 0 {
		t.Errorf("%+v", st)
	}
}

func TestMediaTimeout(t *testing.T) {
	limit := 800 * time.Millisecond
	e := pbxEngine(t, func(c *config.Media) { c.Timeout = limit })
	silent, reporting, held := pbxSocket(t, e, nil), pbxSocket(t, e, nil), pbxSocket(t, e, nil)
	answeredPBX(t, silent)
	p := answeredPBX(t, reporting)
	h := answeredPBX(t, held)
	if _, err := held.Reoffer(h.sdp("8 101", "a=sendonly")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Socket{silent, reporting, held} {
		s.Open()
	}
	rr, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: 1}})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(limit / 8)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.rtcp.WriteToUDPAddrPort(rr, netip.AddrPortFrom(loopback, p.to.Port()+1))
			case <-stop:
				return
			}
		}
	}()
	start := time.Now()
	wait(t, "the silent PBX was given up", silent.Failed())
	if d := time.Since(start); d < limit || !errors.Is(silent.Err(), ErrMediaTimeout) {
		t.Errorf("%v after %v", silent.Err(), d)
	}
	<-time.After(limit)
	for name, s := range map[string]*Socket{"with RTCP alone": reporting, "on hold": held} {
		select {
		case <-s.Failed():
			t.Errorf("the call %s failed: %v", name, s.Err())
		default:
		}
	}
	close(stop)
	<-done
}

func TestSocketReports(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	p := answeredPBX(t, s)
	s.Open()
	p.say()
	p.hear()
	var buf [maxDatagram]byte
	read := func() []rtcp.Packet {
		p.rtcp.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := p.rtcp.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			t.Fatal(err)
		}
		if from.Port() != p.to.Port()+1 {
			t.Errorf("RTCP from port %d, want %d", from.Port(), p.to.Port()+1)
		}
		list, err := rtcp.Unmarshal(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	sr, ok := read()[0].(*rtcp.SenderReport)
	if !ok || sr.SSRC != s.sender.ssrc() || sr.PacketCount == 0 || sr.OctetCount != 160*sr.PacketCount || len(sr.Reports) != 1 {
		t.Fatalf("report %+v", sr)
	}
	if r := sr.Reports[0]; r.SSRC != p.ssrc || r.TotalLost != 0 || r.LastSequenceNumber != 65530 {
		t.Errorf("report about the PBX: %+v", r)
	}
	rr, err := rtcp.Marshal([]rtcp.Packet{&rtcp.ReceiverReport{SSRC: p.ssrc, Reports: []rtcp.ReceptionReport{{
		SSRC: s.sender.ssrc(), LastSenderReport: uint32(sr.NTPTime >> 16), Delay: 1,
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	p.rtcp.WriteToUDPAddrPort(rr, netip.AddrPortFrom(loopback, p.to.Port()+1))
	until(t, "the round trip is known", func() bool { return s.Stats().RoundTrip > 0 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for list := read(); ; list = read() {
		if _, ok := list[len(list)-1].(*rtcp.Goodbye); ok {
			break
		}
	}
}

func TestNoCodecBuilt(t *testing.T) {
	e := pbxEngine(t, nil)
	if _, err := e.NewSocket(SocketOptions{Codecs: []string{"G729", "L16"}, Remote: loopback}); !errors.Is(err, ErrNoCodec) {
		t.Errorf("got %v, want ErrNoCodec", err)
	}
}

// TestAllocSockets moves frames through real sockets and codecs, both ways.
func TestAllocSockets(t *testing.T) {
	t.Run("in the clear", func(t *testing.T) { testAllocSockets(t, SecureOff) })
	t.Run("encrypted", func(t *testing.T) { testAllocSockets(t, SecureRequired) })
}

func testAllocSockets(t *testing.T, secure Security) {
	t.Helper()
	if raceDetector && secure != SecureOff {
		t.Skip("the race detector empties the pools of the cipher")
	}
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = secure })
	var p *pbx
	seal := func(data []byte) []byte { return data }
	if secure == SecureOff {
		p = answeredPBX(t, s)
	} else {
		far := securePBX(t, s, suites[0])
		p, seal = far.pbx, far.protect
	}
	out := make(chan struct{}, 1)
	customer := testLeg(t, e.pacer, e.metrics, Opus, func(*rtp.Header, []byte) error {
		select {
		case out <- struct{}{}:
		default:
		}
		return nil
	})
	bridge := NewBridge(customer, s)
	bridge.Start()

	plain := p.packet()
	fromPBX := func() {
		plain[2], plain[3] = byte(p.number>>8), byte(p.number)
		p.number++
		data := seal(plain)
		customer.sender.anyTime()
		if _, err := p.rtp.WriteToUDPAddrPort(data, p.to); err != nil {
			t.Error(err)
		}
		<-out
	}
	var in wire
	talker := testSender(t, e.pacer, e.metrics, Opus, in.write)
	for range 200 {
		talker.anyTime()
		talker.Push(toneFrame(p.tone))
	}
	packets := in.sent()
	n := 0
	var buf [maxDatagram]byte
	p.rtp.SetReadDeadline(time.Now().Add(time.Minute))
	toPBX := func() {
		pkt := &packets[n%len(packets)]
		pkt.SequenceNumber, pkt.Timestamp = uint16(n), uint32(960*n)
		n++
		s.sender.anyTime()
		customer.receiver.anyTime()
		customer.receive(&pkt.Header, pkt.payload, time.Now())
		if _, _, err := p.rtp.ReadFromUDPAddrPort(buf[:]); err != nil {
			t.Error(err)
		}
	}
	for name, run := range map[string]func(){"from the PBX": fromPBX, "to the PBX": toPBX} {
		for range 200 {
			run()
		}
		if got := testing.AllocsPerRun(300, run); got != 0 {
			t.Errorf("%s: %v allocations per frame", name, got)
		}
	}
}

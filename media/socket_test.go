package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"wagate/config"
	"wagate/test/tone"
)

// testPorts is a range for one test; what others use in it is skipped.
func testPorts(pairs int) config.PortRange {
	first := uint16(10_000 + 2*rand.IntN(10_000))
	return config.PortRange{First: first, Last: first + uint16(2*pairs) - 1}
}

// pbxEngine has what sockets need of an Engine, on loopback.
func pbxEngine(tb testing.TB, change func(*config.Media)) *Engine {
	tb.Helper()
	p, m := testPacer(tb)
	cfg := config.Media{
		Opus:    testOpus(),
		RTP:     config.RTP{Bind: netip.MustParseAddr("127.0.0.1"), Ports: testPorts(50)},
		Timeout: time.Minute,
	}
	if change != nil {
		change(&cfg)
	}
	list, err := newPorts(cfg.RTP, m)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(list.close)
	return &Engine{cfg: cfg, log: slog.New(slog.DiscardHandler), metrics: m, pacer: p, ports: list}
}

var loopback = netip.MustParseAddr("127.0.0.1")

func pbxSocket(tb testing.TB, e *Engine, change func(*SocketOptions)) *Socket {
	tb.Helper()
	o := SocketOptions{Codecs: []string{"PCMA", "PCMU"}, Remote: loopback}
	if change != nil {
		change(&o)
	}
	s, err := e.NewSocket(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// pbx is the far end: two UDP sockets.
type pbx struct {
	t         testing.TB
	rtp, rtcp *net.UDPConn
	to        netip.AddrPort // the gateway's RTP
	number    uint16
	stamp     uint32
	ssrc      uint32
	tone      *tone.Source
}

func newPBX(tb testing.TB, addr string) *pbx {
	tb.Helper()
	listen := func() *net.UDPConn {
		var lc net.ListenConfig
		pc, err := lc.ListenPacket(context.Background(), "udp4", addr+":0")
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { pc.Close() })
		return pc.(*net.UDPConn)
	}
	return &pbx{t: tb, rtp: listen(), rtcp: listen(), ssrc: rand.Uint32(), number: 65530, tone: tone.NewSource(440, narrowRate)}
}

func port(c *net.UDPConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// sdp describes the PBX; lines replace nothing, they are added.
func (p *pbx) sdp(formats string, lines ...string) []byte {
	addr := p.rtp.LocalAddr().(*net.UDPAddr).AddrPort()
	return fmt.Appendf(nil, "v=0\r\no=pbx 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio %d RTP/AVP %s\r\n"+
		"a=rtpmap:101 telephone-event/8000\r\na=rtcp:%d\r\n%s", addr.Addr(), addr.Port(), formats, port(p.rtcp),
		strings.Join(append(lines, ""), "\r\n"))
}

// packet is the next 20 ms of the tone as a datagram.
func (p *pbx) packet() []byte {
	pcm := make([]int16, 160)
	p.tone.Read(pcm)
	pkt := rtp.Packet{
		Header:  rtp.Header{Version: 2, SSRC: p.ssrc, PayloadType: 8, SequenceNumber: p.number, Timestamp: p.stamp},
		Payload: alaw.encode(nil, pcm),
	}
	p.number++
	p.stamp += 160
	data, err := pkt.Marshal()
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

func (p *pbx) say() {
	if _, err := p.rtp.WriteToUDPAddrPort(p.packet(), p.to); err != nil {
		p.t.Fatal(err)
	}
}

// hear is the next RTP packet and where it came from.
func (p *pbx) hear() (rtp.Packet, netip.AddrPort) {
	p.t.Helper()
	var buf [maxDatagram]byte
	p.rtp.SetReadDeadline(time.Now().Add(10 * time.Second))
	n, from, err := p.rtp.ReadFromUDPAddrPort(buf[:])
	if err != nil {
		p.t.Fatalf("nothing from the gateway: %v", err)
	}
	var pkt rtp.Packet
	if err := pkt.Unmarshal(buf[:n]); err != nil {
		p.t.Fatal(err)
	}
	return pkt, from
}

// poll is the next RTP packet if one comes within two frames.
func (p *pbx) poll() (rtp.Packet, bool) {
	var buf [maxDatagram]byte
	var pkt rtp.Packet
	p.rtp.SetReadDeadline(time.Now().Add(2 * frameTime))
	n, _, err := p.rtp.ReadFromUDPAddrPort(buf[:])
	ok := err == nil && pkt.Unmarshal(buf[:n]) == nil
	return pkt, ok
}

// hears says whether anything is waiting to be read.
func (p *pbx) hears() bool {
	for _, c := range []*net.UDPConn{p.rtp, p.rtcp} {
		var buf [maxDatagram]byte
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, _, err := c.ReadFromUDPAddrPort(buf[:]); err == nil {
			return true
		}
	}
	return false
}

func (s *Socket) testAddr() netip.AddrPort { return netip.AddrPortFrom(s.local, s.pair.port) }

// until polls for what has no event of its own.
func until(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			tb.Fatalf("not within 10 s: %s", what)
		}
	}
}

// answeredPBX is a PBX that has answered the socket's offer.
func answeredPBX(tb testing.TB, s *Socket) *pbx {
	tb.Helper()
	p := newPBX(tb, "127.0.0.1")
	p.to = s.testAddr()
	if err := s.SetAnswer(p.sdp("8 101")); err != nil {
		tb.Fatal(err)
	}
	return p
}

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

// Who is not named in the answer is neither heard nor answered: before the
// answer, after it, on either port (RTP bleed and injection).
func TestSocketIgnoresStrangers(t *testing.T) {
	for _, nat := range []bool{false, true} {
		t.Run(fmt.Sprint("nat ", nat), func(t *testing.T) {
			e := pbxEngine(t, nil)
			s := pbxSocket(t, e, func(o *SocketOptions) { o.NAT = nat })
			listener := newEar(440, 1000)
			s.SetSink(listener, Format{Rate: narrowRate})
			evil := newPBX(t, "127.0.0.2")
			evil.tone = tone.NewSource(1000, narrowRate)
			n := uint64(0)
			spray := func() {
				for range 20 {
					evil.ssrc = rand.Uint32()
					evil.to = s.testAddr()
					evil.say()
					evil.to = netip.AddrPortFrom(s.local, s.pair.port+1)
					evil.say()
					n += 2
				}
				until(t, "the spray was counted", func() bool { return s.Stats().Dropped >= n })
			}
			spray()
			p := answeredPBX(t, s)
			spray()
			s.Open()
			for range 50 {
				p.say()
				spray()
				p.hear()
			}
			wait(t, "the PBX was heard", s.Heard())
			s.SetSink(nil, Format{})
			if evil.hears() {
				t.Error("the stranger got a packet")
			}
			if db, heard := listener.meter.Level(1000); heard {
				t.Errorf("the stranger was heard, %.1f dB", db)
			}
			if st := s.Stats(); st.PacketsIn != 50 || st.Lost != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// Behind NAT the PBX names an address of its own network; the first packet of
// the trunk shows the real one, and later ones do not move it.
func TestLearnedAddress(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.NAT = true })
	p, late := newPBX(t, "127.0.0.1"), newPBX(t, "127.0.0.1")
	p.to, late.to = s.testAddr(), s.testAddr()
	answer := strings.ReplaceAll(string(p.sdp("8 101")), "127.0.0.1", "192.168.7.7")
	answer = strings.ReplaceAll(answer, fmt.Sprint("m=audio ", port(p.rtp)), "m=audio 9")
	if err := s.SetAnswer([]byte(answer)); err != nil {
		t.Fatal(err)
	}
	s.Open()
	p.say()
	p.hear()
	late.say()
	until(t, "the second source is a stranger", func() bool { return s.Stats().Dropped == 1 })
	p.say()
	p.hear()
	if late.hears() {
		t.Error("a second source moved the audio")
	}
}

func TestForbiddenAddresses(t *testing.T) {
	e := pbxEngine(t, nil)
	remote := netip.MustParseAddr("192.0.2.10")
	s := pbxSocket(t, e, func(o *SocketOptions) {
		o.Remote = remote
		o.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("0.0.0.0/1")}
	})
	answer := func(addr string) error {
		return s.SetAnswer(fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n", addr))
	}
	for _, addr := range []string{"198.51.100.1", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", "169.254.169.254"} {
		if err := answer(addr); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("%s: %v, want ErrForbiddenAddress", addr, err)
		}
	}
	if err := answer("pbx.example.com"); !errors.Is(err, ErrBadSDP) {
		t.Errorf("a host name: %v, want ErrBadSDP", err)
	}
	if s.path.Load() != nil || s.Codec() != NoCodec {
		t.Error("a refused answer left something behind")
	}
	for _, addr := range []string{"192.0.2.10", "192.0.2.99", "10.0.0.1"} {
		if err := answer(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	// Where the trunk itself is on this host, so may its audio be, but never we.
	own := pbxSocket(t, e, nil)
	loop := fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n", own.pair.port)
	if err := own.SetAnswer(loop); !errors.Is(err, ErrForbiddenAddress) {
		t.Errorf("our own port: %v, want ErrForbiddenAddress", err)
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

// A port rests after a call until its far end has fallen silent.
func TestQuarantine(t *testing.T) {
	e := pbxEngine(t, func(c *config.Media) { c.RTP.Ports = testPorts(1) })
	e.ports.quiet = 300 * time.Millisecond
	var s *Socket
	until(t, "a range that is free", func() (ok bool) { // another test may sit on it
		var err error
		s, err = e.NewSocket(SocketOptions{Codecs: []string{"PCMA"}, Remote: loopback})
		if err != nil {
			e.ports.first = testPorts(1).First
		}
		return err == nil
	})
	p := answeredPBX(t, s)
	s.Open()
	p.hear()
	s.Close()
	talk := time.Now().Add(3 * e.ports.quiet)
	for time.Now().Before(talk) { // its far end has not noticed
		p.say()
		if _, err := e.NewSocket(SocketOptions{Codecs: []string{"PCMU"}, Remote: loopback}); !errors.Is(err, ErrNoPort) {
			t.Fatalf("the port was given out again: %v", err)
		}
		<-time.After(20 * time.Millisecond)
	}
	silent := time.Now()
	until(t, "the port is free again", func() bool {
		again, err := e.NewSocket(SocketOptions{Codecs: []string{"PCMU"}, Remote: loopback})
		if err != nil {
			return false
		}
		again.Close()
		return true
	})
	if d := time.Since(silent); d < e.ports.quiet-50*time.Millisecond {
		t.Errorf("free %v after the last packet", d)
	}
}

func TestEngineCloseEndsQuarantine(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, nil)
	s.Close()
	s.Close() // twice is harmless
	left := pbxSocket(t, e, nil)
	e.ports.close()
	left.Close()
	if _, err := e.NewSocket(SocketOptions{Codecs: []string{"PCMU"}, Remote: loopback}); !errors.Is(err, errClosed) {
		t.Errorf("a socket after close: %v", err)
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

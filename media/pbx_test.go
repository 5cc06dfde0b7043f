package media

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

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

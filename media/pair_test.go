package media

import (
	"net"
	"net/netip"
	"testing"

	"github.com/pion/rtp"

	"wagate/config"
)

// pair connects two of our own peers: two full ICE agents, one offers.
func pair(t *testing.T) (caller, callee *Peer) {
	t.Helper()
	return connect(t, testEngine(t, nil), testEngine(t, nil))
}

func connect(t *testing.T, from, to *Engine) (caller, callee *Peer) {
	t.Helper()
	caller, callee = testPeer(t, from), testPeer(t, to)
	negotiate(t, caller, callee)
	return caller, callee
}

// negotiate takes two peers from an offer to the connection.
func negotiate(t *testing.T, caller, callee *Peer) {
	t.Helper()
	offer, err := caller.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	answer, err := callee.Answer(t.Context(), offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := caller.SetAnswer(answer); err != nil {
		t.Fatal(err)
	}
	wait(t, "connection", caller.Connected())
	wait(t, "connection", callee.Connected())
}

// bell is a sink that tells of each frame.
type bell chan struct{}

func (b bell) Push(*Frame) { b <- struct{}{} }

// A packet from one leg's sender through ICE, SRTP and two sockets to the sink
// of the other costs nothing on the heap.
func TestAllocsThroughPeers(t *testing.T) {
	from, to := pair(t)
	heard := make(bell, 1)
	to.SetSink(heard, Format{Codec: Opus})
	h := &rtp.Header{Version: 2, PayloadType: opusType, SSRC: from.sender.ssrc()}
	payload := make([]byte, 60)
	payload[0] = 0x48
	send := func() {
		h.SequenceNumber++
		h.Timestamp += 960
		if err := from.write(h, payload); err != nil {
			t.Fatal(err)
		}
		<-heard
	}
	for range 200 {
		send()
	}
	if n := testing.AllocsPerRun(2000, send); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

// A gateway is usually bound to all addresses, of one family or of both.
func TestBoundToAllAddresses(t *testing.T) {
	if list, err := hostAddresses(false); err != nil || len(list) == 0 {
		t.Skip("this host has only loopback")
	}
	all := testEngine(t, func(c *config.Media) { c.WebRTC.Listen = netip.MustParseAddrPort("0.0.0.0:0") })
	both := testEngine(t, func(c *config.Media) { c.WebRTC.Listen = netip.MustParseAddrPort("[::]:0") })
	for _, ends := range [][2]*Engine{{all, both}, {both, all}, {both, both}} {
		from, to := connect(t, ends[0], ends[1])
		from.Open()
		wait(t, "first audio", to.Heard())
	}
}

// What comes from elsewhere than the relay never gets to a call, whatever it
// looks like.
func TestStrangersOfAPeer(t *testing.T) {
	from, to := pair(t)
	from.Open()
	wait(t, "first audio", to.Heard())
	before := to.Stats()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to.engine.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := append([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40}, make([]byte, 40)...)
	stun := append([]byte{0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42}, "transaction!\x00\x06\x00\x04"+to.own.ufrag[:4]...)
	for i := range 2000 {
		for _, b := range [][]byte{
			{0x80, 111, byte(i >> 8), byte(i), 0, 0, 0, 1, 1, 2, 3, 4, 9, 9, 9, 9}, // RTP
			{0x80, 200, 0, 6, 1, 2, 3, 4}, hello, stun, {0}, {255},
		} {
			conn.Write(b)
		}
	}
	heard := newFrames()
	to.SetSink(heard, Format{Codec: Opus})
	heard.until(t, "audio after the spray", func(f Frame) bool { return f.Kind == Audio })
	select {
	case <-to.Failed():
		t.Errorf("strangers ended the call: %v", to.Err())
	default:
	}
	if after := to.Stats(); after.Dropped != before.Dropped {
		t.Errorf("%d packets of strangers got as far as the call", after.Dropped-before.Dropped)
	}
}

func TestEngineWithoutTimeouts(t *testing.T) {
	e := testEngine(t, func(c *config.Media) { c.ICETimeout = 0 })
	if e.cfg.ICETimeout != defaultICETimeout {
		t.Errorf("ICE timeout %v", e.cfg.ICETimeout)
	}
}

package fakemeta

import (
	"context"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"wagate/test/tone"
)

// checker is a gateway's ICE agent, check by check.
type checker struct {
	t    *testing.T
	conn *net.UDPConn
	to   netip.AddrPort
}

func newChecker(t *testing.T, c *Customer) *checker {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &checker{t, conn, c.peer.relays[0].addr}
}

// check sends a binding request and returns the reply; nil: there is none.
func (k *checker) check(wait time.Duration, setters ...stun.Setter) *stun.Message {
	k.t.Helper()
	m, err := stun.Build(append([]stun.Setter{stun.TransactionID, stun.BindingRequest}, setters...)...)
	if err != nil {
		k.t.Fatal(err)
	}
	k.conn.WriteToUDPAddrPort(m.Raw, k.to)
	k.conn.SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 1500)
	n, err := k.conn.Read(buf)
	if err != nil {
		return nil
	}
	reply := &stun.Message{Raw: buf[:n]}
	if err := reply.Decode(); err != nil || reply.TransactionID != m.TransactionID {
		k.t.Fatalf("reply %v, %v", reply, err)
	}
	return reply
}

// flag is an attribute of which only the presence counts.
type flag stun.AttrType

func (f flag) AddTo(m *stun.Message) error {
	m.Add(stun.AttrType(f), nil)
	return nil
}

// credentials are what a check needs besides its attributes.
func credentials(c *Customer) (name, key, end stun.Setter) {
	return stun.NewUsername(c.offered.ufrag + ":Zk3P"), stun.NewShortTermIntegrity(c.offered.pwd), stun.Fingerprint
}

func TestChecks(t *testing.T) {
	g := start(t, Options{})
	c, _ := g.place(CallOptions{})
	k := newChecker(t, c)
	name, key, end := credentials(c)
	const none = 30 * time.Millisecond
	if m := k.check(none, name, key, end); m != nil {
		t.Errorf("an answer before our description: %v", m)
	}
	g.must(g.do("pre_accept", c.ID(), plainAnswer))
	for what, setters := range map[string][]stun.Setter{
		"wrong password":       {name, stun.NewShortTermIntegrity("something else"), end},
		"no integrity":         {name, end},
		"no fingerprint":       {name, key},
		"no name":              {key, end},
		"somebody else's name": {stun.NewUsername("nobody:Zk3P"), key, end},
		"another gateway":      {stun.NewUsername(c.offered.ufrag + ":other"), key, end},
	} {
		if m := k.check(none, setters...); m != nil {
			t.Errorf("%s: answered %v", what, m)
		}
	}
	k.conn.WriteToUDPAddrPort([]byte{0, 1, 0, 0, 1}, k.to)
	m := k.check(patience, name, key, end)
	if m == nil || m.Type != stun.BindingSuccess || stun.Fingerprint.Check(m) != nil || key.(stun.MessageIntegrity).Check(m) != nil {
		t.Fatalf("answered %v", m)
	}
	var mapped stun.XORMappedAddress
	if err := mapped.GetFrom(m); err != nil || mapped.String() != k.conn.LocalAddr().String() {
		t.Errorf("mapped %v, %v", mapped, err)
	}
	m = k.check(patience, name, flag(stun.AttrICEControlled), key, end)
	if m == nil || m.Type != stun.BindingError {
		t.Errorf("a controlled gateway got %v", m)
	}
	if _, err := g.meta.WaitViolation(g.ctx(), RoleConflict); err != nil {
		t.Error(err)
	}
	if r := c.Report(); r.EarlySTUN != 1 || r.StrangeSTUN != 3 {
		t.Errorf("noted %+v", r)
	}
	c.Vanish()
	if m := k.check(none, name, key, end); m != nil {
		t.Error("a vanished customer answers")
	}
	c.Return()
	if m := k.check(patience, name, key, end); m == nil {
		t.Error("a customer who is back does not answer")
	}
}

// TestSharedPair: two calls of which both ends have the same port cannot be
// told apart.
func TestSharedPair(t *testing.T) {
	g := start(t, Options{SharePort: true})
	a, _ := g.place(CallOptions{})
	b, _ := g.place(CallOptions{})
	k := newChecker(t, a)
	for _, c := range []*Customer{a, b} {
		g.must(g.do("pre_accept", c.ID(), plainAnswer))
		name, key, end := credentials(c)
		if m := k.check(patience, name, flag(stun.AttrUseCandidate), key, end); m == nil {
			t.Fatal("no answer")
		}
	}
	v, err := g.meta.WaitViolation(g.ctx(), SharedPair)
	if err != nil || v.CallID != b.ID() {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestLiveIPv6(t *testing.T) {
	probe, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 loopback")
	}
	probe.Close()
	g := start(t, Options{})
	c, offer := g.place(CallOptions{IPv6: LiveIPv6})
	if len(c.peer.relays) != 2 || !strings.Contains(offer, " 2122262783 ::1 ") {
		t.Fatalf("offer %s", offer)
	}
	l := newLeg(t)
	answer := l.answer(offer)
	g.must(g.do("accept", c.ID(), answer))
	l.wait() // over IPv4, the peer has no other
}

// TestWrongCertificate: the handshake fails when the certificate is not the one
// of the description.
func TestWrongCertificate(t *testing.T) {
	g := start(t, Options{})
	c, offer := g.place(CallOptions{})
	l := newLeg(t)
	l.answer(offer)
	answer := ownText(l.pc.LocalDescription().SDP, "active")
	at := strings.Index(answer, "sha-256 ") + len("sha-256 ")
	g.must(g.do("accept", c.ID(), answer[:at]+plainPrint+answer[at+len(plainPrint):]))
	if v, err := g.meta.WaitViolation(g.ctx(), NoHandshake); err != nil || !strings.Contains(v.Detail, "certificate") {
		t.Errorf("%+v, %v", v, err)
	}
	if c.Report().Secured {
		t.Error("secured")
	}
}

func TestSecondSSRC(t *testing.T) {
	g := start(t, Options{})
	c, l, stop := g.up(CallOptions{})
	stop()
	l.wg.Wait()
	// The same keys, another source: what a careless transfer does.
	p := c.peer
	p.heard.mu.Lock()
	p.streamOf(12345)
	p.heard.mu.Unlock()
	if _, err := g.meta.WaitViolation(g.ctx(), SecondSSRC); err != nil {
		t.Error(err)
	}
}

// TestReports: both sides report, and the customer reads what it is told.
func TestReports(t *testing.T) {
	g := start(t, Options{})
	c, _, stop := g.up(CallOptions{})
	defer stop()
	g.until("there is a sender report", func() bool { return c.Report().RTCP.Senders > 0 })
	if r := c.Report().RTCP; r.Sent == 0 || r.Last.IsZero() || r.CNAME == "" && r.Packets == 0 {
		t.Errorf("RTCP %+v", r)
	}
}

// TestCloseAmid: Close in the middle of everything leaves nothing behind.
func TestCloseAmid(t *testing.T) {
	g := start(t, Options{SharePort: true})
	_, _, stop := g.up(CallOptions{})
	defer stop()
	g.meta.Fail(Fault{Kind: Hang})
	g.meta.Disturb(Upset{Swap: true})
	g.meta.Batch(9, time.Hour)
	c, err := g.meta.Call(g.ctx(), CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hanging := make(chan graphReply, 1)
	go func() { hanging <- g.do("reject", c.ID(), "") }()
	if err := g.meta.Close(); err != nil {
		t.Error(err)
	}
	<-hanging
	if _, err := g.meta.Call(context.Background(), CallOptions{}); err == nil {
		t.Error("a call after Close")
	}
}

// TestG711: the other codecs carry a tone too.
func TestG711(t *testing.T) {
	for _, name := range []string{"opus", "PCMA", "PCMU"} {
		k, err := newCoder(coding{name: name})
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDecoder()
		if err != nil {
			t.Fatal(err)
		}
		src, meter := tone.NewSource(440, rate), tone.NewMeter(rate, 440)
		pcm := make([]int16, frameSamples)
		for range 50 {
			src.Read(pcm)
			b, err := k.encode(make([]byte, 0, mtu), pcm)
			if err != nil {
				t.Fatal(err)
			}
			if name != "opus" && len(b) != 160 {
				t.Fatalf("%s: %d bytes", name, len(b))
			}
			meter.Write(d.decode(name, b))
		}
		meter.Write(d.conceal(name))
		if level, heard := meter.Level(440); !heard || math.Abs(level-tone.DefaultLevel) > 3 {
			t.Errorf("%s: %v dBFS, %v", name, level, heard)
		}
	}
}

func TestBookKeepsTheNewest(t *testing.T) {
	b := newBook[int](10)
	for i := range 100 {
		b.add(i)
	}
	rows := b.all()
	if len(rows) < 10 || rows[len(rows)-1] != 99 {
		t.Errorf("kept %v", rows)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := b.wait(ctx, "row", func(i int) bool { return i == 3 }); err == nil {
		t.Error("an old row is still there")
	}
	go b.add(1000)
	if got, err := b.wait(t.Context(), "row", func(i int) bool { return i == 1000 }); err != nil || got != 1000 {
		t.Errorf("got %d, %v", got, err)
	}
}

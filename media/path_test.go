package media

import (
	"bytes"
	"errors"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"
)

// somebody opens a socket that stands for somebody on the network.
func somebody(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// basket notes what it gets.
type basket struct{ got []string }

func (t *basket) deliver(data []byte) { t.got = append(t.got, string(data)) }

// Media reaches the call that selected its source, and nobody else; all the rest
// is for ICE.
func TestMediaGoesToWhoSelectedItsSource(t *testing.T) {
	socket, at := somebody(t)
	relay, relayAt := somebody(t)
	other, otherAt := somebody(t)
	c := newHubConn(socket)
	var a, b basket
	none := netip.AddrPort{}
	const media = "\x80media"
	for _, step := range []struct {
		what   string
		change func()
		from   *net.UDPConn
		send   string
		want   *basket // nil: ICE
	}{
		{"from a stranger", func() {}, relay, media, nil},
		{"from the selected address", func() { c.assign(&a, none, relayAt) }, relay, media, &a},
		{"the highest first byte", func() {}, relay, "\xbfmedia", &a},
		{"a report", func() {}, relay, "\x81\xc8report", &a},
		{"from another address", func() {}, other, media, nil},
		{"STUN", func() {}, relay, "\x01\x01stun", nil},
		{"DTLS", func() {}, relay, "\x16dtls", nil},
		{"below media", func() {}, relay, "\x7fnone", nil},
		{"above media", func() {}, relay, "\xc0none", nil},
		{"too short", func() {}, relay, "\x80", nil},
		{"nothing", func() {}, relay, "", nil},
		{"of another call", func() { c.assign(&b, none, otherAt) }, other, media, &b},
		{"from an address that two selected", func() { c.assign(&b, otherAt, relayAt) }, relay, media, nil},
		{"from one that was left", func() {}, other, media, nil},
		{"when one of the two has gone", func() { c.assign(&a, relayAt, none) }, relay, media, &b},
		{"when both have", func() { c.assign(&b, relayAt, none) }, relay, media, nil},
	} {
		step.change()
		a.got, b.got = nil, nil
		const end = "\x00end" // STUN, so that the reader comes back
		for _, s := range []string{step.send, end} {
			if _, err := step.from.WriteToUDPAddrPort([]byte(s), at); err != nil {
				t.Fatal(err)
			}
		}
		var ice []string
		for in := make([]byte, maxDatagram); len(ice) == 0 || ice[len(ice)-1] != end; {
			n, from, err := c.ReadFromAddrPort(in)
			if err != nil {
				t.Fatal(err)
			}
			if from != step.from.LocalAddr().(*net.UDPAddr).AddrPort() {
				t.Errorf("%s: read as from %v", step.what, from)
			}
			ice = append(ice, string(in[:n]))
		}
		if ice = ice[:len(ice)-1]; step.want == nil {
			if len(ice) != 1 || ice[0] != step.send || len(a.got)+len(b.got) != 0 {
				t.Errorf("%s: ICE has %q, the calls have %q and %q", step.what, ice, a.got, b.got)
			}
			continue
		}
		if len(ice) != 0 || len(a.got)+len(b.got) != 1 || len(step.want.got) != 1 || step.want.got[0] != step.send {
			t.Errorf("%s: ICE has %q, the calls have %q and %q", step.what, ice, a.got, b.got)
		}
	}
	if len(c.owners) != 0 {
		t.Errorf("addresses that nobody selected any more: %v", c.owners)
	}
}

func TestInboxKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		var got [][]byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			for rest := b.take(); rest != nil; rest = b.take() {
				for len(rest) > 0 {
					var data []byte
					data, rest = first(rest)
					got = append(got, bytes.Clone(data))
				}
			}
		}()
		for n := range 300 {
			if !b.put(bytes.Repeat([]byte{byte(n)}, n)) {
				t.Fatalf("datagram %d found no room", n)
			}
			if n%7 == 0 { // else several lie there
				synctest.Wait()
			}
		}
		synctest.Wait()
		b.close()
		<-done
		if len(got) != 300 {
			t.Fatalf("%d datagrams of 300", len(got))
		}
		for n, data := range got {
			if !bytes.Equal(data, bytes.Repeat([]byte{byte(n)}, n)) {
				t.Errorf("datagram %d came out as %x", n, data)
			}
		}
		if b.put([]byte{1}) || b.take() != nil {
			t.Error("a closed inbox is used")
		}
	})
}

// Who has no time loses his own packets, which are counted, and holds no more
// memory for it.
func TestInboxOverflows(t *testing.T) {
	p := testPeer(t, testEngine(t, nil))
	packet := make([]byte, 190)
	const fit = inboxSize / (190 + 2)
	for range fit + 25 {
		p.deliver(packet)
	}
	if got := p.Stats().Dropped; got != 25 {
		t.Errorf("%d packets lost, want 25", got)
	}
	if n := cap(p.inbox.in); n != inboxSize {
		t.Errorf("the inbox grew to %d", n)
	}
	n := 0
	for rest := p.inbox.take(); len(rest) > 0; n++ {
		_, rest = first(rest)
	}
	if n != fit {
		t.Errorf("%d packets lie there, want %d", n, fit)
	}
	if p.deliver(packet); p.Stats().Dropped != 25 {
		t.Error("no room after the packets were taken")
	}
}

// Media follows the pair that ICE has selected, both ways, and is nobody's and
// goes nowhere after Close. The far end moves here as a phone does that changes
// its network: checks with the call's credentials come from another address.
func TestPathFollowsThePair(t *testing.T) {
	from, to := testPeer(t, testEngine(t, nil)), testPeer(t, testEngine(t, nil))
	offer, err := from.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	poor := regexp.MustCompile(`(a=candidate:\S+ 1 udp) \d+ `).ReplaceAllString(offer, "$1 1 ")
	answer, err := to.Answer(t.Context(), poor)
	if err != nil {
		t.Fatal(err)
	}
	if err := from.SetAnswer(answer); err != nil {
		t.Fatal(err)
	}
	wait(t, "connection", to.Connected())
	wait(t, "connection", from.Connected())
	owners := func() []netip.AddrPort {
		c := to.engine.shared.conn
		c.mu.RLock()
		defer c.mu.RUnlock()
		return slices.Collect(maps.Keys(c.owners))
	}
	if got, want := *to.path.remote.Load(), from.engine.Addr(); got != want || !slices.Equal(owners(), []netip.AddrPort{want}) {
		t.Errorf("connected with %v, media goes to %v and comes from %v", want, got, owners())
	}

	moved, err := openHub(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer moved.close()
	agent, err := newAgent(t.Context(), moved, from.own, []netip.AddrPort{moved.bound}, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer agent.GracefulClose()
	r, err := parseWebRTC(answer)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := startChecks(agent, r, true)
	if err != nil {
		t.Fatal(err)
	}
	to.Open()
	in := make([]byte, maxDatagram)
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(in); err != nil || n < 12 || in[0]>>6 != 2 {
		t.Fatalf("where the far end is now came %x, %v", in[:n], err)
	}
	if got := *to.path.remote.Load(); got != moved.bound || !slices.Equal(owners(), []netip.AddrPort{got}) {
		t.Errorf("moved to %v, media goes to %v and comes from %v", moved.bound, got, owners())
	}
	from.Open() // the former address is still a candidate of the call, and ICE lets it in
	wait(t, "audio from the former address", to.Heard())

	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	to.follow(to.agent)
	if list := owners(); len(list) != 0 || to.path.remote.Load() != nil {
		t.Errorf("after Close media still comes from %v", list)
	}
	if err := to.write(&rtp.Header{Version: 2}, nil); !errors.Is(err, errNoPath) {
		t.Errorf("a packet after Close: %v", err)
	}
}

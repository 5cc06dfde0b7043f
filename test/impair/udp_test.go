package impair

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// far is an end that notes what it gets.
type far struct {
	conn *net.UDPConn
	got  chan []byte
	from chan netip.AddrPort
}

func newFar(t *testing.T) *far {
	t.Helper()
	conn, err := listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	f := &far{conn, make(chan []byte, 1000), make(chan netip.AddrPort, 1000)}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, packetMax)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			f.got <- bytes.Clone(buf[:n])
			f.from <- from
		}
	})
	t.Cleanup(func() {
		_ = conn.Close()
		wg.Wait()
	})
	return f
}

func (f *far) send(t *testing.T, to netip.AddrPort, text string) {
	t.Helper()
	if _, err := f.conn.WriteToUDPAddrPort([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}

func (f *far) want(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	select {
	case got := <-f.got:
		if string(got) != text {
			t.Fatalf("got %q, want %q", got, text)
		}
		return <-f.from
	case <-time.After(10 * time.Second):
		t.Fatalf("%q did not come", text)
	}
	return netip.AddrPort{}
}

func relay(t *testing.T, to *far, o Options) *UDP {
	t.Helper()
	r, err := NewUDP(local(to.conn), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// TestEachClientGetsItsAnswers, whether the client or the target speaks first.
func TestEachClientGetsItsAnswers(t *testing.T) {
	target, a, b := newFar(t), newFar(t), newFar(t)
	r := relay(t, target, Options{})
	a.send(t, r.Addr(), "a")
	atA := target.want(t, "a")
	atB, err := r.Toward(local(b.conn))
	if err != nil {
		t.Fatal(err)
	}
	target.send(t, atB, "to b")
	if from := b.want(t, "to b"); from != r.Addr() {
		t.Errorf("b hears from %v, want %v", from, r.Addr())
	}
	b.send(t, r.Addr(), "b")
	if from := target.want(t, "b"); from != atB || from == atA {
		t.Errorf("b is %v at the target, want %v", from, atB)
	}
	target.send(t, atA, "to a")
	a.want(t, "to a")
	a.send(t, atA, "a stranger at the back door")
	target.send(t, atA, "to a again")
	a.want(t, "to a again")
}

// TestNetworkChangesWhilePacketsPass: cut and mended on one way, while the other
// way and the packets that are not meant go on.
func TestNetworkChangesWhilePacketsPass(t *testing.T) {
	target, a := newFar(t), newFar(t)
	var mu sync.Mutex
	var seen []string
	r := relay(t, target, Options{
		Only: func(p []byte) bool { return p[0] != '!' },
		Watch: func(w Way, p []byte, f Fate) {
			mu.Lock()
			defer mu.Unlock()
			if w == Up {
				seen = append(seen, string(p))
				if f.Copies == 0 {
					seen = append(seen, "lost")
				}
			}
		},
	})
	a.send(t, r.Addr(), "1")
	back := target.want(t, "1")
	r.Set(Up, Network{Cut: true})
	a.send(t, r.Addr(), "2")
	a.send(t, r.Addr(), "!")
	target.want(t, "!")
	target.send(t, back, "down")
	a.want(t, "down")
	r.Set(Up, Network{Delay: 30 * time.Millisecond, Duplicate: 1})
	began := time.Now()
	a.send(t, r.Addr(), "3")
	target.want(t, "3")
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("came after %v, want 30 ms", took)
	}
	target.want(t, "3")
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"1", "2", "lost", "3"}; len(seen) != len(want) || seen[2] != "lost" || seen[3] != "3" {
		t.Errorf("saw %q, want %q", seen, want)
	}
}

func TestPairOfPorts(t *testing.T) {
	one, two, client := newFar(t), newFar(t), newFar(t)
	a, b, err := NewPair(local(one.conn), local(two.conn), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	if a.Addr().Port()%2 != 0 || b.Addr().Port() != a.Addr().Port()+1 {
		t.Errorf("ports %v and %v", a.Addr(), b.Addr())
	}
	client.send(t, a.Addr(), "rtp")
	client.send(t, b.Addr(), "rtcp")
	one.want(t, "rtp")
	two.want(t, "rtcp")
}

func TestWhatIsRTP(t *testing.T) {
	long := make([]byte, 20)
	with := func(a, b byte) []byte { p := bytes.Clone(long); p[0], p[1] = a, b; return p }
	for _, c := range []struct {
		packet []byte
		want   bool
	}{
		{with(0x80, 111), true},
		{with(0x90, 0x80|8), true}, // marker, extension
		{with(0x80, 200), false},   // SR
		{with(0x81, 201), false},   // RR
		{with(0x00, 1), false},     // STUN
		{with(22, 0xfe), false},    // DTLS
		{with(0x80, 0)[:11], false},
	} {
		if got := RTP(c.packet); got != c.want {
			t.Errorf("% x: %v", c.packet[:2], got)
		}
	}
}

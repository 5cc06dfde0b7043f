package test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// The addresses of the PBX and of everybody else.
const (
	trusted  = "127.0.0.1"
	stranger = "127.0.0.2"
)

// fortress is a rig whose trunk speaks from one address only, with one call up.
func fortress(t *testing.T) (*rig.Rig, context.Context, *fakemeta.Customer, *faketrunk.Call) {
	t.Helper()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		c.Trunks[0].Sources = []netip.Prefix{netip.MustParsePrefix(trusted + "/32")}
		c.SIP.Listen = []string{"udp://0.0.0.0:0", "tcp://0.0.0.0:0"}
		c.SIP.PublicHost = trusted
		c.Media.RTP.Bind = netip.MustParseAddr("0.0.0.0")
		c.Media.RTP.PublicIP = netip.MustParseAddr(trusted)
	}})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{Sound: fakemeta.Sound{Hear: []float64{rig.PhoneTone, lateTone}}})
	return r, ctx, customer, phone
}

// unharmed asserts that the call went on through it all and ends it.
func unharmed(ctx context.Context, t *testing.T, r *rig.Rig, customer *fakemeta.Customer, phone *faketrunk.Call) {
	t.Helper()
	for _, g := range append(customer.Meter().Gaps(), phone.Audio().Meter().Gaps()...) {
		t.Logf("%v Hz was missing for %v", g.Freq, g.Length) // of a busy machine; lost packets are counted below
	}
	if _, heard := customer.Meter().Level(lateTone); heard {
		t.Error("the customer hears a stranger")
	}
	hearing(ctx, t, customer, phone)
	customer.HangUp()
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "hangup", "customer")
	wantSteadyAtCustomer(t, customer)
	wantSteadyAtPhone(t, phone)
}

// port is the port of one of the gateway's SIP listeners.
func port(t *testing.T, r *rig.Rig, proto string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(r.Gateway.SIPAddr(proto))
	must(t, err)
	return p
}

// from opens a UDP socket of that address towards a port of the gateway.
func from(t *testing.T, address, port string) *net.UDPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(address)}}
	conn, err := d.DialContext(t.Context(), "udp", net.JoinHostPort(trusted, port))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.UDPConn)
}

// weight is what the process holds.
type weight struct {
	goroutines int
	heap       uint64
}

func weigh() weight {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return weight{runtime.NumGoroutine(), m.HeapAlloc}
}

// lighter waits until the process holds hardly more than before. No other test
// runs beside.
func lighter(ctx context.Context, t *testing.T, before weight) {
	t.Helper()
	const goroutines, heap = 20, 10 << 20
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	limit := time.NewTimer(15 * time.Second)
	defer limit.Stop()
	for {
		now := weigh()
		if now.goroutines < before.goroutines+goroutines && now.heap < before.heap+heap {
			t.Logf("%d goroutines, was %d; heap %d KiB, was %d KiB", now.goroutines, before.goroutines, now.heap>>10, before.heap>>10)
			return
		}
		select {
		case <-poll.C:
		case <-limit.C:
			t.Fatalf("%+v, was %+v", now, before)
		case <-ctx.Done():
			t.Fatal(ctx.Err())
		}
	}
}

func invite(n int, to string) []byte {
	body := "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n"
	return fmt.Appendf(nil, "INVITE sip:+34600111222@%s SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK%d;rport\r\n"+
		"Max-Forwards: 70\r\nFrom: <sip:100@127.0.0.2>;tag=%d\r\nTo: <sip:+34600111222@%s>\r\nCall-ID: flood-%d\r\nCSeq: 1 INVITE\r\n"+
		"Contact: <sip:100@127.0.0.2>\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", to, n, n, to, n, len(body), body)
}

// TestFloodOfInvites: 20,000 INVITEs of a stranger in two seconds get no answer,
// cost nothing that stays, and the call that is up does not notice.
func TestFloodOfInvites(t *testing.T) {
	const total, burst, every = 20_000, 100, 10 * time.Millisecond
	r, ctx, customer, phone := fortress(t)
	udp := port(t, r, "udp")
	conn := from(t, stranger, udp)
	before := weigh()
	began := time.Now()
	pace := time.NewTicker(every)
	defer pace.Stop()
	for n := 0; n < total; {
		<-pace.C
		for range burst {
			n++
			_, err := conn.Write(invite(n, trusted+":"+udp))
			must(t, err)
		}
	}
	t.Logf("%d INVITEs in %v", total, time.Since(began).Round(10*time.Millisecond))
	during := weigh()
	if during.goroutines > before.goroutines+50 {
		t.Errorf("%d goroutines during the flood, %d before", during.goroutines, before.goroutines)
	}
	wantNothingBack(t, conn)
	if n := metric(t, r, "wagate_sip_requests_rejected_total", "reason", "source"); n == 0 {
		t.Error("nothing of it was counted")
	}
	lighter(ctx, t, before)
	second, _ := talking(ctx, t, r, fakemeta.CallOptions{}) // and new calls are welcome
	second.HangUp()
	unharmed(ctx, t, r, customer, phone)
}

// wantNothingBack asserts that no packet has come to the socket.
func wantNothingBack(t *testing.T, conn net.Conn) {
	t.Helper()
	must(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	buf := make([]byte, 2048)
	if n, err := conn.Read(buf); err == nil {
		t.Errorf("%v got an answer: %.60q", conn.LocalAddr(), buf[:n])
	}
}

// TestGarbageOnSIP: noise from strangers and from the PBX's own address harms
// nobody.
func TestGarbageOnSIP(t *testing.T) {
	r, ctx, customer, phone := fortress(t)
	udp := port(t, r, "udp")
	before := weigh()
	strange, known := from(t, stranger, udp), from(t, trusted, udp)
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	noise := make([]byte, 1400)
	for n := range 2000 {
		<-pace.C
		size := mrand.IntN(len(noise))
		_, _ = rand.Read(noise[:size])
		raw := noise[:size]
		if n%2 == 0 { // a request with a few bytes wrong
			raw = invite(n, trusted+":"+udp)
			for range 1 + mrand.IntN(20) {
				raw[mrand.IntN(len(raw))] = byte(mrand.IntN(256))
			}
		}
		_, _ = strange.Write(raw)
		_, _ = known.Write(raw)
	}
	wantNothingBack(t, strange)
	lighter(ctx, t, before)
	unharmed(ctx, t, r, customer, phone)
}

// TestHalfOpenTCP: connections that say nothing, or half of something, are
// closed, and calls over TCP go on.
func TestHalfOpenTCP(t *testing.T) {
	r, ctx, customer, phone := fortress(t)
	tcp := port(t, r, "tcp")
	before := weigh()
	var conns []net.Conn
	for i := range 300 {
		source := stranger
		if i%3 == 0 {
			source = trusted
		}
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: time.Second}
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(trusted, tcp))
		if err != nil {
			continue // turned away already
		}
		defer func() { _ = conn.Close() }()
		switch i % 4 {
		case 1:
			_, _ = conn.Write([]byte("INVITE sip:x@y SIP/2.0\r\nVia: "))
		case 2:
			_, _ = conn.Write([]byte(strings.Repeat("a", 100<<10)))
		case 3:
			_, _ = conn.Write([]byte("OPTIONS sip:x SIP/2.0\r\nContent-Length: 4294967306\r\n\r\n"))
		}
		conns = append(conns, conn)
	}
	closed := 0
	limit := time.Now().Add(15 * time.Second)
	for _, conn := range conns {
		must(t, conn.SetReadDeadline(limit))
		buf := make([]byte, 4096)
		var err error
		for err == nil {
			_, err = conn.Read(buf)
		}
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() {
			closed++
		}
	}
	t.Logf("%d of %d connections were closed", closed, len(conns))
	if closed != len(conns) {
		t.Errorf("%d half-open connections are still there", len(conns)-closed)
	}
	lighter(ctx, t, before)
	unharmed(ctx, t, r, customer, phone)
}

// TestStrangersOnTheAudioPorts: RTP, RTCP, STUN and noise of others are neither
// heard nor answered, and nothing of the call goes to them.
func TestStrangersOnTheAudioPorts(t *testing.T) {
	r, ctx, customer, phone := fortress(t)
	rtp := rtpPort(t, phone)
	n, err := strconv.Atoi(rtp)
	must(t, err)
	ports := []string{rtp, strconv.Itoa(n + 1), webrtcPort(t, r)}
	before := weigh()
	var wg sync.WaitGroup
	for _, p := range ports {
		for _, source := range []string{stranger, trusted} {
			conn := from(t, source, p)
			wg.Go(func() { spray(ctx, conn, 1) })
			defer wantNothingBack(t, conn)
		}
	}
	wg.Wait()
	lighter(ctx, t, before)
	unharmed(ctx, t, r, customer, phone)
}

// TestTenThousandPacketsASecond of a stranger, for two seconds, are neither heard
// nor answered.
func TestTenThousandPacketsASecond(t *testing.T) {
	r, ctx, customer, phone := fortress(t)
	conn := from(t, stranger, rtpPort(t, phone))
	defer wantNothingBack(t, conn)
	spray(ctx, conn, 50)
	unharmed(ctx, t, r, customer, phone)
}

// rtpPort is where the gateway takes the phone's audio, as it told the phone.
func rtpPort(t *testing.T, phone *faketrunk.Call) string {
	t.Helper()
	rtp := regexp.MustCompile(`m=audio (\d+)`).FindSubmatch(phone.Invite().Body)
	if rtp == nil {
		t.Fatal("no port in the INVITE")
	}
	return string(rtp[1])
}

// webrtcPort is where the gateway takes media from Meta, as it told Meta.
func webrtcPort(t *testing.T, r *rig.Rig) string {
	t.Helper()
	for _, q := range r.Meta.Requests() {
		if at := regexp.MustCompile(`a=candidate:\S+ 1 \S+ \d+ \S+ (\d+) typ host`).FindStringSubmatch(q.SDP); at != nil {
			return at[1]
		}
	}
	t.Fatal("no candidate in any answer")
	return ""
}

// spray sends two seconds of loud RTP, and RTCP, STUN, DTLS and noise in between:
// so many packets every 5 ms.
func spray(ctx context.Context, conn net.Conn, burst int) {
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for n := range 400 * burst {
		if n%burst == 0 {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
		}
		raw := make([]byte, 12+160)
		switch n % 8 {
		case 5: // RTCP
			raw = append([]byte{0x80, 200, 0, 6}, make([]byte, 24)...)
		case 6: // a STUN binding request
			raw = append([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}, make([]byte, 12)...)
		case 7: // a ClientHello, or what begins like one
			raw = append([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40}, make([]byte, 40)...)
		case 4:
			_, _ = rand.Read(raw)
		default: // A-law, 1000 Hz: eight samples are a period
			raw[0], raw[1] = 0x80, 8
			binary.BigEndian.PutUint16(raw[2:], uint16(n))
			binary.BigEndian.PutUint32(raw[4:], uint32(n*160))
			binary.BigEndian.PutUint32(raw[8:], 0xbad)
			for i := range raw[12:] {
				raw[12+i] = []byte{0xd5, 0xa7, 0xaa, 0xa7, 0xd5, 0x27, 0x2a, 0x27}[i%8]
			}
		}
		_, _ = conn.Write(raw)
	}
}

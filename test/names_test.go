//go:build system || soak

package test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// nameServer knows that everything is on this machine.
type nameServer struct {
	conn   *net.UDPConn
	mood   atomic.Int32
	asked  atomic.Int32
	closed chan struct{}
}

// The moods of a name server.
const (
	answers int32 = iota
	fails         // SERVFAIL
	isSilent
)

// nameServerAt serves names on port 53 of an address of this machine.
func nameServerAt(t *testing.T, ip string) *nameServer {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 53)))
	if err != nil {
		t.Skipf("no name server here: %v", err)
	}
	s := &nameServer{conn: conn, closed: make(chan struct{})}
	go s.serve()
	t.Cleanup(func() {
		_ = conn.Close()
		<-s.closed
	})
	return s
}

func (s *nameServer) serve() {
	defer close(s.closed)
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		s.asked.Add(1)
		var m dnsmessage.Message
		if s.mood.Load() == isSilent || m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response, m.Authoritative, m.Additionals = true, true, nil
		switch {
		case s.mood.Load() == fails:
			m.RCode = dnsmessage.RCodeServerFailure
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		if raw, err := m.Pack(); err == nil {
			_, _ = s.conn.WriteToUDPAddrPort(raw, from)
		}
	}
}

// ownResolver runs the program where that server alone knows names, and that of
// this machine too.
func ownResolver(t *testing.T, ip string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("an own resolv.conf needs root")
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	must(t, os.WriteFile(conf, fmt.Appendf(nil, "nameserver %s\n", ip), 0o644))
	wrap := []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && mount --bind /dev/null /etc/hosts && exec "$@"`, conf}
	if out, err := command(t.Context(), wrap[0], append(wrap[1:], "true")...).CombinedOutput(); err != nil {
		t.Skipf("no own resolv.conf here: %v: %s", err, out)
	}
	return wrap
}

// TestNamesAreDead is C13: with a resolver that fails or is silent, what runs goes
// on and ends, and new calls go where the names led last.
func TestNamesAreDead(t *testing.T) {
	t.Parallel()
	const ip = "127.0.53.1"
	names := nameServerAt(t, ip)
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	with := setup{Extra: dialOutFile, Wrap: ownResolver(t, ip)}
	with.Target, with.GraphName = "sip:pbx.test:%d;transport=udp", "localhost"
	d := setUp(t, with)
	d.pbx.Handle(answering(0))
	d.meta.Callee("", fakemeta.Callee{Answer: time.Millisecond})
	d.start(ctx)
	running, phone := d.talks(ctx, "34600113201")
	if names.asked.Load() == 0 {
		t.Fatal("the name server was not asked")
	}
	var slowest time.Duration
	names.asked.Store(0)
	for i, mood := range []int32{isSilent, fails} {
		names.mood.Store(mood)
		c, ear := d.talks(ctx, fmt.Sprintf("3460011321%d", i))
		slowest = max(slowest, c.Report().Connected.Sub(c.Report().Placed))
		must(t, ear.Hangup(ctx))
		must(t, c.Wait(ctx, fakemeta.Ended))
		began := time.Now()
		agent, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + d.sip, From: "201"})
		must(t, err)
		must(t, agent.Wait(ctx, faketrunk.Up))
		slowest = max(slowest, time.Since(began))
		must(t, agent.Hangup(ctx))
		hearing(ctx, t, running, phone)
	}
	if names.asked.Load() == 0 {
		t.Error("the dead name server was not asked")
	}
	t.Logf("C13: with a dead name server calls of both directions were set up in %.2f s at most, 0 lost", slowest.Seconds())
	must(t, phone.Hangup(ctx))
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.wantOneRecordEach(ctx)
	d.wantAtRest(ctx)
}

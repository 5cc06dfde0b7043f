package sip

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wagate/config"
)

// zone is a name server for one test: SRV of _sip._udp.pbx.test in two
// priorities, and addresses of the two hosts.
type zone struct {
	conn  *net.UDPConn
	dead  atomic.Bool // answers SERVFAIL
	moved atomic.Bool // two.pbx.test has another address
	apex  atomic.Bool // SRV is not answered, but pbx.test has an address
}

func newZone(t *testing.T) *zone {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{conn: conn}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			conn.WriteToUDPAddrPort(z.answer(buf[:n]), from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return z
}

func (z *zone) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", z.conn.LocalAddr().String())
	}}
}

// answer writes the response to a query by hand (RFC 1035 section 4).
func (z *zone) answer(query []byte) []byte {
	end := 12
	var labels []string
	for query[end] != 0 {
		labels = append(labels, string(query[end+1:end+1+int(query[end])]))
		end += 1 + int(query[end])
	}
	kind := binary.BigEndian.Uint16(query[end+1:])
	question := query[12 : end+5]
	var records [][]byte
	record := func(data ...byte) {
		r := []byte{0xc0, 12, byte(kind >> 8), byte(kind), 0, 1, 0, 0, 0, 60, 0, byte(len(data))}
		records = append(records, append(r, data...))
	}
	const srv, a = 33, 1
	name := strings.Join(labels, ".")
	switch {
	case name == "_sip._udp.pbx.test" && kind == srv:
		record(append([]byte{0, 20, 0, 1, 0x13, 0xc4}, "\x03two\x03pbx\x04test\x00"...)...)
		record(append([]byte{0, 10, 0, 1, 0x13, 0xce}, "\x03one\x03pbx\x04test\x00"...)...)
	case name == "_sips._tcp.pbx.test" && kind == srv:
		record(append([]byte{0, 10, 0, 1, 0x13, 0xc5}, "\x03one\x03pbx\x04test\x00"...)...)
	case name == "one.pbx.test" && kind == a:
		record(10, 0, 0, 1)
	case name == "pbx.test" && kind == a && z.apex.Load():
		record(10, 0, 0, 80)
	case name == "two.pbx.test" && kind == a && z.moved.Load():
		record(10, 0, 0, 3)
	case name == "two.pbx.test" && kind == a:
		record(10, 0, 0, 9)
		record(10, 0, 0, 2)
	}
	status := byte(0)
	switch {
	case z.dead.Load(), z.apex.Load() && kind == srv:
		status, records = 2, nil
	case len(records) == 0 && kind == srv:
		status = 3
	}
	out := append([]byte{}, query[:2]...)
	out = append(out, 0x84, 0x80|status, 0, 1, 0, byte(len(records)), 0, 0, 0, 0)
	return append(append(out, question...), slices.Concat(records...)...)
}

// TestServiceRecordsOfTLS are others, and the certificate has to name the domain
// that the operator wrote, not the host that DNS led to.
func TestServiceRecordsOfTLS(t *testing.T) {
	z := newZone(t)
	tr, err := newTrunk(config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:pbx.test;transport=tls"}, {URI: "sips:two.pbx.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	tr.resolve(t.Context(), z.resolver())
	want := []string{"sip:one.pbx.test:5061;transport=tls", "sips:two.pbx.test"}
	if got := tr.targets(time.Now()); !slices.Equal(got, want) {
		t.Fatalf("targets are %v, want %v", got, want)
	}
	for text, to := range map[string]endpoint{
		want[0]: {"tls", netip.MustParseAddrPort("10.0.0.1:5061"), "pbx.test"},
		want[1]: {"tls", netip.MustParseAddrPort("10.0.0.2:5061"), "two.pbx.test"},
	} {
		if got, ok := tr.place(text); !ok || got != to {
			t.Errorf("%s is at %+v, want %+v", text, got, to)
		}
	}
}

// TestServiceRecordsShareByWeight: within a priority each call draws anew, and a
// lower priority comes first only where a higher one is dead.
func TestServiceRecordsShareByWeight(t *testing.T) {
	srv := func(text string, priority uint16, weight int) place {
		return place{text: text, srv: "pbx.test", priority: priority, weight: weight*srvScale + 1, to: endpoint{proto: "udp", addr: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(len(text)))}}
	}
	tr := &trunk{places: []place{srv("a", 10, 3), srv("bb", 10, 1), srv("ccc", 10, 0), srv("dddd", 20, 60000)}}
	now := time.Now()
	firsts := map[string]int{}
	const rounds = 4000
	for range rounds {
		order := tr.targets(now)
		firsts[order[0]]++
		if len(order) != 4 || order[3] != "dddd" {
			t.Fatalf("the order is %v", order)
		}
	}
	if a, b := firsts["a"], firsts["bb"]; a < rounds*65/100 || a > rounds*85/100 || a+b < rounds*98/100 || b == 0 {
		t.Errorf("the weights 3, 1 and 0 gave %v", firsts)
	}
	for _, p := range tr.places[:3] {
		tr.mark(p.to, now.Add(time.Minute))
	}
	if order := tr.targets(now); order[0] != "dddd" {
		t.Errorf("with dead ones of the first priority the order is %v", order)
	}
}

// TestServicesThatAreNotAnswered: the bare domain is another machine, its web
// server perhaps.
func TestServicesThatAreNotAnswered(t *testing.T) {
	z := newZone(t)
	tr, err := newTrunk(config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:pbx.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	tr.resolve(t.Context(), z.resolver())
	before := tr.targets(time.Now())
	z.apex.Store(true)
	tr.resolve(t.Context(), z.resolver())
	if got := tr.targets(time.Now()); len(before) != 2 || !slices.Equal(got, before) || tr.allows(netip.MustParseAddr("10.0.0.80")) {
		t.Errorf("targets are %v, were %v", got, before)
	}
}

// TestNameMovesDuringACall: who has a call of ours may end it from where it began,
// but begins no other there.
func TestNameMovesDuringACall(t *testing.T) {
	z := newZone(t)
	tr, err := newTrunk(config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:two.pbx.test:5060"}}})
	if err != nil {
		t.Fatal(err)
	}
	old, now := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.3")
	tr.resolve(t.Context(), z.resolver())
	tr.live.Add(1)
	z.moved.Store(true)
	for range 2 { // it is remembered from one look to the next
		tr.resolve(t.Context(), z.resolver())
		list := compile([]*trunk{tr}, nil)
		if !tr.allows(old) || !list.known(old) || list.caller(old) != nil || list.caller(now) != tr {
			t.Errorf("the old address may speak: %v, is known: %v, may call: %v; the new one may call: %v",
				tr.allows(old), list.known(old), list.caller(old) != nil, list.caller(now) == tr)
		}
	}
	tr.live.Add(-1)
	tr.resolve(t.Context(), z.resolver())
	if tr.allows(old) || compile([]*trunk{tr}, nil).known(old) {
		t.Error("the old address may speak after the last call")
	}
}

func TestServiceRecords(t *testing.T) {
	z := newZone(t)
	tr, err := newTrunk(config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:pbx.test"}, {URI: "sip:two.pbx.test;transport=tcp"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"sip:one.pbx.test:5070;transport=udp", "sip:two.pbx.test:5060;transport=udp", "sip:two.pbx.test;transport=tcp"}
	for _, dead := range []bool{false, true} { // a resolver that dies changes nothing
		z.dead.Store(dead)
		tr.resolve(t.Context(), z.resolver())
		if got := tr.targets(time.Now()); !slices.Equal(got, want) {
			t.Fatalf("resolver dead %v: targets are %v, want %v", dead, got, want)
		}
		for addr, to := range map[string]string{want[0]: "udp 10.0.0.1:5070", want[1]: "udp 10.0.0.2:5060", want[2]: "tcp 10.0.0.2:5060"} {
			if got, ok := tr.place(addr); !ok || got.String() != to {
				t.Errorf("%s is at %v, want %s", addr, got, to)
			}
		}
		for _, p := range prefixes(t, "10.0.0.1/32", "10.0.0.2/32", "10.0.0.9/32") {
			if list := compile([]*trunk{tr}, nil); !tr.allows(p.Addr()) || list.caller(p.Addr()) != tr {
				t.Errorf("%v may not speak", p)
			}
		}
	}
}

package sip

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// patience is how long a test waits for something that must happen.
const patience = 30 * time.Second

// quick has the RFC's intervals divided by 25: 64·T1 is 1.28 s.
func quick() timing {
	return timing{
		t1: 20 * time.Millisecond, t2: 80 * time.Millisecond, t4: 50 * time.Millisecond,
		silent: 300 * time.Millisecond, spare: 300 * time.Millisecond, probe: 200 * time.Millisecond, dead: 45 * time.Second, resolve: time.Minute,
		ring: 100 * time.Millisecond, refer: time.Second, first: 300 * time.Millisecond, idle: 600 * time.Millisecond,
		handshake: 300 * time.Millisecond, keepalive: time.Minute, pong: 10 * time.Second,
		backoff: 30 * time.Millisecond, maxBackoff: 200 * time.Millisecond, unregister: patience,
		afterCancel: 250 * time.Millisecond,
	}
}

// peer is a far end without a stack: it says what the test says.
type peer struct {
	t    *testing.T
	conn Datagrams
	in   chan *message
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	return newPeerAt(t, net.IPv4(127, 0, 0, 1))
}

func newPeerAt(t *testing.T, ip net.IP) *peer {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	return newPeerOn(t, conn)
}

func newPeerOn(t *testing.T, conn Datagrams) *peer {
	t.Helper()
	p := &peer{t: t, conn: conn, in: make(chan *message, 4096)}
	done, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxMessage)
		seen := map[string]bool{}
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			m, f := parse([]byte(string(buf[:n])), true)
			if f != nil {
				t.Errorf("the gateway sent what it would refuse: %v\n%s", f, buf[:n])
				continue
			}
			if f := checkFrame(m); f != nil && m.status < 400 { // a refusal repeats what it refuses
				t.Errorf("the gateway sent what it would refuse: %v\n%s", f, buf[:n])
			}
			if m.isRequest() && m.method != "ACK" {
				if seen[string(buf[:n])] {
					continue // a slow test made the gateway repeat itself
				}
				seen[string(buf[:n])] = true
			}
			m.from = endpoint{proto: "udp", addr: unmapped(from)}
			select {
			case p.in <- m:
			case <-over:
				return
			}
		}
	}()
	t.Cleanup(func() { close(over); conn.Close(); <-done })
	return p
}

func (p *peer) addr() netip.AddrPort { return localOf(p.conn.LocalAddr()) }

func (p *peer) send(to netip.AddrPort, text string) {
	p.t.Helper()
	if _, err := p.conn.WriteToUDPAddrPort([]byte(text), to); err != nil {
		p.t.Fatal(err)
	}
}

// want waits for a message: a method, or a status as text. Others are skipped.
func (p *peer) want(what string) *message {
	p.t.Helper()
	return p.wantThat(what, func(*message) bool { return true })
}

func (p *peer) wantThat(what string, ok func(*message) bool) *message {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case m := <-p.in:
			if (m.method == what || (m.status > 0 && strconv.Itoa(m.status) == what)) && ok(m) {
				return m
			}
		case <-timeout:
			p.t.Fatalf("no %s came", what)
		}
	}
}

// never fails the test if such a message comes within d.
func (p *peer) never(what string, d time.Duration) {
	p.t.Helper()
	timeout := time.After(d)
	for {
		select {
		case m := <-p.in:
			if m.method == what || (m.status > 0 && strconv.Itoa(m.status) == what) {
				p.t.Fatalf("got a %s that must not come:\n%s", what, m.bytes())
			}
		case <-timeout:
			return
		}
	}
}

// reply answers a request; lines are further header lines, an empty line and
// what follows it is the body.
func (p *peer) reply(req *message, status int, toTag string, lines ...string) {
	p.t.Helper()
	m := &message{status: status, reason: "Whatever"}
	for _, v := range req.all("Via") {
		m.add("Via", v)
	}
	m.add("From", req.get("From"))
	to := req.get("To")
	if toTag != "" && tag(to) == "" {
		to += ";tag=" + toTag
	}
	m.add("To", to)
	m.add("Call-ID", req.get("Call-ID"))
	m.add("CSeq", req.get("CSeq"))
	for i, l := range lines {
		if l == "" {
			m.add("Content-Type", contentSDP)
			m.body = []byte(strings.Join(lines[i+1:], "\r\n"))
			break
		}
		name, value, _ := strings.Cut(l, ": ")
		m.fields = append(m.fields, field{name, value})
	}
	p.send(req.from.addr, string(m.bytes()))
}

func (p *peer) contact() string { return "Contact: <sip:phone@" + p.addr().String() + ">" }

// ok answers an INVITE with 200 and a description.
func (p *peer) ok(invite *message, toTag string) {
	p.t.Helper()
	p.reply(invite, 200, toTag, p.contact(), "", "v=0 answer "+toTag)
}

// inDialog sends a request in the dialog that ok opened.
func (p *peer) inDialog(invite *message, toTag, method string, seq int, body string, lines ...string) {
	p.t.Helper()
	p.send(invite.from.addr, string(p.dialogRequest(invite, toTag, method, seq, body, lines...).bytes()))
}

func (p *peer) dialogRequest(invite *message, toTag, method string, seq int, body string, lines ...string) *message {
	a, _ := parseAddress(invite.get("Contact"))
	m := &message{method: method, uri: a.uri, body: []byte(body)}
	m.add("Via", "SIP/2.0/UDP "+p.addr().String()+";rport;branch=z9hG4bK"+newTag())
	m.add("Max-Forwards", "70")
	m.add("From", invite.get("To")+";tag="+toTag)
	m.add("To", invite.get("From"))
	m.add("Call-ID", invite.get("Call-ID"))
	m.add("CSeq", strconv.Itoa(seq)+" "+method)
	if method == "INVITE" || method == "UPDATE" {
		m.add("Contact", "<sip:phone@"+p.addr().String()+">")
	}
	if body != "" {
		m.add("Content-Type", contentSDP)
	}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		m.add(name, value)
	}
	return m
}

// events collects what a Session reports.
type events struct {
	t  *testing.T
	in chan Event
}

func newEvents(t *testing.T) *events {
	t.Helper()
	return &events{t: t, in: make(chan Event, 1024)}
}

func (e *events) notify(ev Event) { e.in <- ev }

// next returns the next event, which must be a T.
func next[T Event](e *events) T {
	e.t.Helper()
	select {
	case ev := <-e.in:
		got, ok := ev.(T)
		if !ok {
			e.t.Fatalf("got event %T %+v, want %T", ev, ev, got)
		}
		return got
	case <-time.After(patience):
		var want T
		e.t.Fatalf("no event came, want %T", want)
		return want
	}
}

// none fails the test if an event comes within d.
func (e *events) none(d time.Duration) {
	e.t.Helper()
	select {
	case ev := <-e.in:
		e.t.Fatalf("got event %T %+v, want none", ev, ev)
	case <-time.After(d):
	}
}

func logger() *slog.Logger { return slog.New(slog.DiscardHandler) }

func trunkTo(p *peer) config.Trunk {
	return config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:" + p.addr().String()}}, CallerFormat: "e164", FromUser: "caller"}
}

func newTestServer(t *testing.T, tm timing, trunks ...config.Trunk) *Server {
	t.Helper()
	return serverOn(t, tm, []string{"udp://127.0.0.1:0"}, trunks...)
}

func serverOn(t *testing.T, tm timing, listen []string, trunks ...config.Trunk) *Server {
	t.Helper()
	s, err := newServer(config.SIP{Listen: listen}, trunks, logger(), nil, tm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func call() Outgoing {
	return Outgoing{
		Trunk: "pbx", To: "600", Caller: Party{Number: "+34600111222", Name: "Ana"}, SDP: []byte("v=0 offer"),
		Headers: []Header{{"X-WA-Call", "c1"}, {"X-WA-ID", "wacid.abc"}},
	}
}

// dial places a call to the peer and returns its INVITE.
func dial(t *testing.T, s *Server, p *peer, o Outgoing) (*Session, *events, *message) {
	t.Helper()
	if o.Target == "" {
		o.Target = "sip:" + p.addr().String()
	}
	c, e := placed(t, s, o)
	return c, e, p.want("INVITE")
}

// placed places a call to its target.
func placed(t *testing.T, s *Server, o Outgoing) (*Session, *events) {
	t.Helper()
	e := newEvents(t)
	c, err := s.Prepare(o, e.notify)
	if err != nil {
		t.Fatal(err)
	}
	c.Start()
	return c, e
}

// setUp brings a call up to its ACK.
func setUp(t *testing.T, s *Server, p *peer, o Outgoing) (*Session, *events, *message) {
	t.Helper()
	c, e, invite := dial(t, s, p, o)
	p.ok(invite, "a")
	next[Accepted](e)
	p.want("ACK")
	return c, e, invite
}

// gone waits until the server knows of no call.
func gone(t *testing.T, s *Server) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := len(s.sessions)
		s.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions are left", n)
		}
	}
}

func prefixes(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	var ps []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// count reads one counter or gauge.
func count(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 || len(families[0].GetMetric()) != 1 {
		t.Fatalf("cannot read the metric: %v", err)
	}
	m := families[0].GetMetric()[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

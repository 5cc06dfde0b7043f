package sip

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// hard is a message of a torture list and what its sender gets: the final
// statuses in their order, nothing at all, or "call" for an INVITE that reaches
// the owner of calls, who hears of user and refuses it with 486.
type hard struct {
	name, want string
	user       string
	why        string
	tcp        string // where a stream differs from a datagram; "-": nothing
}

// rfc4475 has the 49 messages of RFC 4475, in its order.
var rfc4475 = []hard{
	// 3.1.1: valid, however odd.
	{name: "wsinv", want: "481", why: "good, but its To has the tag of a dialog that nobody has"},
	{name: "intmeth", want: "501", why: "every character of the grammar is read; the method is nobody's"},
	{name: "esc01", want: "call", user: "sips%3Auser%40example.com", why: "escapes are decoded once, by the dial plan, and never change what is a URI"},
	{name: "escnull", want: "405", why: "an escaped NUL is three characters; we register nobody"},
	{name: "esc02", want: "501", why: "methods and header names have no escapes: this is not REGISTER"},
	{name: "lwsdisp", want: "200", why: "no blank is needed before the bracket"},
	{name: "longreq", want: "call", user: "user", why: "long is not too long: 34 Vias, and the oldest kind of branch"},
	{name: "dblreq", want: "405", why: "what follows the body in a datagram is not there", tcp: "405 400"}, // the second has no Contact
	{name: "semiuri", want: "200", why: "a semicolon in the user part is of the user part"},
	{name: "transports", want: "200", why: "the transports of other hops are not ours to judge"},
	{name: "mpart01", want: "405", why: "a binary body is passed over; we take no MESSAGE"},
	{name: "unreason", want: "", why: "the answer to nothing of ours, read without harm"},
	{name: "noreason", want: "", why: "the answer to nothing of ours, read without harm"},
	// 3.1.2: invalid.
	{name: "badinv01", want: "400", why: "empty parameters and list members in Via and Contact"},
	{name: "clerr", want: "400", why: "the body is shorter than it says", tcp: "-"}, // on a stream the rest never comes
	{name: "ncl", want: "400", why: "a length below zero"},
	{name: "scalar02", want: "400", why: "numbers beyond what they may be"},
	{name: "scalarlg", want: "", why: "a response with a CSeq beyond what it may be"},
	{name: "quotbal", want: "400", why: "a quote that stays open"},
	{name: "ltgtruri", want: "400", why: "brackets round the Request-URI"},
	{name: "lwsruri", want: "400", why: "a blank in the Request-URI"},
	{name: "lwsstart", want: "400", why: "blanks between the parts of the first line"},
	{name: "trws", want: "400", why: "blanks at the end of the first line"},
	{name: "escruri", want: "400", why: "headers in the Request-URI"},
	{name: "baddate", want: "call", user: "user", why: "a Date in a zone that it may not have; we do not read Date"},
	{name: "regbadct", want: "405", why: "its Contact does not matter: we register nobody"},
	{name: "badaspec", want: "400", why: "blanks inside the brackets"},
	{name: "baddn", want: "200", why: "a comma in a name without quotes, tolerated where no list can be"},
	{name: "badvers", want: "505", why: "a version that does not exist, answered although its Via has it too"},
	{name: "mismatch01", want: "400", why: "CSeq is of another method"},
	{name: "mismatch02", want: "400", why: "CSeq is of another method, and the method is nobody's"},
	{name: "bigcode", want: "", why: "a status beyond what it may be"},
	// 3.2: transactions.
	{name: "badbranch", want: "200", why: "a cookie without a branch identifies nothing: the old rules are used"},
	// 3.3: what is asked of the application.
	{name: "insuf", want: "400", why: "no To, From, Call-ID nor Max-Forwards"},
	{name: "unkscm", want: "416", why: "a scheme of nobody's"},
	{name: "novelsc", want: "416", why: "a scheme of somebody's, but not ours"},
	{name: "unksm2", want: "405", why: "other schemes in To and From are no fault; we register nobody"},
	{name: "bext01", want: "420", why: "both extensions are listed; Proxy-Require is for proxies"},
	{name: "invut", want: "415", why: "a body that is no session description"},
	{name: "regaut01", want: "405", why: "the scheme of its Authorization does not matter: we register nobody"},
	{name: "multi01", want: "400", why: "two of what there may be one of"},
	{name: "mcl01", want: "400", why: "two lengths"},
	{name: "bcast", want: "", why: "a response for somebody else too"},
	{name: "zeromf", want: "483", why: "no hop is left"},
	{name: "cparam01", want: "405", why: "a parameter of the header; we register nobody"},
	{name: "cparam02", want: "405", why: "a parameter of the URI; we register nobody"},
	{name: "regescrt", want: "405", why: "headers in a Contact; we register nobody"},
	{name: "sdp01", want: "406", why: "it would understand no answer of ours"},
	// 3.4: the protocol before RFC 3261.
	{name: "inv2543", want: "400", why: "no Max-Forwards and no Contact: a call that may loop and cannot be ended"},
}

// rfc5118 has the messages of RFC 5118 by section.
var rfc5118 = []hard{
	{name: "4.1-valid-reference", want: "405", why: "good; we register nobody"},
	{name: "4.2-no-brackets", want: "400", why: "an address without brackets is no host"},
	{name: "4.3-port-ambiguous", want: "405", why: "what is in the brackets is the address: no port"},
	{name: "4.4-port-unambiguous", want: "405", why: "a port behind the bracket"},
	{name: "4.5-received-brackets", want: "481", why: "received with brackets is tolerated; the dialog is nobody's"},
	{name: "4.5-received-bare", want: "200", why: "received as the grammar has it"},
	{name: "4.6-sdp", want: "call", user: "user", why: "a description with IPv6 addresses"},
	{name: "4.7-headers-of-both", want: "481", why: "both families in Via; the dialog is nobody's"},
	{name: "4.8-sdp-of-both", want: "call", user: "user", why: "a description with both families"},
	{name: "4.9-ipv4-mapped", want: "call", user: "user", why: "mapped addresses are hosts as others are"},
	{name: "4.10-three-colons", want: "200", why: "a fault of RFC 3261's grammar, tolerated"},
	{name: "4.10-two-colons", want: "200", why: "the same address as it should be"},
}

// reader4475 reads messages of RFC 4475, which sipgo carries for its own tests.
func reader4475(tb testing.TB) func(tb testing.TB, name string) []byte {
	tb.Helper()
	dir, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/emiago/sipgo").Output()
	if err != nil {
		tb.Fatalf("where is sipgo? %v", err)
	}
	return func(tb testing.TB, name string) []byte {
		tb.Helper()
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "sip/testdata/torture/*", name+".dat"))
		if err != nil || len(files) == 0 {
			tb.Fatalf("no message %s: %v", name, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			tb.Fatal(err)
		}
		if name == "baddn" { // the copy has lost the RFC's empty line
			data = append(data, "\r\n"...)
		}
		return data
	}
}

func read5118(tb testing.TB, name string) []byte {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "rfc5118", name+".dat"))
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestRFC4475 plays RFC 4475 on the wire.
func TestRFC4475(t *testing.T) {
	if len(rfc4475) != 49 {
		t.Errorf("%d messages, the RFC has 49", len(rfc4475))
	}
	// Without rport an answer goes to Via's port, which is the default one.
	tormented(t, rfc4475, reader4475(t), "127.0.0.1", "127.44.75.1", defaultPort, 5050)
}

// TestRFC5118 plays RFC 5118 on the wire.
func TestRFC5118(t *testing.T) {
	needIPv6(t)
	tormented(t, rfc5118, read5118, "::1", "::1", defaultPort, 6050, 19823)
}

// tormented sends every message from a trunk's address, as a datagram and on a
// stream, and a good one after each.
func tormented(t *testing.T, list []hard, read func(testing.TB, string) []byte, ours, theirs string, ports ...uint16) {
	t.Helper()
	from := netip.MustParseAddr(theirs)
	for _, proto := range []string{"udp", "tcp"} {
		t.Run(proto, func(t *testing.T) {
			s := serverOn(t, quick(), []string{proto + "://" + net.JoinHostPort(ours, "0")},
				config.Trunk{Name: "pbx", Targets: []config.Target{{URI: "sip:" + hostOf(from) + ";transport=" + proto}}})
			calls := make(chan Incoming, len(list))
			serve(t, s, func(c *Session, in Incoming) {
				calls <- in
				c.Refuse(486, Reason{}, 0)
			})
			var socket *tormentor
			if proto == "udp" {
				socket = newTormentor(t, s, from, ports)
			}
			for _, h := range list {
				t.Run(h.name, func(t *testing.T) {
					data := read(t, h.name)
					var got []*message
					want := h.want
					if proto == "udp" {
						got = socket.play(t, data, h)
					} else {
						want = strings.TrimPrefix(cmp.Or(h.tcp, h.want), "-")
						got = overTCP(t, s, from, data, h)
					}
					judge(t, data, got, strings.Replace(want, "call", "486", 1), h.why)
					if h.want != "call" {
						return
					}
					if in := <-calls; in.To != h.user || len(in.SDP) == 0 {
						t.Errorf("the call is to %q with a body of %d bytes, want %q (%s)", in.To, len(in.SDP), h.user, h.why)
					}
				})
			}
			if len(calls) > 0 {
				t.Errorf("a call came in that must not: %+v", <-calls)
			}
			if n := count(t, s.metrics.rejected["panic"]); n != 0 {
				t.Errorf("%v handlers panicked", n)
			}
		})
	}
}

// judge compares the final answers with what was wanted, and asks of each what
// its status promises.
func judge(t *testing.T, data []byte, got []*message, want, why string) {
	t.Helper()
	var statuses []string
	for _, m := range got {
		statuses = append(statuses, strconv.Itoa(m.status))
		for status, name := range map[int]string{405: "allow", 501: "allow", 420: "unsupported", 415: "accept", 406: "accept"} {
			if m.status == status && m.get(name) == "" {
				t.Errorf("%d without %s:\n%s", status, name, m.bytes())
			}
		}
	}
	if list := strings.Join(statuses, " "); list != want {
		t.Errorf("answered with %q, want %q: %s\n%s", list, want, why, data)
	}
}

// wellDone is a request that must be answered with 200, to a port.
func wellDone(from netip.Addr, port int, proto string) (text, id string) {
	id = newID()
	m := &message{method: "OPTIONS", uri: "sip:gw"}
	m.add("Via", "SIP/2.0/"+strings.ToUpper(proto)+" "+hostPort(hostOf(from), port)+";branch="+newBranch())
	m.add("Max-Forwards", "70")
	m.add("From", "<sip:pbx@pbx>;tag=1")
	m.add("To", "<sip:gw>")
	m.add("Call-ID", id)
	m.add("CSeq", "1 OPTIONS")
	return string(m.bytes()), id
}

// acknowledge builds the ACK of a refusal, from the request as it was sent.
func acknowledge(data []byte, refusal *message) string {
	req, _ := parse(data, true)
	m := &message{method: "ACK", uri: req.uri}
	m.add("Via", req.get("Via"))
	m.add("Max-Forwards", "70")
	m.add("From", req.get("From"))
	m.add("To", refusal.get("To"))
	m.add("Call-ID", req.get("Call-ID"))
	n, _, _ := strings.Cut(refusal.get("CSeq"), " ")
	m.add("CSeq", n+" ACK")
	return string(m.bytes())
}

// tormentor is the trunk's datagram sockets by their ports. The default one
// sends.
type tormentor struct {
	conns map[int]*net.UDPConn
	to    netip.AddrPort
	from  netip.Addr
}

func newTormentor(t *testing.T, s *Server, from netip.Addr, ports []uint16) *tormentor {
	t.Helper()
	o := &tormentor{conns: map[int]*net.UDPConn{}, to: s.Addr("udp"), from: from}
	for _, port := range ports {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, port)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		o.conns[int(port)] = conn
	}
	return o
}

func (o *tormentor) send(t *testing.T, data string) {
	t.Helper()
	if _, err := o.conns[defaultPort].WriteToUDPAddrPort([]byte(data), o.to); err != nil {
		t.Fatal(err)
	}
}

// play sends a message and returns its final answers: all that come before the
// answer to the OPTIONS that follows it, for datagrams are answered in turn.
func (o *tormentor) play(t *testing.T, data []byte, h hard) []*message {
	t.Helper()
	port := defaultPort
	if m, _ := parse(data, true); m != nil {
		v, _ := parseVia(m.get("Via"))
		if _, asked := v.params.get("rport"); !asked && v.port > 0 {
			port = v.port
		}
	}
	var got []*message
	id := ""
	ask := func() {
		var text string
		text, id = wellDone(o.from, port, "udp")
		o.send(t, text)
	}
	o.send(t, string(data))
	if h.want != "call" {
		ask()
	}
	conn := o.conns[port]
	conn.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, maxMessage)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("nothing is answered any more: %v; until then came %d", err, len(got))
		}
		m, f := parse(bytes.Clone(buf[:n]), true)
		switch {
		case f != nil:
			t.Fatalf("the gateway sent what it would refuse: %v\n%s", f, buf[:n])
		case m.status < 200:
		case m.get("Call-ID") == id && id != "":
			if m.status != 200 {
				t.Errorf("the OPTIONS after it got %d", m.status)
			}
			return got
		case id != "" && h.want == "call": // 486 again, before its ACK
		default:
			got = append(got, m)
			if h.want == "call" {
				o.send(t, acknowledge(data, m))
				ask()
			}
		}
	}
}

// overTCP sends a message on a connection of its own and returns its final
// answers, and wants an OPTIONS answered on another one.
func overTCP(t *testing.T, s *Server, from netip.Addr, data []byte, h hard) []*message {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	open := func(data []byte) *net.TCPConn {
		nc, err := d.DialContext(t.Context(), "tcp", s.Addr("tcp").String())
		if err != nil {
			t.Fatal(err)
		}
		tc, ok := nc.(*net.TCPConn)
		if !ok {
			t.Fatalf("%T is no TCP connection", nc)
		}
		tc.SetDeadline(time.Now().Add(patience))
		if _, err := tc.Write(data); err != nil {
			t.Fatal(err)
		}
		return tc
	}
	nc := open(data)
	defer nc.Close()
	if h.want != "call" {
		nc.CloseWrite() // no more comes: what is whole is answered, then they close
	}
	got := finals(t, nc, h.want == "call")
	if h.want == "call" && len(got) == 1 {
		nc.Write([]byte(acknowledge(data, got[0])))
	}
	text, _ := wellDone(from, defaultPort, "tcp")
	good := open([]byte(text))
	defer good.Close()
	if after := finals(t, good, true); len(after) != 1 || after[0].status != 200 {
		t.Errorf("the OPTIONS after it was not answered: %v", after)
	}
	return got
}

// finals reads final answers: one, or all until the far end closes.
func finals(t *testing.T, nc net.Conn, one bool) []*message {
	t.Helper()
	var fr framer
	var all []*message
	buf := make([]byte, 4096)
	for {
		n, err := nc.Read(buf)
		fr.feed(buf[:n])
		for {
			data, _, bad := fr.next()
			if bad != nil {
				t.Fatalf("the gateway sent what it would refuse: %v", bad)
			}
			if data == nil {
				break
			}
			m, f := parse(data, false)
			if f != nil {
				t.Fatalf("the gateway sent what it would refuse: %v\n%s", f, data)
			}
			if m.status >= 200 {
				all = append(all, m)
			}
		}
		switch {
		case one && len(all) > 0:
			return all
		case err != nil:
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("neither an answer nor the end came")
			}
			if !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
				t.Fatal(err)
			}
			return all
		}
	}
}

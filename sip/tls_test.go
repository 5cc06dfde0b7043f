package sip

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// tlsServer listens on TLS, and has the phone as its trunk.
func tlsServer(t *testing.T, files config.TLS, ca *authority, uri string, change func(*config.Trunk)) *Server {
	t.Helper()
	return tlsServerWithin(t, patience/2, files, ca, uri, change)
}

// tlsServerWithin gives handshakes another limit.
func tlsServerWithin(t *testing.T, handshake time.Duration, files config.TLS, ca *authority, uri string, change func(*config.Trunk)) *Server {
	t.Helper()
	trunk := config.Trunk{
		Name: "pbx", Targets: []config.Target{{URI: uri}}, CallerFormat: "e164", FromUser: "caller",
		Sources: prefixes(t, "127.0.0.1/32"), TLS: config.TLS{CA: ca.file},
	}
	if change != nil {
		change(&trunk)
	}
	tm := quick()
	tm.handshake, tm.silent, tm.probe = handshake, patience, patience // a busy machine takes its time
	s, err := newServer(config.SIP{Listen: []string{"tls://127.0.0.1:0", "udp://127.0.0.1:0"}, TLS: files}, []config.Trunk{trunk}, logger(), nil, tm)
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

// TestCallOverTLS: one connection carries the call both ways, and every header
// says that it does.
func TestCallOverTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	for _, scheme := range []string{"sip", "sips"} {
		t.Run(scheme, func(t *testing.T) {
			p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}})
			uri := p.uri()
			if scheme == "sips" {
				uri = "sips:" + p.addr().String()
			}
			s := tlsServer(t, ca.good(), ca, uri, nil)
			o := call()
			o.Target = uri
			c, e := placed(t, s, o)
			invite := p.want("INVITE")
			contact := "<sip:wagate@" + s.Addr("tls").String() + ";transport=tls>"
			request := "sip:600@" + p.addr().String() + ";transport=tls"
			if scheme == "sips" {
				contact, request = "<sips:wagate@"+s.Addr("tls").String()+">", "sips:600@"+p.addr().String()
			}
			if got := invite.get("Contact"); got != contact {
				t.Errorf("Contact is %s, want %s", got, contact)
			}
			if invite.uri != request {
				t.Errorf("Request-URI is %s, want %s", invite.uri, request)
			}
			if via := invite.get("Via"); !strings.HasPrefix(via, "SIP/2.0/TLS "+s.Addr("tls").String()+";") {
				t.Errorf("Via is %s", via)
			}
			invite.reply(200, p.contact())
			next[Accepted](e)
			p.want("ACK")
			c.Bye(Reason{})
			bye := p.want("BYE")
			if bye.nc != invite.nc || p.connections() != 1 {
				t.Errorf("the BYE took another connection, %d in all", p.connections())
			}
			bye.reply(200)
			next[ByeDone](e)
		})
	}
}

// TestTLSContactInTheClear: a Contact that leads away from TLS is not followed.
func TestTLSContactInTheClear(t *testing.T) {
	ca := newAuthority(t, "ca")
	p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}})
	udp := newPeer(t)
	s := tlsServer(t, ca.good(), ca, p.uri(), nil)
	o := call()
	o.Target = p.uri()
	c, e := placed(t, s, o)
	p.want("INVITE").reply(200, field{"Contact", "<sip:phone@" + udp.addr().String() + ";transport=udp>"})
	next[Accepted](e)
	p.want("ACK")
	c.Bye(Reason{})
	p.want("BYE").reply(200)
	next[ByeDone](e)
	if len(udp.in) != 0 {
		t.Error("something left in the clear")
	}
}

// TestTLSRefusals: whom we do not let be the PBX, and what the operator reads.
func TestTLSRefusals(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	later := time.Now().Add(time.Hour)
	for _, row := range []struct {
		name string
		far  *tls.Config // nil: speaks no TLS
		want string      // "" for a call that goes through
	}{
		{"good", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}}, ""},
		{"good, with TLS 1.2 and ALPN", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}, MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}, ""},
		{"wrong name", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.issue(later, "pbx.example", "10.0.0.5"))}}, "is not for 127.0.0.1 but for pbx.example, 10.0.0.5"},
		{"no name", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.issue(later))}}, "is not for 127.0.0.1 but for nobody"},
		{"expired", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.issue(time.Now().Add(-time.Hour), "127.0.0.1"))}}, "has expired"},
		{"unknown CA", &tls.Config{Certificates: []tls.Certificate{pairOf(t, other.good())}}, "signed by no CA that is known here"},
		{"TLS 1.1", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "refuses the connection"},
		{"wants a certificate", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}, ClientAuth: tls.RequireAnyClientCert}, "refuses the connection: tls: certificate required"},
		{"wants a certificate, with TLS 1.2", &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12}, "refuses the connection"},
		{"no TLS at all", nil, "does not speak TLS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			p := newPhone(t, row.far)
			if row.far == nil {
				go func() { // says what no TLS peer says
					for p.connections() == 0 && t.Context().Err() == nil {
						time.Sleep(time.Millisecond)
					}
					p.mu.Lock()
					defer p.mu.Unlock()
					for _, nc := range p.conns {
						nc.Write([]byte("SIP/2.0 400 Bad Request\r\n\r\n"))
					}
				}()
			}
			uri := "sip:" + p.addr().String() + ";transport=tls"
			s := tlsServer(t, ca.good(), ca, uri, nil)
			o := call()
			o.Target = uri
			_, e := placed(t, s, o)
			if row.want == "" {
				p.want("INVITE").reply(486)
				next[Refused](e)
				return
			}
			failed := next[Failed](e)
			var fault *TLSError
			if !errors.As(failed.Err, &fault) || !errors.Is(failed.Err, ErrTransport) {
				t.Fatalf("failed with %v", failed.Err)
			}
			if !strings.Contains(fault.What, row.want) || fault.Hint == "" {
				t.Errorf("what: %s; hint: %s; want %q", fault.What, fault.Hint, row.want)
			}
			if len(p.in) != 0 {
				t.Error("something was sent to a stranger")
			}
		})
	}
}

// TestTLSNames: the certificate is for the host as it is written in the target.
func TestTLSNames(t *testing.T) {
	ca := newAuthority(t, "ca")
	for _, row := range []struct {
		sans []string
		good bool
	}{
		{[]string{"localhost"}, true},
		{[]string{"other", "LOCALHOST"}, true},
		{[]string{"127.0.0.1"}, false},
		{[]string{"*.localhost"}, false},
	} {
		p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.issue(time.Now().Add(time.Hour), row.sans...))}})
		client, err := newTLSClient(config.Trunk{Name: "pbx", TLS: config.TLS{CA: ca.file}})
		if err != nil {
			t.Fatal(err)
		}
		nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&conn{secure: client.expecting("localhost")}).shake(t.Context(), nc)
		nc.Close()
		if (err == nil) != row.good {
			t.Errorf("a certificate for %v: %v", row.sans, err)
		}
	}
	p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.issue(time.Now().Add(time.Hour), "*.example.com"))}})
	client, err := newTLSClient(config.Trunk{Name: "pbx", TLS: config.TLS{CA: ca.file}})
	if err != nil {
		t.Fatal(err)
	}
	nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", p.addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err = (&conn{secure: client.expecting("pbx.example.com")}).shake(t.Context(), nc); !errors.Is(err, errWildcard) {
		t.Errorf("a wildcard: %v", err)
	}
}

// TestTLSListener: who may connect, with which certificate.
func TestTLSListener(t *testing.T) {
	ca, other := newAuthority(t, "ca"), newAuthority(t, "other")
	files := ca.good()
	files.CA = ca.file
	p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}})
	s := tlsServer(t, files, ca, p.uri(), nil)
	roots, _, err := authorities(ca.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name  string
		tweak func(*tls.Config)
		good  bool
	}{
		{"good", nil, true},
		{"TLS 1.2", func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
		{"ALPN sip", func(c *tls.Config) { c.NextProtos = []string{"sip"} }, true},
		{"TLS 1.1", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
		{"no certificate", func(c *tls.Config) { c.Certificates = nil }, false},
		{"a stranger's certificate", func(c *tls.Config) { c.Certificates = []tls.Certificate{pairOf(t, other.good())} }, false},
		{"an expired certificate", func(c *tls.Config) {
			c.Certificates = []tls.Certificate{pairOf(t, ca.issue(time.Now().Add(-time.Hour), "127.0.0.1"))}
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			cfg := &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{pairOf(t, ca.good())}}
			if row.tweak != nil {
				row.tweak(cfg)
			}
			nc := ring(t, s, cfg)
			_, err := nc.Write([]byte(options(t)))
			line := ""
			if err == nil {
				line, err = bufio.NewReader(nc).ReadString('\n')
			}
			if good := strings.HasPrefix(line, "SIP/2.0 200"); good != row.good {
				t.Errorf("got %q, %v", line, err)
			}
			if state := nc.ConnectionState(); state.NegotiatedProtocol != "" {
				t.Errorf("agreed on ALPN %q", state.NegotiatedProtocol)
			}
		})
	}
}

// TestStalledHandshakes: whoever does not finish a handshake is closed, and
// keeps nobody out meanwhile.
func TestStalledHandshakes(t *testing.T) {
	ca := newAuthority(t, "ca")
	p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}})
	s := tlsServerWithin(t, 2*time.Second, ca.good(), ca, p.uri(), nil)
	// A whole ClientHello, to be cut at different places.
	hello := recordHello(t)
	var stalled []net.Conn
	for _, n := range []int{0, 1, 5, 6, 50, len(hello) - 1, len(hello)} {
		nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr("tls").String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.Write(hello[:n])
		stalled = append(stalled, nc)
	}
	roots, _, err := authorities(ca.file)
	if err != nil {
		t.Fatal(err)
	}
	nc := ring(t, s, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
	nc.Write([]byte(options(t)))
	if line, err := bufio.NewReader(nc).ReadString('\n'); !strings.HasPrefix(line, "SIP/2.0 200") {
		t.Errorf("beside stalled handshakes: %q, %v", line, err)
	}
	for _, nc := range stalled {
		closed(t, nc)
	}
	until(t, func() bool { return count(t, s.metrics.rejected["handshake"]) == float64(len(stalled)) })
}

// recordHello returns the first flight of a TLS client.
func recordHello(t *testing.T) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	done := make(chan []byte)
	go func() {
		buf := make([]byte, 4096)
		n, _ := far.Read(buf)
		far.Close()
		done <- buf[:n]
	}()
	tls.Client(near, &tls.Config{ServerName: "gw.example"}).HandshakeContext(t.Context())
	return <-done
}

// TestCertificatesAreReloaded: new connections get what the files hold now, those
// there are go on, and nothing is resumed.
func TestCertificatesAreReloaded(t *testing.T) {
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	files := before.good()
	p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, before.good())}})
	trunkFiles := config.TLS{CA: before.file}
	var trunk config.Trunk
	s := tlsServer(t, files, before, p.uri(), func(t *config.Trunk) { t.TLS = trunkFiles; trunk = *t })
	o := call()
	o.Target = p.uri()
	c, e := placed(t, s, o)
	invite := p.want("INVITE")
	invite.reply(200, p.contact())
	next[Accepted](e)
	p.want("ACK")

	roots := func(a *authority) *tls.Config {
		pool, _, err := authorities(a.file)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	}
	old := roots(before)
	first := ring(t, s, old)
	asks := func(nc *tls.Conn) string {
		nc.Write([]byte(options(t)))
		line, _ := bufio.NewReader(nc).ReadString('\n')
		return line
	}
	if got := asks(first); !strings.HasPrefix(got, "SIP/2.0 200") {
		t.Fatalf("before: %q", got)
	}
	replace(t, files, after.good())
	trunk.TLS.CA = after.file
	if err := s.Reload([]config.Trunk{trunk}); err != nil {
		t.Fatal(err)
	}
	if got := asks(first); !strings.HasPrefix(got, "SIP/2.0 200") {
		t.Errorf("the connection of before: %q", got)
	}
	if err := ring(t, s, old).HandshakeContext(t.Context()); err == nil {
		t.Error("the certificate of before is still shown, or a session was resumed")
	}
	second := ring(t, s, roots(after))
	if err := second.HandshakeContext(t.Context()); err != nil || second.ConnectionState().DidResume {
		t.Errorf("after: %v", err)
	}

	// A new call meets the new CA, which does not know the phone's certificate;
	// the call of before ends on its own connection.
	_, e2 := placed(t, s, o)
	var fault *TLSError
	if failed := next[Failed](e2); !errors.As(failed.Err, &fault) {
		t.Errorf("a new call after the change of CA: %v", failed.Err)
	}
	c.Bye(Reason{})
	bye := p.want("BYE")
	if bye.nc != invite.nc {
		t.Error("the call of before changed its connection")
	}
	bye.reply(200)
	next[ByeDone](e)
	gone(t, s)
	s.recompile()
	until(t, func() bool { // nobody needs the connection of before any more
		s.connMu.Lock()
		defer s.connMu.Unlock()
		for key := range s.conns {
			if key.owner != "" {
				return false
			}
		}
		return true
	})
	replace(t, files, config.TLS{Cert: files.Key, Key: files.Cert})
	if err := s.Reload([]config.Trunk{trunk}); err == nil {
		t.Error("files that do not belong together are taken")
	}
	if err := ring(t, s, roots(after)).HandshakeContext(t.Context()); err != nil {
		t.Errorf("a refused reload changed what is shown: %v", err)
	}
}

// TestPlainIsNotTaken: a trunk with TLS only is not heard without it.
func TestPlainIsNotTaken(t *testing.T) {
	ca := newAuthority(t, "ca")
	p := newPhone(t, &tls.Config{Certificates: []tls.Certificate{pairOf(t, ca.good())}})
	s := tlsServer(t, ca.good(), ca, p.uri(), nil)
	serve(t, s, func(c *Session, _ Incoming) {
		t.Error("a call came in the clear")
		c.Refuse(500, Reason{}, 0)
	})
	udp := newPeer(t)
	invite := udp.outside("INVITE", "v=0")
	udp.send(s.Addr("udp"), string(invite.bytes()))
	if got := udp.want("403"); got.get("Reason") == "" {
		t.Errorf("refused with\n%s", got.bytes())
	}
	if n := count(t, s.metrics.rejected["plain"]); n != 1 {
		t.Errorf("%v are counted", n)
	}
}

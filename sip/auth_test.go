package sip

import (
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"

	"wagate/config"
)

const (
	askMD5    = `WWW-Authenticate: Digest realm="pbx", nonce="n1", algorithm=MD5, qop="auth"`
	askSHA    = `WWW-Authenticate: Digest realm="pbx", nonce="n2", algorithm=SHA-256, qop="auth, auth-int", opaque="o"`
	askProxy  = `Proxy-Authenticate: Digest realm="pbx", nonce="n3"`
	askOther  = `WWW-Authenticate: Digest realm="other", nonce="n4"`
	askStale  = `WWW-Authenticate: Digest realm="pbx", nonce="n5", stale=true`
	askBasic  = `WWW-Authenticate: Basic realm="pbx"`
	askBroken = `WWW-Authenticate: Digest realm="pbx`
)

func authTrunk(p *peer) config.Trunk {
	trunk := trunkTo(p)
	trunk.Auth = config.Credentials{User: "gw", Password: "secret"}
	return trunk
}

// checkDigest recomputes the answer to a challenge.
func checkDigest(t *testing.T, ask, got, method, uri string) {
	t.Helper()
	_, value, _ := strings.Cut(ask, ": ")
	chal, err := digest.ParseChallenge(value)
	if err != nil {
		t.Fatal(err)
	}
	for i := range chal.QOP {
		chal.QOP[i] = strings.TrimSpace(chal.QOP[i])
	}
	cred, err := digest.ParseCredentials(got)
	if err != nil {
		t.Fatalf("no credentials in %q: %v", got, err)
	}
	want, err := digest.Digest(chal, digest.Options{Method: method, URI: uri, Username: "gw", Password: "secret", Cnonce: cred.Cnonce, Count: cred.Nc})
	if err != nil || cred.Response != want.Response || cred.Realm != "pbx" || cred.URI != uri {
		t.Errorf("wrong digest %q for %q (%v)", got, ask, err)
	}
}

func TestChallengeIsAnswered(t *testing.T) {
	for _, c := range []struct {
		name, answers, want string
		status              int
		asks                []string
	}{
		{"MD5", "Authorization", askMD5, 401, []string{askMD5}},
		{"the bound realm among others", "Authorization", askMD5, 401, []string{strings.Replace(askSHA, "pbx", "other", 1), askMD5}},
		{"SHA-256 first", "Authorization", askSHA, 401, []string{askBasic, askBroken, askMD5, askSHA}},
		{"proxy, no qop", "Proxy-Authorization", askProxy, 407, []string{askProxy}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			s := newTestServer(t, quick(), authTrunk(p))
			s.trunk("pbx").bindRealm("pbx")
			call, e, first := dial(t, s, p, call())
			p.reply(first, c.status, "x", c.asks...)
			p.want("ACK")
			second := p.want("INVITE")
			n, _ := first.cseq()
			if m, _ := second.cseq(); m != n+1 || second.get("Call-ID") != first.get("Call-ID") || second.get("From") != first.get("From") || second.get("Via") == first.get("Via") {
				t.Errorf("the second INVITE does not follow the first:\n%s", second.bytes())
			}
			name := strings.ToLower(c.answers)
			checkDigest(t, c.want, second.get(name), "INVITE", second.uri)
			p.ok(second, "a")
			next[Accepted](e)
			if ack := p.want("ACK"); ack.get(name) != second.get(name) {
				t.Errorf("the ACK lacks the INVITE's credentials:\n%s", ack.bytes())
			}
			call.Bye(Reason{})
			bye := p.want("BYE")
			p.reply(bye, c.status, "a", c.asks...)
			again := p.wantThat("BYE", func(m *message) bool { return m.has(name) })
			checkDigest(t, c.want, again.get(name), "BYE", again.uri)
			p.reply(again, 200, "a")
			next[ByeDone](e)
			gone(t, s)
		})
	}
}

func TestAlwaysChallengedGetsTwoInvites(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), authTrunk(p))
	_, e, first := dial(t, s, p, call())
	p.reply(first, 401, "x", askMD5)
	second := p.wantThat("INVITE", func(m *message) bool { return m.has("authorization") })
	p.reply(second, 401, "x", strings.Replace(askMD5, "n1", "n9", 1))
	if got := next[Refused](e); got.Status != 401 {
		t.Errorf("refused with %d", got.Status)
	}
	p.never("INVITE", 100*time.Millisecond)
	gone(t, s)
}

func TestStaleNonceGetsOneMore(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), authTrunk(p))
	_, e, m := dial(t, s, p, call())
	p.reply(m, 401, "x", askMD5)
	for range 2 {
		was := m.get("CSeq")
		m = p.wantThat("INVITE", func(m *message) bool { return m.get("CSeq") != was })
		p.reply(m, 401, "x", askStale)
	}
	next[Refused](e)
	p.never("INVITE", 100*time.Millisecond)
}

func TestChallengesThatAreNotAnswered(t *testing.T) {
	p := newPeer(t)
	open := trunkTo(p)
	for _, c := range []struct {
		name  string
		trunk config.Trunk
		bound string
		asks  []string
	}{
		{"no credentials", open, "", []string{askMD5}},
		{"another realm", authTrunk(p), "pbx", []string{askOther}},
		{"not digest", authTrunk(p), "", []string{askBasic, askBroken}},
		{"unknown algorithm", authTrunk(p), "", []string{`WWW-Authenticate: Digest realm="pbx", nonce="n", algorithm=ROT13`}},
		{"auth-int only", authTrunk(p), "", []string{`WWW-Authenticate: Digest realm="pbx", nonce="n", qop="auth-int"`}},
		{"no nonce", authTrunk(p), "", []string{`WWW-Authenticate: Digest realm="pbx"`}},
		{"nothing", authTrunk(p), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newTestServer(t, quick(), c.trunk)
			if c.bound != "" {
				s.trunk("pbx").bindRealm(c.bound)
			}
			_, e, m := dial(t, s, p, call())
			p.reply(m, 401, "x", c.asks...)
			next[Refused](e)
			p.never("INVITE", 50*time.Millisecond)
		})
	}
}

package sip

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/icholy/digest"
	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// guarded is a trunk whose INVITEs are challenged.
func guarded(p *peer) config.Trunk {
	trunk := trunkTo(p)
	trunk.Challenge = config.Challenge{User: "pbx", Password: "secret", Algorithms: []string{"SHA-256", "MD5"}}
	return trunk
}

// answer writes credentials by the algorithm that it claims (RFC 7616 section 3.4.1).
func answer(user, realm, password, method string, p map[string]string) string {
	h := func(s string) string {
		if strings.HasPrefix(p["algorithm"], "SHA") {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		}
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	secret, request := h(user+":"+realm+":"+password), h(method+":"+p["uri"])
	response := h(strings.Join([]string{secret, p["nonce"], p["nc"], p["cnonce"], p["qop"], request}, ":"))
	if p["qop"] == "" {
		response = h(secret + ":" + p["nonce"] + ":" + request)
	}
	values := []string{fmt.Sprintf(`Digest username=%q`, user), fmt.Sprintf(`realm=%q`, realm), fmt.Sprintf(`response=%q`, response)}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		switch {
		case p[name] == "":
		case name == "nc" || name == "qop" || name == "algorithm":
			values = append(values, name+"="+p[name])
		default:
			values = append(values, fmt.Sprintf("%s=%q", name, p[name]))
		}
	}
	return strings.Join(values, ", ")
}

// TestOnlyRightCredentialsPass walks through every combination of right and
// wrong. Whatever is wrong is wrong in credentials that are sound in themselves:
// their response is computed over what they say.
func TestOnlyRightCredentialsPass(t *testing.T) {
	p := newPeer(t)
	other := guarded(p)
	other.Name = "other"
	s := newTestServer(t, quick(), guarded(p), other)
	pbx := s.trunk("pbx")
	m := p.outside("INVITE", "")
	now := time.Now()
	nonceOf := map[string]func() string{
		"good":              func() string { return s.nonces.issue("pbx", now) },
		"expired":           func() string { return s.nonces.issue("pbx", now.Add(-nonceLife-time.Millisecond)) },
		"of another trunk":  func() string { return s.nonces.issue("other", now) },
		"of another server": func() string { return newNonces(s.nonces.start).issue("pbx", now) },
		"nobody's":          func() string { return "abc" },
		"bent": func() string {
			n := []byte(s.nonces.issue("pbx", now))
			n[3] ^= 1
			return string(n)
		},
		"used": func() string {
			n := s.nonces.issue("pbx", now)
			s.nonces.spend(n, "pbx", 1, now)
			return n
		},
	}
	cells, passed := 0, 0
	for _, user := range []string{"pbx", "PBX", ""} {
		for _, password := range []string{"secret", ""} {
			for _, realm := range []string{"wagate", "pbx"} {
				for _, nonce := range slices.Sorted(maps.Keys(nonceOf)) {
					for _, method := range []string{"INVITE", "REGISTER"} {
						for _, uri := range []string{m.uri, "sip:+34600111333@gw", ""} {
							for _, qop := range []string{"auth", "auth-int", ""} {
								for _, nc := range []string{"00000001", "1", ""} {
									for _, algorithm := range []string{"SHA-256", "MD5", "", "SHA-256-sess"} {
										m.remove("authorization")
										m.add("authorization", answer(user, realm, password, method, map[string]string{
											"nonce": nonceOf[nonce](), "uri": uri, "qop": qop, "nc": nc, "cnonce": "x", "algorithm": algorithm,
										}))
										proven := user == "pbx" && password == "secret" && realm == "wagate" && method == "INVITE" && uri == m.uri &&
											qop == "auth" && nc == "00000001" && algorithm != "SHA-256-sess"
										want := proven && nonce == "good"
										f := s.authenticate(pbx, m, flow{}, now)
										cells++
										if f == nil {
											passed++
										}
										if (f == nil) != want {
											t.Fatalf("passed is %v, want %v: %s", f == nil, want, m.get("authorization"))
										}
										if f != nil && strings.Contains(f.extra[0].value, "stale=true") != proven {
											t.Fatalf("stale is %v, want %v: %s", !proven, proven, m.get("authorization"))
										}
									}
								}
							}
						}
					}
				}
			}
		}
	}
	if passed != 3 {
		t.Errorf("%d of %d cells passed, want one for each way to name an algorithm", passed, cells)
	}
}

func TestCredentialsThatCannotBeRead(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), guarded(p))
	now := time.Now()
	good := answer("pbx", "wagate", "secret", "INVITE", map[string]string{
		"nonce": s.nonces.issue("pbx", now), "uri": "sip:+34600111222@gw", "qop": "auth", "nc": "00000001", "cnonce": "x",
	})
	try := func(values ...string) *fault {
		m := p.outside("INVITE", "")
		for _, v := range values {
			m.add("authorization", v)
		}
		return s.authenticate(s.trunk("pbx"), m, flow{}, now)
	}
	for _, value := range []string{
		"Basic cGJ4OnNlY3JldA==", "Digest", "Digest ", "Digest a", "Digest ,,,", good + ",", good + `, x="`, good + `, username="pbx"`, good + `, nc=00000001`,
		strings.Replace(good, "00000001", "0000000g", 1), strings.Replace(good, "00000001", "100000001", 1),
		strings.Replace(good, "username", "username*", 1), strings.Replace(good, `response="`, `response="0`, 1), strings.Replace(good, `cnonce="x"`, `cnonce=""`, 1),
	} {
		if f := try(value); f == nil || f.label != "credentials" {
			t.Errorf("%s: %+v", value, f)
		}
	}
	if f := try("Digest nonsense", "Digest realm=other", "Digest realm=\"third\"", "Digest x=y", good); f == nil {
		t.Error("more credentials were read than are allowed")
	}
	if f := try("Digest realm=other", good); f != nil {
		t.Errorf("good credentials after those for somebody else: %+v", f)
	}
}

func TestParametersOfTheRequestURIDoNotCount(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"sip:+34600@gw", "sip:+34600@GW;user=phone", true},
		{"sip:+34600@gw;transport=udp", "sip:+34600@gw", true},
		{"tel:+34600", "tel:+34600;phone-context=x", true},
		{"sip:+34600@gw:5060", "sip:+34600@gw", false},
		{"sip:+34600@gw", "sip:+34601@gw", false},
		{"sip:+34600@gw", "sips:+34600@gw", false},
		{"sip:gw:5060", "sip:+34600@gw:5060", true},
		{"sip:other", "sip:+34600@gw", false},
		{"sip:+34600@gw", "sip:gw", false},
		{"tel:+34600", "sip:+34600@gw", false},
		{"mailto:a", "mailto:b", false},
		{"", "sip:+34600@gw", false},
	} {
		if got := sameTarget(c.a, c.b); got != c.same {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

func TestNonces(t *testing.T) {
	start := time.Now()
	n := newNonces(start)
	first := n.issue("pbx", start)
	for _, c := range []struct {
		what  string
		count uint32
		after time.Duration
		ok    bool
	}{
		{"the first use", 1, 0, true},
		{"a replay", 1, 0, false},
		{"the next use", 2, time.Second, true},
		{"counts may be left out", 7, time.Second, true},
		{"but not come late", 6, time.Second, false},
		{"to the end of its life", 8, nonceLife, true},
		{"and not longer", 9, nonceLife + time.Millisecond, false},
	} {
		if got := n.spend(first, "pbx", c.count, start.Add(c.after)); got != c.ok {
			t.Errorf("%s: %v, want %v", c.what, got, c.ok)
		}
	}
	n.sweep(start.Add(nonceLife + time.Second))
	if len(n.used) != 0 {
		t.Errorf("%d dead nonces are remembered", len(n.used))
	}
}

// TestNoncesAreBounded: when there is no room for one more, all start anew, and
// no nonce can be used twice for it.
func TestNoncesAreBounded(t *testing.T) {
	now := time.Now()
	n := newNonces(now)
	first := n.issue("pbx", now)
	if !n.spend(first, "pbx", 1, now) {
		t.Fatal("a fresh nonce is not taken")
	}
	for range maxNonces - 1 {
		n.spend(n.issue("pbx", now), "pbx", 1, now)
	}
	waiting := n.issue("pbx", now)
	if len(n.used) != maxNonces || n.spend(waiting, "pbx", 1, now) || len(n.used) != 0 {
		t.Errorf("%d nonces are remembered", len(n.used))
	}
	if n.spend(first, "pbx", 1, now) {
		t.Error("a nonce that was forgotten can be used again")
	}
	now = now.Add(time.Millisecond)
	if !n.spend(n.issue("pbx", now), "pbx", 1, now) {
		t.Error("new nonces are not taken")
	}
}

func TestOnlyOfferedAlgorithmsPass(t *testing.T) {
	p := newPeer(t)
	old := guarded(p)
	old.Challenge.Algorithms = []string{"MD5"}
	s := newTestServer(t, quick(), old)
	now := time.Now()
	for _, c := range []struct {
		algorithm string
		passes    bool
	}{{"SHA-256", false}, {"MD5", true}, {"", true}} {
		m := p.outside("INVITE", "")
		m.add("authorization", answer("pbx", "wagate", "secret", "INVITE", map[string]string{
			"nonce": s.nonces.issue("pbx", now), "uri": m.uri, "qop": "auth", "nc": "00000001", "cnonce": "x", "algorithm": c.algorithm,
		}))
		f := s.authenticate(s.trunk("pbx"), m, flow{}, now)
		if (f == nil) != c.passes {
			t.Errorf("%q passes: %v", c.algorithm, !c.passes)
		}
		if f != nil && (f.extra[0].name != "WWW-Authenticate" || !strings.HasSuffix(f.extra[0].value, "algorithm=MD5") || f.extra[1].name == "WWW-Authenticate") {
			t.Errorf("asked with %v", f.extra)
		}
	}
}

// challenged sends an INVITE without credentials and returns the answer to it.
func (d *desk) challenged(m *message) *message {
	d.t.Helper()
	d.send(d.s.Addr("udp"), string(m.bytes()))
	return d.want("401")
}

// resend answers the challenge that is number which with a stranger's library.
func (d *desk) resend(m, challenge *message, which int, user, password string) *message {
	d.t.Helper()
	c, err := digest.ParseChallenge(challenge.all("WWW-Authenticate")[which])
	if err != nil {
		d.t.Fatal(err)
	}
	credentials, err := digest.Digest(c, digest.Options{Method: "INVITE", URI: m.uri, Username: user, Password: password, Count: 1})
	if err != nil {
		d.t.Fatal(err)
	}
	again := d.outside("INVITE", string(m.body), "From: "+m.get("From"), "Call-ID: "+m.get("Call-ID"), "CSeq: 2 INVITE", "Authorization: "+credentials.String())
	d.send(d.s.Addr("udp"), string(again.bytes()))
	return again
}

func TestTrunkIsChallenged(t *testing.T) {
	d := newDesk(t, guarded)
	for which, algorithm := range []string{"SHA-256", "MD5"} {
		m := d.outside("INVITE", "v=0 offer")
		ask := d.challenged(m)
		asks := ask.all("WWW-Authenticate")
		if len(asks) != 2 || !strings.Contains(asks[which], `realm="wagate"`) || !strings.Contains(asks[which], `qop="auth", algorithm=`+algorithm) || strings.Contains(asks[which], "stale") {
			t.Fatalf("asked with %q", asks)
		}
		ack := d.outside("ACK", "", "Via: "+m.get("Via"), "From: "+m.get("From"), "To: "+ask.get("To"), "Call-ID: "+m.get("Call-ID"))
		d.send(d.s.Addr("udp"), string(ack.bytes()))
		again := d.resend(m, ask, which, "pbx", "secret")
		d.want("100")
		call := <-d.calls
		call.Answer([]byte("v=0 answer"))
		answer := d.want("200")
		d.send(d.s.Addr("udp"), string(d.outside("ACK", "", "From: "+again.get("From"), "To: "+answer.get("To"), "Call-ID: "+again.get("Call-ID"), "CSeq: 2 ACK").bytes()))
		next[Acked](call.events)
		d.follow(again, answer, "BYE", 3) // nothing inside a dialog is challenged
		d.wantThat("200", func(m *message) bool { _, method := m.cseq(); return method == "BYE" })
		next[Hungup](call.events)
	}
	gone(t, d.s)
}

// TestUnauthenticatedCallsCostNothing: no call, no transaction, no memory, and
// the same answer whatever was wrong.
func TestUnauthenticatedCallsCostNothing(t *testing.T) {
	d := newDesk(t, guarded)
	m := d.outside("INVITE", "v=0 offer")
	ask := d.challenged(m)
	shape := func(m *message) string {
		var b strings.Builder
		for _, f := range m.fields {
			switch f.name {
			case "Via", "To", "CSeq":
			case "WWW-Authenticate":
				head, tail, _ := strings.Cut(f.value, "nonce=")
				_, tail, _ = strings.Cut(tail, ", ")
				b.WriteString(head + tail + "\n")
			default:
				b.WriteString(f.name + ": " + f.value + "\n")
			}
		}
		return b.String()
	}
	for range 500 {
		for _, c := range []struct{ user, password string }{{"pbx", "guess"}, {"nobody", "secret"}, {"nobody", "guess"}} {
			d.resend(m, ask, 0, c.user, c.password)
			if got := shape(d.want("401")); got != shape(ask) {
				t.Fatalf("%v got another answer:\n%s\nwant\n%s", c, got, shape(ask))
			}
		}
	}
	d.s.mu.Lock()
	servers, sessions, merged := len(d.s.servers), len(d.s.sessions), len(d.s.merged)
	d.s.mu.Unlock()
	if servers+sessions+merged+len(d.s.nonces.used)+len(d.calls) != 0 {
		t.Errorf("%d transactions, %d sessions, %d calls are left", servers, sessions, len(d.calls))
	}
	if asked, wrong := count(t, d.s.metrics.rejected["unauthenticated"]), count(t, d.s.metrics.rejected["credentials"]); asked != 1 || wrong != 1500 {
		t.Errorf("counted %v and %v, want 1 and 1500", asked, wrong)
	}
}

func TestReplayedInviteIsRefused(t *testing.T) {
	d := newDesk(t, guarded)
	m := d.outside("INVITE", "v=0 offer")
	again := d.resend(m, d.challenged(m), 0, "pbx", "secret")
	d.want("100")
	<-d.calls
	replay := d.outside("INVITE", "v=0 offer", "Authorization: "+again.get("Authorization"))
	if got := d.challenged(replay); !strings.Contains(got.get("WWW-Authenticate"), ", stale=true") {
		t.Errorf("a replay got %q", got.get("WWW-Authenticate"))
	}
	d.resend(replay, d.challenged(replay), 0, "pbx", "secret") // with the fresh nonce it passes
	d.want("100")
	<-d.calls
	if n := count(t, d.s.metrics.rejected["nonce"]); n != 2 {
		t.Errorf("%v replays were counted, want 2", n)
	}
}

// TestForkedInviteIsMergedBeforeItIsJudged: both branches of a forking proxy
// bring the same credentials.
func TestForkedInviteIsMergedBeforeItIsJudged(t *testing.T) {
	d := newDesk(t, guarded)
	m := d.outside("INVITE", "v=0 offer")
	again := d.resend(m, d.challenged(m), 0, "pbx", "secret")
	d.want("100")
	<-d.calls
	for i := range again.fields {
		if again.fields[i].name == "Via" {
			again.fields[i].value += "2"
		}
	}
	d.send(d.s.Addr("udp"), string(again.bytes()))
	d.want("482")
}

func TestReloadChangesTheChallenge(t *testing.T) {
	d := newDesk(t, guarded)
	m := d.outside("INVITE", "v=0 offer")
	ask := d.challenged(m)
	changed := guarded(d.peer)
	changed.Challenge.Password = "fresh"
	if err := d.s.Reload([]config.Trunk{changed}); err != nil {
		t.Fatal(err)
	}
	d.resend(m, ask, 0, "pbx", "secret")
	d.want("401")
	d.resend(m, ask, 0, "pbx", "fresh")
	d.want("100")
	<-d.calls
	if err := d.s.Reload([]config.Trunk{trunkTo(d.peer)}); err != nil {
		t.Fatal(err)
	}
	d.invite("v=0 offer")
}

func TestWrongPasswordIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	p := newPeer(t)
	s, err := newServer(config.SIP{Listen: []string{"udp://127.0.0.1:0"}, PublicHost: "gw.example:5099"}, []config.Trunk{guarded(p)}, textLogger(&out), prometheus.NewRegistry(), quick())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := p.outside("INVITE", "", "authorization: Digest response=\"secret\"")
	now := time.Now()
	var f *fault
	for range 100 {
		f = s.authenticate(s.trunk("pbx"), m, flow{}, now)
	}
	s.authenticate(s.trunk("pbx"), m, flow{}, now.Add(logPause))
	if text := out.String(); strings.Count(text, "wrong credentials") != 2 || strings.Contains(text, "secret") {
		t.Errorf("logged:\n%s", text)
	}
	if !strings.Contains(f.extra[0].value, `realm="gw.example"`) {
		t.Errorf("asked with %q", f.extra)
	}
}

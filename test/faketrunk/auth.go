package faketrunk

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// challengeTag is our tag in a challenge, which makes no call.
const challengeTag = "challenge"

func (a Auth) status() int {
	if a.Status == 0 {
		return 401
	}
	return a.Status
}

// header names the challenge and the answer to it.
func (a Auth) header() (challenge, credentials string) {
	if a.status() == 407 {
		return "Proxy-Authenticate", "Proxy-Authorization"
	}
	return "WWW-Authenticate", "Authorization"
}

// challenge returns the headers of a refusal, nil when the INVITE's credentials
// are right. The caller holds t.mu.
func (t *Trunk) challenge(m *Message, a Auth) []Header {
	name, answer := a.header()
	if v := m.Get(answer); v != "" {
		p := digestParams(v)
		if p["response"] == "" || p["nonce"] != t.nonce || p["realm"] != a.Realm || p["username"] != a.User || p["uri"] != m.URI {
			t.faultLocked("credentials %q do not fit the challenge", v)
		} else if p["response"] == digest(a.Algorithm, a.User, a.Realm, a.Password, m.Method, p) {
			return nil
		}
	}
	algorithm := a.Algorithm
	if algorithm == "" {
		algorithm = "MD5"
	}
	return []Header{{name, fmt.Sprintf(`Digest realm="%s", nonce="%s", qop="auth", algorithm=%s`, a.Realm, t.nonce, algorithm)}}
}

// authorize answers the challenge of a request of that method to that URI.
func authorize(res *Message, method, uri, user, password string) (Header, error) {
	name, challenge := "Authorization", res.Get("WWW-Authenticate")
	if res.Status == 407 {
		name, challenge = "Proxy-Authorization", res.Get("Proxy-Authenticate")
	}
	if !strings.HasPrefix(challenge, "Digest ") {
		return Header{}, fmt.Errorf("challenge %q: only Digest is known", challenge)
	}
	p := digestParams(challenge)
	p["uri"], p["username"] = uri, user
	out := fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s"`, user, p["realm"], p["nonce"], uri)
	if p["qop"] != "" {
		p["qop"], p["nc"], p["cnonce"] = "auth", "00000001", rand.Text()
		out += fmt.Sprintf(`, qop=auth, nc=%s, cnonce="%s"`, p["nc"], p["cnonce"])
	}
	if p["algorithm"] != "" {
		out += ", algorithm=" + p["algorithm"]
	}
	if p["opaque"] != "" {
		out += fmt.Sprintf(`, opaque="%s"`, p["opaque"])
	}
	return Header{name, out + fmt.Sprintf(`, response="%s"`, digest(p["algorithm"], user, p["realm"], password, method, p))}, nil
}

// digest is the response of RFC 7616 section 3.4.1.
func digest(algorithm, user, realm, password, method string, p map[string]string) string {
	h := func(s string) string {
		if strings.EqualFold(algorithm, "SHA-256") {
			sum := sha256.Sum256([]byte(s))
			return hex.EncodeToString(sum[:])
		}
		sum := md5.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	secret, request := h(user+":"+realm+":"+password), h(method+":"+p["uri"])
	if p["qop"] == "" {
		return h(secret + ":" + p["nonce"] + ":" + request)
	}
	return h(strings.Join([]string{secret, p["nonce"], p["nc"], p["cnonce"], p["qop"], request}, ":"))
}

// digestParams splits the parameters of a challenge or of credentials.
func digestParams(v string) map[string]string {
	p := map[string]string{}
	_, v, _ = strings.Cut(v, " ")
	for v != "" {
		k, rest, ok := strings.Cut(v, "=")
		if !ok {
			break
		}
		var value string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			value, rest, _ = strings.Cut(quoted, `"`)
			_, v, _ = strings.Cut(rest, ",")
		} else {
			value, v, _ = strings.Cut(rest, ",")
		}
		p[strings.ToLower(strings.TrimSpace(k))] = strings.TrimSpace(value)
	}
	return p
}

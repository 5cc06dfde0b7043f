package sip

import (
	"strings"

	"github.com/icholy/digest"
)

// algorithms by preference: RFC 8760 puts SHA-256 before MD5.
var algorithms = map[string]int{"SHA-256": 3, "SHA-512-256": 2, "MD5": 1, "": 1}

// challenge is the best challenge of a 401 or 407 that may be answered.
type challenge struct {
	*digest.Challenge
	header string // the header that answers it
}

// challengeOf finds it: digest, an algorithm that we know, and the one realm
// that is bound to the trunk.
func challengeOf(t *trunk, m *message) (challenge, bool) {
	asks, answers := "WWW-Authenticate", "Authorization"
	if m.status == 407 {
		asks, answers = "Proxy-Authenticate", "Proxy-Authorization"
	}
	best := challenge{header: answers}
	for _, value := range m.all(asks) {
		c, err := digest.ParseChallenge(value)
		if err != nil || c.Nonce == "" {
			continue
		}
		rank, known := algorithms[strings.ToUpper(c.Algorithm)]
		for i := range c.QOP {
			c.QOP[i] = strings.ToLower(strings.TrimSpace(c.QOP[i]))
		}
		usable := known && (len(c.QOP) == 0 || c.SupportsQOP("auth")) && t.mayAnswer(c.Realm)
		if !usable || (best.Challenge != nil && rank <= algorithms[strings.ToUpper(best.Algorithm)]) {
			continue
		}
		best.Challenge = c
	}
	if best.Challenge == nil || !t.bindRealm(best.Realm) {
		return challenge{}, false
	}
	return best, true
}

// authorize answers the challenge in m for a request of ours. It fails when
// the trunk has no credentials, or when the challenge is not the trunk's.
func (t *trunk) authorize(m *message, method, uri string) (creds field, stale, ok bool) {
	if t.cfg.Auth.User == "" || (m.status != 401 && m.status != 407) {
		return field{}, false, false
	}
	c, ok := challengeOf(t, m)
	if !ok {
		return field{}, false, false
	}
	answer, err := digest.Digest(c.Challenge, digest.Options{
		Method: method, URI: uri, Username: t.cfg.Auth.User, Password: t.cfg.Auth.Password.Reveal(), Count: 1,
	})
	if err != nil {
		return field{}, false, false
	}
	return field{c.header, answer.String()}, c.Stale, true
}

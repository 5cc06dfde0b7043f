package sip

import (
	"crypto/md5" //nolint:gosec // what SIP phones speak (RFC 3261 section 22.4)
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strconv"
	"strings"
)

// credentials are the answer to a challenge of ours, as far as we ask for it.
type credentials struct {
	user, realm, nonce, uri, response, algorithm, qop, cnonce string
	count                                                     string // nc
}

// parseCredentials reads an Authorization value (RFC 7616 section 3.4). A
// parameter that comes twice is a fault: two readers could differ about it.
func parseCredentials(value string) (credentials, bool) {
	var c credentials
	scheme, rest, _ := strings.Cut(value, " ")
	if !strings.EqualFold(scheme, "Digest") {
		return c, false
	}
	parts, ok := splitOutside(rest, ',', false)
	if !ok {
		return c, false
	}
	known := map[string]*string{
		"username": &c.user, "realm": &c.realm, "nonce": &c.nonce, "uri": &c.uri, "response": &c.response,
		"algorithm": &c.algorithm, "qop": &c.qop, "cnonce": &c.cnonce, "nc": &c.count,
	}
	seen := map[string]bool{}
	for _, part := range parts {
		name, text, found := strings.Cut(part, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if !found || !isToken(name) || seen[name] {
			return c, false
		}
		seen[name] = true
		if dst := known[name]; dst != nil {
			*dst = unquote(strings.Trim(text, " \t"))
		}
	}
	if c.algorithm = strings.ToUpper(c.algorithm); c.algorithm == "" {
		c.algorithm = "MD5"
	}
	return c, true
}

// hash is the hash of an algorithm, as hexadecimal digits; nil for one that we
// do not offer.
func hash(algorithm string) func(string) string {
	switch algorithm {
	case "SHA-256":
		return func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	case "MD5":
		return func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) } //nolint:gosec // see above
	}
	return nil
}

// prove tells whether c is the right answer for a request, whatever its nonce,
// and returns its count. It takes the same time for a user that exists and one
// that does not.
func (c credentials) prove(method, uri, user, realm, password string) (count uint32, right bool) {
	h := hash(c.algorithm)
	if h == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(c.count, 16, 32)
	form := err == nil && len(c.count) == 8 && c.qop == "auth" && c.cnonce != "" && sameTarget(c.uri, uri)
	want := h(strings.Join([]string{
		h(user + ":" + realm + ":" + password), c.nonce, c.count, c.cnonce, c.qop, h(method + ":" + c.uri),
	}, ":"))
	same := subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(c.response))) &
		subtle.ConstantTimeCompare([]byte(h(user)), []byte(h(c.user))) &
		subtle.ConstantTimeCompare([]byte(realm), []byte(c.realm))
	return uint32(n), form && same == 1
}

// sameTarget tells whether credentials were made for the Request-URI. Phones and
// proxies add and drop parameters, which do not change who is dialled; and some,
// like SIPp, name only the host that is to check them.
func sameTarget(made, dialled string) bool {
	if made == dialled {
		return true
	}
	u, ok := parseURI(made)
	v, good := parseURI(dialled)
	if !ok || !good || u.scheme != v.scheme || !strings.EqualFold(u.host, v.host) || u.port != v.port {
		return false
	}
	switch u.scheme {
	case "sip", "sips":
		return u.user == v.user || u.user == ""
	case "tel":
		return u.user == v.user
	}
	return false
}

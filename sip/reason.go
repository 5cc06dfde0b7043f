package sip

import (
	"cmp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// How long text of ours may be in a header.
const (
	maxName   = 64  // characters of a display name
	maxText   = 64  // characters of a Reason's text
	maxHeader = 256 // characters of an X-WA header
)

// printable keeps what may stand in a header and is seen: no control
// characters, no line ends, no invisible or broken text. It cuts after limit
// characters.
func printable(s string, limit int) string {
	var b strings.Builder
	n := 0
	for _, r := range s {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			continue
		}
		if n++; n > limit {
			break
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// quote makes a quoted-string.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// fields returns the headers that carry a reason (RFC 3326, CONTRACT 3).
func (r Reason) fields() []field {
	var fs []field
	if r.Elsewhere {
		fs = append(fs, field{"Reason", `SIP;cause=200;text="Call completed elsewhere"`})
	}
	if r.Q850 > 0 {
		value := "Q.850;cause=" + strconv.Itoa(r.Q850)
		if text := printable(r.Text, maxText); text != "" {
			value += ";text=" + quote(text)
		}
		fs = append(fs, field{"Reason", value})
	}
	if text := printable(r.WAError, maxHeader); text != "" {
		fs = append(fs, field{"X-WA-Error", text})
	}
	if id := printable(r.Call, maxHeader); id != "" {
		fs = append(fs, field{"X-WA-Call", id})
	}
	if r.Warning > 0 {
		fs = append(fs, field{"Warning", strconv.Itoa(r.Warning) + " " + userAgent + " " + quote(printable(r.Text, maxText))})
	}
	return fs
}

// The reasons that a Session has by itself.
var (
	// givenUp goes with 487. It has no Q.850 cause: the caller knows its own.
	givenUp = Reason{WAError: "cancelled"}
	// abandoned is said where the owner left the end to us.
	abandoned = Reason{Q850: 41, Text: "given up by the gateway", WAError: "internal"}
)

// formal is the reason of an INVITE that is refused before it is a call, by the
// table of RFC 3398 section 8.2.6.1.
func formal(status int, text string) Reason {
	r := Reason{Q850: 127, Text: text, WAError: "not_allowed"}
	switch status {
	case 400, 481:
		r.Q850 = 41
	case 406, 415:
		r.Q850, r.WAError = 79, "no_codec"
	case 482, 483:
		r.Q850, r.WAError = 25, "no_route"
	case 500:
		r.Q850, r.WAError = 41, "internal"
	}
	return r
}

// ours puts the call's name on a reason.
func (c *Session) ours(r Reason) Reason {
	r.Call = cmp.Or(r.Call, c.call)
	return r
}

func (m *message) addReason(r Reason) { m.fields = append(m.fields, r.fields()...) }

// q850 reads the Q.850 cause of a message; other protocols and nonsense are
// zero.
func q850(m *message) int {
	for _, value := range m.all("Reason") {
		list, _ := splitOutside(value, ',', false)
		for _, member := range list {
			protocol, tail, _ := strings.Cut(member, ";")
			if !strings.EqualFold(strings.Trim(protocol, " \t"), "Q.850") {
				continue
			}
			ps, _ := parseParams(tail)
			text, _ := ps.get("cause")
			if cause, ok := digits(text, 127); ok {
				return cause
			}
		}
	}
	return 0
}

// retryAfter reads Retry-After, comment and parameters ignored.
func retryAfter(m *message) time.Duration {
	value := m.get("Retry-After")
	if end := strings.IndexAny(value, " \t;("); end >= 0 {
		value = value[:end]
	}
	n, ok := digits(value, 1<<30)
	if !ok {
		return 0
	}
	return time.Duration(n) * time.Second
}

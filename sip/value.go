package sip

import (
	"net/netip"
	"strconv"
	"strings"
)

// isToken tells whether s is a token of RFC 3261 section 25.1.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-.!%*_+`'~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// splitOutside cuts s at sep where it stands outside quotes and, if angles is
// set, outside angle brackets. It fails when a quote or bracket stays open.
func splitOutside(s string, sep byte, angles bool) ([]string, bool) {
	var parts []string
	var quoted, angled bool
	start := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"' && !angled:
			quoted = !quoted
		case quoted:
		case angles && c == '<':
			angled = true
		case angles && c == '>':
			angled = false
		case c == sep && !angled:
			parts = append(parts, strings.Trim(s[start:i], " \t"))
			start = i + 1
		}
	}
	return append(parts, strings.Trim(s[start:], " \t")), !quoted && !angled
}

// splitList takes a comma list apart; an empty member is a fault.
func splitList(s string) ([]string, bool) {
	parts, ok := splitOutside(s, ',', true)
	for _, p := range parts {
		ok = ok && p != ""
	}
	return parts, ok
}

// params are the parameters behind a value, as text: ";a=b;c".
type params []field

// parseParams reads parameters, the leading semicolon taken off.
func parseParams(s string) (params, bool) {
	parts, ok := splitOutside(s, ';', false)
	var ps params
	for _, p := range parts {
		name, value, _ := strings.Cut(p, "=")
		name = strings.ToLower(strings.Trim(name, " \t"))
		if !isToken(name) {
			return ps, false
		}
		ps = append(ps, field{name, strings.Trim(value, " \t")})
	}
	return ps, ok
}

// get returns a parameter's value and whether it is there.
func (ps params) get(name string) (string, bool) {
	for _, p := range ps {
		if p.name == name {
			return p.value, true
		}
	}
	return "", false
}

// via is one Via value.
type via struct {
	transport string // upper case
	host      string
	port      int // zero: the transport's default
	params    params
}

// parseVia reads "SIP/2.0/UDP host:port;branch=…", blanks allowed where the
// grammar allows them.
func parseVia(s string) (via, bool) {
	head, tail, more := strings.Cut(s, ";")
	var v via
	if more {
		ps, ok := parseParams(tail)
		if !ok {
			return v, false
		}
		v.params = ps
	}
	parts := strings.SplitN(head, "/", 3)
	if len(parts) != 3 || !strings.EqualFold(strings.Trim(parts[0], " \t"), "SIP") || !isToken(strings.Trim(parts[1], " \t")) {
		return v, false
	}
	sent := strings.Fields(parts[2])
	if len(sent) < 2 || !isToken(sent[0]) {
		return v, false
	}
	v.transport = strings.ToUpper(sent[0])
	var ok bool
	v.host, v.port, ok = splitHost(strings.Join(sent[1:], ""))
	return v, ok
}

// maxMended is how many parameters of a broken Via are looked at.
const maxMended = 8

// mendVia returns a Via value as far as it can be read, so that a request whose
// Via is broken can be told so; it fails where not even the host is good. What
// can be read whole comes back as it is.
func mendVia(value string) (string, bool) {
	if _, ok := parseVia(value); ok {
		return value, true
	}
	mended, rest, more := strings.Cut(value, ";")
	if _, ok := parseVia(mended); !ok {
		return "", false
	}
	for range maxMended {
		if !more {
			break
		}
		var param string
		param, rest, more = strings.Cut(rest, ";")
		if _, ok := parseVia(mended + ";" + param); !ok {
			break
		}
		mended += ";" + param
	}
	return mended, true
}

// splitHost splits host[:port]. The host is a name, an IPv4 address or an IPv6
// address in brackets, which are kept.
func splitHost(s string) (host string, port int, ok bool) {
	rest := ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", 0, false
		}
		host, rest = s[:end+1], s[end+1:]
		if a, err := netip.ParseAddr(twoColons(host[1:end])); err != nil || !a.Is6() {
			return "", 0, false
		}
	} else {
		end := strings.IndexByte(s, ':')
		if end < 0 {
			end = len(s)
		}
		host, rest = s[:end], s[end:]
		for i := range len(host) {
			c := host[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
				return "", 0, false
			}
		}
	}
	if rest == "" {
		return host, 0, host != ""
	}
	port, ok = digits(strings.TrimPrefix(rest, ":"), 65535)
	return host, port, ok && rest[0] == ':' && port > 0 && host != ""
}

// twoColons rewrites an IPv6 address as RFC 3261's grammar allowed it by
// mistake: with a third colon before an IPv4 address, which is to be tolerated
// (RFC 5118 section 4.10).
func twoColons(s string) string {
	head, v4, found := strings.Cut(s, ":::")
	if _, err := netip.ParseAddr(v4); !found || err != nil || strings.Contains(v4, ":") {
		return s
	}
	return head + "::" + v4
}

// address is a name-addr or addr-spec with its header parameters.
type address struct {
	display string // unquoted
	uri     string
	params  params
}

// parseAddress reads From, To, Contact, Route and their like.
func parseAddress(s string) (address, bool) {
	var a address
	open := angle(s)
	if open < 0 { // addr-spec: what follows a semicolon belongs to the header
		uri, tail, more := strings.Cut(s, ";")
		a.uri = strings.Trim(uri, " \t")
		if more {
			ps, ok := parseParams(tail)
			if !ok {
				return a, false
			}
			a.params = ps
		}
		return a, a.uri != "" && !strings.ContainsAny(a.uri, " \t\"<>,?")
	}
	shut := strings.IndexByte(s[open:], '>')
	if shut < 0 {
		return a, false
	}
	shut += open
	a.display = unquote(strings.Trim(s[:open], " \t"))
	a.uri = s[open+1 : shut]
	tail := strings.Trim(s[shut+1:], " \t")
	if tail != "" {
		if tail[0] != ';' {
			return a, false
		}
		ps, ok := parseParams(tail[1:])
		if !ok {
			return a, false
		}
		a.params = ps
	}
	return a, a.uri != "" && !strings.ContainsAny(a.uri, " \t\"<>")
}

// angle returns where the first angle bracket outside quotes opens, or -1.
func angle(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '<' && !quoted:
			return i
		}
	}
	return -1
}

// unquote takes the quotes off a display name.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// tag returns the tag of a From or To value, "" without one.
func tag(value string) string {
	a, ok := parseAddress(value)
	if !ok {
		return ""
	}
	t, _ := a.params.get("tag")
	return t
}

// uri is a SIP, SIPS or tel URI.
type uri struct {
	scheme  string // lower case
	user    string // percent-escapes as they came, password cut off; a tel number
	host    string // brackets kept
	port    int
	params  params
	headers bool // "?…" was there
}

// parseURI reads a URI. Of other schemes than sip and sips only scheme and, for
// tel, the number are known.
func parseURI(s string) (uri, bool) {
	scheme, rest, found := strings.Cut(s, ":")
	u := uri{scheme: strings.ToLower(scheme)}
	if !found || !isScheme(scheme) || strings.ContainsAny(s, " \t<>\"") {
		return u, false
	}
	if u.scheme == "tel" {
		u.user, _, _ = strings.Cut(rest, ";")
		return u, u.user != ""
	}
	if u.scheme != "sip" && u.scheme != "sips" {
		return u, true
	}
	if user, host, at := strings.Cut(rest, "@"); at {
		u.user, _, _ = strings.Cut(user, ":")
		rest = host
		if u.user == "" {
			return u, false
		}
	}
	rest, _, u.headers = strings.Cut(rest, "?")
	rest, tail, more := strings.Cut(rest, ";")
	var ok bool
	if u.host, u.port, ok = splitHost(rest); !ok {
		return u, false
	}
	if more {
		u.params, ok = parseParams(tail)
	}
	return u, ok
}

// isScheme checks the scheme of a URI (RFC 3986 section 3.1).
func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
		if !letter && (i == 0 || ((c < '0' || c > '9') && c != '+' && c != '-' && c != '.')) {
			return false
		}
	}
	return s != ""
}

// transport returns the transport that a URI asks for, "" when it does not.
func (u uri) transport() string {
	t, _ := u.params.get("transport")
	return strings.ToLower(t)
}

// proto returns the protocol that a URI leads to, other where it leaves that
// open. sips leads to TLS whatever transport says (RFC 3261 section 26.2.2).
func (u uri) proto(other string) string {
	switch t := u.transport(); {
	case u.scheme == "sips":
		return "tls"
	case t == "udp" || t == "tcp" || t == "tls":
		return t
	}
	return other
}

// portOf returns the port of a protocol where none is written.
func portOf(proto string) int {
	if proto == "tls" {
		return defaultTLSPort
	}
	return defaultPort
}

// addr returns the host as an address, if it is one.
func (u uri) addr() (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.Trim(u.host, "[]"))
	return a.Unmap(), err == nil
}

// hostPort writes host:port, without the port when it is zero.
func hostPort(host string, port int) string {
	if port == 0 {
		return host
	}
	return host + ":" + strconv.Itoa(port)
}

// hostOf writes an address as a URI or Via does, IPv6 in brackets.
func hostOf(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return "[" + a.WithZone("").String() + "]"
}

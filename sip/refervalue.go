package sip

import (
	"net/netip"
	"net/url"
	"strings"
)

// Replaces names a dialog, with the tags as the one who is to replace it there
// sees them (RFC 3891). The zero value names none.
type Replaces struct {
	CallID, ToTag, FromTag string
	EarlyOnly              bool
}

// maxReplaces bounds what is carried on of a stranger's header.
const maxReplaces = 512

// String returns the header's value.
func (r Replaces) String() string {
	if r.CallID == "" {
		return ""
	}
	value := r.CallID + ";to-tag=" + r.ToTag + ";from-tag=" + r.FromTag
	if r.EarlyOnly {
		value += ";early-only"
	}
	return value
}

// parseReplaces reads a Replaces header (RFC 3891 section 6.1). Parameters that
// it does not know are left out.
func parseReplaces(value string) (r Replaces, ok bool) {
	if len(value) > maxReplaces {
		return r, false
	}
	id, tail, _ := strings.Cut(value, ";")
	id = strings.Trim(id, " \t")
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f || id[i] == ',' {
			return r, false
		}
	}
	ps, ok := parseParams(tail)
	if !ok {
		return r, false
	}
	for _, p := range ps {
		to := map[string]*string{"to-tag": &r.ToTag, "from-tag": &r.FromTag}[p.name]
		switch {
		case p.name == "early-only":
			r.EarlyOnly = true
		case to == nil:
		case *to != "" || !isToken(p.value):
			return Replaces{}, false
		default:
			*to = p.value
		}
	}
	r.CallID = id
	if id == "" || r.ToTag == "" || r.FromTag == "" {
		return Replaces{}, false
	}
	return r, true
}

// referTo is whom a REFER names.
type referTo struct {
	uri      uri
	user     string // escapes undone
	replaces Replaces
}

// parseReferTo reads Refer-To strictly: it is dialled at a PBX. A PBX may leave
// the scheme out, and the host too; all else that is not the user, the host and
// one Replaces is a fault.
func parseReferTo(value string) (referTo, *fault) {
	var t referTo
	a, ok := parseAddress(value)
	if !ok || len(value) > maxReplaces {
		return t, malformed("Bad Refer-To")
	}
	text, headers, more := strings.Cut(a.uri, "?")
	if scheme, _, colon := strings.Cut(text, ":"); !colon || !isScheme(scheme) {
		text = "sip:" + text
	}
	if t.uri, ok = parseURI(text); !ok {
		return t, malformed("Bad Refer-To")
	}
	switch t.uri.scheme {
	case "sip", "sips", "tel":
	default:
		return t, &fault{status: 416, label: "scheme", text: "Unsupported URI Scheme"}
	}
	if method, is := t.uri.params.get("method"); is && method != "INVITE" {
		return t, malformed("Bad Refer-To")
	}
	user := t.uri.user
	if _, number := t.uri.addr(); user == "" && !number && !strings.Contains(a.uri, ":") {
		user, t.uri.host = t.uri.host, "" // <601>
	}
	info, _, at := strings.Cut(text, "@")
	if at && strings.Count(info, ":") > 1 { // a password
		return t, malformed("Bad Refer-To")
	}
	user, err := url.PathUnescape(user)
	if err != nil || user == "" || len(user) > maxHeader || strings.ContainsAny(user, "%@:;?/\\\"<>, ") || printable(user, maxHeader) != user {
		return t, malformed("Bad Refer-To")
	}
	t.user = user
	if !more {
		return t, nil
	}
	replaced := false
	for header := range strings.SplitSeq(headers, "&") {
		name, escaped, _ := strings.Cut(header, "=")
		plain, err := url.PathUnescape(escaped)
		switch {
		case err == nil && strings.EqualFold(name, "Require") && strings.EqualFold(plain, "replaces"): // says what Replaces means anyway
		case err != nil || !strings.EqualFold(name, "Replaces") || replaced:
			return t, malformed("Bad Refer-To")
		default:
			replaced = true
			if t.replaces, ok = parseReplaces(plain); !ok {
				return t, malformed("Bad Replaces")
			}
		}
	}
	if !replaced {
		return t, malformed("Bad Refer-To")
	}
	return t, nil
}

// leadsToTrunk tells whether a URI names the PBX of a trunk: one of its
// addresses, or a host that its configuration names. Nothing is looked up.
func (s *Server) leadsToTrunk(t *trunk, u uri) bool {
	if u.host == "" || u.scheme == "tel" {
		return true
	}
	if a, literal := u.addr(); literal {
		return t.allows(a) && !s.isOurs(a, u.port)
	}
	for _, n := range t.names {
		if strings.EqualFold(n.uri.host, u.host) {
			return true
		}
	}
	return strings.EqualFold(t.cfg.FromHost, u.host) && !strings.EqualFold(s.publicHost, u.host)
}

// isOurs tells whether an address is one that we listen on.
func (s *Server) isOurs(a netip.Addr, port int) bool {
	if port == 0 {
		port = defaultPort
	}
	at := addrPort(a, port)
	for _, proto := range []string{"udp", "tcp", "tls"} {
		host, own := s.localHost(endpoint{proto: proto, addr: at})
		if own == port && strings.Trim(host, "[]") == a.String() {
			return true
		}
	}
	return false
}

// maxMoved is how many users of a redirection are told of.
const maxMoved = 5

// redirected returns whom a redirection names at the trunk; nobody, when its
// contacts lead elsewhere.
func (c *Session) redirected(m *message) (users []string) {
	if m.status < 300 || m.status >= 400 {
		return nil
	}
	for _, value := range m.all("Contact") {
		to, bad := parseReferTo(value)
		if bad == nil && to.replaces == (Replaces{}) && to.uri.scheme != "tel" && c.s.leadsToTrunk(c.trunk, to.uri) {
			users = append(users, to.user)
		}
		if len(users) == maxMoved {
			break
		}
	}
	return users
}

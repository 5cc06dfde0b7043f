package sip

import (
	"slices"
	"strings"
)

// The methods that are served, and the answer to the others that RFCs name. A
// method that nobody knows is 501 (RFC 3261 section 21.5.2).
var methods = map[string]int{
	"INVITE": 0, "ACK": 0, "BYE": 0, "CANCEL": 0, "OPTIONS": 0, "UPDATE": 0, "INFO": 0,
	"PRACK": 0, "REFER": 0, "NOTIFY": 0,
	"REGISTER": 405, "SUBSCRIBE": 405, "MESSAGE": 405, "PUBLISH": 405,
}

const (
	allow       = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO, PRACK, REFER, NOTIFY"
	supported   = "timer, 100rel, replaces"
	contentSDP  = "application/sdp"
	maxCSeq     = 1<<31 - 1 // RFC 3261 section 8.1.1.5
	maxForwards = 70
)

// check is the gate in front of every handler: it lets a request through only
// when everything that a handler reads is there, once, and well formed. The
// order of the questions is that of RFC 3261 section 8.2, grammar first.
func check(m *message) *fault {
	for _, question := range []func(*message) *fault{checkFrame, checkURI, checkMethod, checkScheme, checkHops, checkRequire, checkExpiry, checkContent, checkIdentity} {
		if f := question(m); f != nil {
			return f
		}
	}
	return nil
}

// checkFrame asks for the headers that every message has (RFC 3261 section
// 8.1.1); a response has no Max-Forwards.
func checkFrame(m *message) *fault {
	for _, name := range single {
		if m.count(name) > 1 {
			return malformed("Doubled " + name)
		}
	}
	if !m.has("Via") {
		return malformed("Missing Via")
	}
	for _, value := range m.all("Via") {
		if _, ok := parseVia(value); !ok {
			return malformed("Bad Via")
		}
	}
	for _, name := range []string{"From", "To"} {
		if !m.has(name) {
			return malformed("Missing " + name)
		}
		if a, ok := parseAddress(m.get(name)); !ok || !wholeURI(a.uri) || hasTwoTags(a) {
			return malformed("Bad " + name)
		}
	}
	if id := m.get("Call-ID"); id == "" || strings.ContainsAny(id, " \t,;") || strings.ContainsFunc(id, isControl) {
		return malformed("Bad Call-ID")
	}
	number, method, _ := strings.Cut(strings.ReplaceAll(m.get("CSeq"), "\t", " "), " ")
	method = strings.Trim(method, " ")
	n, ok := digits(number, maxCSeq)
	if !ok || !isToken(method) || (m.isRequest() && method != m.method) {
		return malformed("Bad CSeq")
	}
	m.setCSeq(n, method)
	return nil
}

func wholeURI(s string) bool {
	_, ok := parseURI(s)
	return ok
}

func hasTwoTags(a address) bool {
	n := 0
	for _, p := range a.params {
		if p.name == "tag" {
			n++
			if !isToken(p.value) {
				return true
			}
		}
	}
	return n > 1
}

// checkMethod answers methods that are not ours.
func checkMethod(m *message) *fault {
	status, known := methods[m.method]
	switch {
	case !known:
		return &fault{501, "method", "Not Implemented", []field{{"Allow", allow}}}
	case status != 0:
		return &fault{status, "method", "Method Not Allowed", []field{{"Allow", allow}}}
	}
	return nil
}

// checkURI looks at the form of the Request-URI.
func checkURI(m *message) *fault {
	if u, ok := parseURI(m.uri); !ok || u.headers {
		return malformed("Bad Request-URI")
	}
	return nil
}

// checkScheme looks at what kind of URI it is.
func checkScheme(m *message) *fault {
	if u, _ := parseURI(m.uri); u.scheme != "sip" && u.scheme != "sips" && u.scheme != "tel" {
		return &fault{416, "scheme", "Unsupported URI Scheme", nil}
	}
	return nil
}

// checkHops looks at Max-Forwards.
func checkHops(m *message) *fault {
	n, ok := digits(m.get("Max-Forwards"), 255)
	switch {
	case !ok:
		return malformed("Bad Max-Forwards")
	case n == 0:
		return &fault{483, "hops", "Too Many Hops", nil}
	}
	return nil
}

// checkRequire refuses every extension that a peer insists on and we do not
// have; an ACK or CANCEL may not insist (RFC 3261 section 8.2.2.3).
func checkRequire(m *message) *fault {
	if m.method == "ACK" || m.method == "CANCEL" || !m.has("Require") {
		return nil
	}
	var tags []string
	for _, value := range m.all("Require") {
		list, ok := splitList(value)
		for _, t := range list {
			if !ok || !isToken(t) {
				return malformed("Bad Require")
			}
			if t = strings.ToLower(t); !mayRequire(m.method, t) {
				tags = append(tags, t)
			}
		}
	}
	if tags == nil {
		return nil
	}
	return &fault{420, "require", "Bad Extension", []field{{"Unsupported", strings.Join(tags, ", ")}}}
}

// requirable are the extensions that a request may insist on, beside those that
// all may: session timers and reliable provisional answers.
var requirable = map[string][]string{
	"INVITE": {"replaces"},
	"REFER":  {"norefersub"},
}

func mayRequire(method, tag string) bool {
	return tag == "timer" || tag == "100rel" || slices.Contains(requirable[method], tag)
}

// checkContent asks of the methods that open or move a session that their body
// be a session description, or have one, and that they can be reached.
func checkContent(m *message) *fault {
	switch m.method {
	case "INVITE", "UPDATE", "PRACK":
	case "ACK": // nobody could be told
		if m.isMultipart() {
			m.unpack()
		}
		return nil
	default:
		return nil
	}
	if encoding := m.get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &fault{415, "content", "Unsupported Media Type", []field{{"Accept-Encoding", "identity"}}}
	}
	if len(m.body) > 0 {
		kind, _, _ := strings.Cut(m.get("Content-Type"), ";")
		kind = strings.Trim(kind, " \t")
		switch {
		case kind == "":
			return malformed("Missing Content-Type")
		case m.isMultipart() && m.unpack():
		case !strings.EqualFold(kind, contentSDP):
			return &fault{415, "content", "Unsupported Media Type", []field{{"Accept", contentSDP}}}
		}
	}
	if accept := strings.ToLower(strings.Join(m.all("accept"), ",")); accept != "" &&
		!strings.Contains(accept, contentSDP) && !strings.Contains(accept, "*/*") && !strings.Contains(accept, "application/*") {
		return &fault{406, "content", "Not Acceptable", []field{{"Accept", contentSDP}}}
	}
	contacts := m.all("Contact")
	if m.method == "INVITE" && len(contacts) != 1 || len(contacts) > 1 {
		return malformed("Bad Contact")
	}
	for _, value := range append(contacts, m.all("Record-Route")...) {
		a, ok := parseAddress(value)
		u, good := parseURI(a.uri)
		if !ok || !good || (u.scheme != "sip" && u.scheme != "sips") {
			return malformed("Bad Contact")
		}
	}
	return nil
}

// checkResponse asks of a response what our transactions and dialogs read.
func checkResponse(m *message) *fault {
	if f := checkFrame(m); f != nil {
		return f
	}
	if m.isMultipart() {
		m.unpack()
	}
	if m.count("Via") != 1 {
		return malformed("Not Ours") // RFC 3261 section 8.1.3.3
	}
	return nil
}

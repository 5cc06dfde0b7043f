package sip

import (
	"bytes"
	"strconv"
	"strings"
)

// message is a SIP message as text: names in their long, canonical form,
// folding undone, values otherwise as they came or will go. Values are never
// copied from one side of the gateway to the other, only back to their sender.
type message struct {
	method  string // request
	uri     string // request
	version string
	status  int    // response
	reason  string // response
	fields  []field
	body    []byte
	from    endpoint // where it came from
}

// field is one header field, or one member of a comma list of Via, Route,
// Record-Route or Contact.
type field struct{ name, value string }

func (m *message) isRequest() bool { return m.method != "" }

// get returns the first value of a header, "" when there is none.
func (m *message) get(name string) string {
	for i := range m.fields {
		if m.fields[i].name == name {
			return m.fields[i].value
		}
	}
	return ""
}

// has tells whether a header is there at all.
func (m *message) has(name string) bool { return m.count(name) > 0 }

// count returns how often a header occurs.
func (m *message) count(name string) int {
	n := 0
	for i := range m.fields {
		if m.fields[i].name == name {
			n++
		}
	}
	return n
}

// all returns every value of a header, in order.
func (m *message) all(name string) []string {
	var values []string
	for i := range m.fields {
		if m.fields[i].name == name {
			values = append(values, m.fields[i].value)
		}
	}
	return values
}

// add appends a header; an empty value adds nothing.
func (m *message) add(name, value string) {
	if value != "" {
		m.fields = append(m.fields, field{name, value})
	}
}

// cseq splits CSeq into number and method. The gate has checked its form.
func (m *message) cseq() (uint32, string) {
	number, method, _ := strings.Cut(m.get("CSeq"), " ")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil {
		return 0, ""
	}
	return uint32(n), strings.TrimSpace(method)
}

// set replaces the first value of a header that is there.
func (m *message) set(name, value string) {
	for i := range m.fields {
		if m.fields[i].name == name {
			m.fields[i].value = value
			return
		}
	}
}

// setCSeq rewrites CSeq with one blank, whatever stood between its parts.
func (m *message) setCSeq(n int, method string) { m.set("CSeq", strconv.Itoa(n)+" "+method) }

// supports tells whether a message names an extension as supported or required.
func (m *message) supports(option string) bool {
	return m.names("Supported", option) || m.names("Require", option)
}

// names tells whether a comma list has a member, whatever its case.
func (m *message) names(header, member string) bool {
	for _, value := range m.all(header) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), member) {
				return true
			}
		}
	}
	return false
}

// bytes returns the message as it goes on the wire, with its Content-Length.
func (m *message) bytes() []byte {
	var b bytes.Buffer
	b.Grow(512 + len(m.body))
	if m.isRequest() {
		b.WriteString(m.method + " " + m.uri + " SIP/2.0\r\n")
	} else {
		b.WriteString("SIP/2.0 " + strconv.Itoa(m.status) + " " + m.reason + "\r\n")
	}
	for _, f := range m.fields {
		b.WriteString(f.name + ": " + f.value + "\r\n")
	}
	b.WriteString("Content-Length: " + strconv.Itoa(len(m.body)) + "\r\n\r\n")
	b.Write(m.body)
	return b.Bytes()
}

// canonical maps lower-case names, compact ones too, to the form in which
// fields keep them. Other names are kept in lower case.
var canonical = map[string]string{
	"v": "Via", "via": "Via",
	"f": "From", "from": "From",
	"t": "To", "to": "To",
	"i": "Call-ID", "call-id": "Call-ID",
	"m": "Contact", "contact": "Contact",
	"c": "Content-Type", "content-type": "Content-Type",
	"e": "Content-Encoding", "content-encoding": "Content-Encoding",
	"l": "Content-Length", "content-length": "Content-Length",
	"k": "Supported", "supported": "Supported",
	"cseq": "CSeq", "max-forwards": "Max-Forwards", "route": "Route", "record-route": "Record-Route",
	"x": "Session-Expires", "session-expires": "Session-Expires", "min-se": "Min-SE", "rseq": "RSeq", "rack": "RAck",
	"require": "Require", "reason": "Reason", "retry-after": "Retry-After",
	"www-authenticate": "WWW-Authenticate", "proxy-authenticate": "Proxy-Authenticate",
	"p-asserted-identity": "P-Asserted-Identity", "remote-party-id": "Remote-Party-ID", "privacy": "Privacy",
	"r": "Refer-To", "refer-to": "Refer-To", "b": "Referred-By", "referred-by": "Referred-By", "replaces": "Replaces",
	"u": "Allow-Events", "o": "Event", "s": "Subject",
}

// listed are the headers whose comma lists are taken apart.
var listed = map[string]bool{"Via": true, "Route": true, "Record-Route": true, "Contact": true}

// single are the headers that may stand only once (RFC 3261 section 20).
var single = []string{"From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type"}

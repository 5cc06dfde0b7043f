package faketrunk

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Header is one line of a message's head.
type Header struct{ Name, Value string }

// Message is one SIP message as it was on the wire. It must not be changed.
type Message struct {
	At        time.Time
	In        bool   // received, not sent
	Peer      string // the other end's address and port
	Transport string // udp or tcp
	Method    string // of a request; empty in a response
	URI       string // of a request
	Status    int    // of a response
	Phrase    string // of a response
	Headers   []Header
	Body      []byte
}

// compact names the long form of the one-letter headers, RFC 3261 section 20.
var compact = map[string]string{
	"v": "via", "f": "from", "t": "to", "i": "call-id", "m": "contact", "l": "content-length",
	"c": "content-type", "k": "supported", "s": "subject", "e": "content-encoding", "r": "refer-to", "x": "session-expires",
}

var errMessage = errors.New("not a SIP message")

// parse reads one message. A body longer than Content-Length is cut, RFC 3261
// section 18.3; a shorter one is an error.
func parse(b []byte) (*Message, error) {
	head, body, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return nil, fmt.Errorf("%w: no empty line", errMessage)
	}
	lines := strings.Split(string(head), "\r\n")
	m := &Message{At: time.Now(), In: true}
	if err := m.startLine(lines[0]); err != nil {
		return nil, err
	}
	for _, l := range lines[1:] {
		if n := len(m.Headers); n > 0 && l != "" && (l[0] == ' ' || l[0] == '\t') { // folded
			m.Headers[n-1].Value += " " + strings.TrimSpace(l)
			continue
		}
		name, value, ok := strings.Cut(l, ":")
		if !ok {
			return nil, fmt.Errorf("%w: header line %q", errMessage, l)
		}
		m.Headers = append(m.Headers, Header{strings.TrimSpace(name), strings.TrimSpace(value)})
	}
	m.Body = append([]byte(nil), body...)
	if v := m.Get("Content-Length"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > len(body) {
			return nil, fmt.Errorf("%w: Content-Length %q with %d bytes of body", errMessage, v, len(body))
		}
		m.Body = m.Body[:n]
	}
	return m, nil
}

func (m *Message) startLine(l string) error {
	if rest, ok := strings.CutPrefix(l, "SIP/2.0 "); ok {
		code, phrase, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(code)
		if err != nil || n < 100 || n > 699 {
			return fmt.Errorf("%w: status line %q", errMessage, l)
		}
		m.Status, m.Phrase = n, phrase
		return nil
	}
	parts := strings.Split(l, " ")
	if len(parts) != 3 || parts[2] != "SIP/2.0" || parts[0] == "" {
		return fmt.Errorf("%w: first line %q", errMessage, l)
	}
	m.Method, m.URI = parts[0], parts[1]
	return nil
}

// Get returns the first header of that name (its long form), or "".
func (m *Message) Get(name string) string {
	for _, h := range m.Headers {
		if sameName(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// All returns every header of that name, in order.
func (m *Message) All(name string) []string {
	var all []string
	for _, h := range m.Headers {
		if sameName(h.Name, name) {
			all = append(all, h.Value)
		}
	}
	return all
}

// CSeq returns the sequence number and the method it belongs to.
func (m *Message) CSeq() (n uint32, method string) {
	num, method, _ := strings.Cut(m.Get("CSeq"), " ")
	v, err := strconv.ParseUint(num, 10, 32)
	if err != nil {
		return 0, ""
	}
	return uint32(v), strings.TrimSpace(method)
}

// CallID returns the Call-ID.
func (m *Message) CallID() string { return m.Get("Call-ID") }

// String is the first line, as a ladder prints it.
func (m *Message) String() string {
	way := "->"
	if m.In {
		way = "<-"
	}
	if m.Method != "" {
		return way + " " + m.Method + " " + m.URI
	}
	_, method := m.CSeq()
	return fmt.Sprintf("%s %d %s (%s)", way, m.Status, m.Phrase, method)
}

func (m *Message) branch() string { return param(m.Get("Via"), "branch") }

func sameName(is, want string) bool {
	if long, ok := compact[strings.ToLower(is)]; ok {
		is = long
	}
	return strings.EqualFold(is, want)
}

// param returns a header parameter such as tag or branch, or "".
func param(value, name string) string {
	if i := strings.LastIndexByte(value, '>'); i >= 0 {
		value = value[i:]
	}
	for _, p := range strings.Split(value, ";")[1:] {
		k, v, _ := strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(k), name) {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// uriOf returns the URI of a From, To, Contact or Route.
func uriOf(value string) string {
	if _, rest, ok := strings.Cut(value, "<"); ok {
		uri, _, _ := strings.Cut(rest, ">")
		return uri
	}
	uri, _, _ := strings.Cut(value, ";")
	return strings.TrimSpace(uri)
}

// hostOf returns host:port and the transport of a sip URI.
func hostOf(uri string) (addr, transport string) {
	rest, ok := strings.CutPrefix(uri, "sip:")
	if !ok {
		return "", ""
	}
	transport = "udp"
	rest, params, _ := strings.Cut(rest, ";")
	if strings.Contains(strings.ToLower(params), "transport=tcp") {
		transport = "tcp"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = rest[i+1:]
	}
	if !strings.Contains(strings.TrimPrefix(rest[strings.LastIndexByte(rest, ']')+1:], "]"), ":") {
		rest += ":5060"
	}
	return rest, transport
}

// text writes a message; Content-Length is added.
func text(start string, headers []Header, body []byte) []byte {
	var b bytes.Buffer
	b.WriteString(start + "\r\n")
	for _, h := range headers {
		b.WriteString(h.Name + ": " + h.Value + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(body))
	b.Write(body)
	return b.Bytes()
}

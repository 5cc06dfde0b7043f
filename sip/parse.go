package sip

import (
	"bytes"
	"strconv"
	"strings"
)

// What a message may cost, checked before anything is kept of it.
const (
	maxMessage = 64 << 10 // bytes
	maxLine    = 8 << 10  // bytes of one header field, folding included
	maxFields  = 64       // header fields
	maxMembers = 256      // members of comma lists, all together
)

// fault says why a message is refused: the answer's status, the metric's
// label, and words for the answer's reason phrase.
type fault struct {
	status int
	label  string
	text   string
	extra  []field
}

func malformed(text string) *fault { return &fault{status: 400, label: "malformed", text: text} }

// parse reads one message strictly. Where a request is too broken to be taken
// it returns both the fault and what was understood, so that it can be
// answered; m is nil when there is nothing that could be answered. datagram
// says that data ends where the transport says, not where Content-Length does.
func parse(data []byte, datagram bool) (m *message, f *fault) {
	head, body, found := bytes.Cut(data, []byte("\r\n\r\n"))
	if len(data) > maxMessage {
		f = &fault{status: 513, label: "size", text: "Message Too Large"}
		head = head[:min(len(head), maxMessage)]
	}
	if !found {
		f = first(f, malformed("No End Of Header"))
	}
	line, rest, _ := bytes.Cut(head, []byte("\r\n"))
	m, startFault := parseStart(line)
	if m == nil {
		return nil, startFault
	}
	f = first(f, startFault)
	f = first(f, m.parseFields(rest))
	f = first(f, m.takeBody(body, datagram))
	return m, f
}

// first keeps the fault that was found first.
func first(a, b *fault) *fault {
	if a != nil {
		return a
	}
	return b
}

// parseStart reads a request line or a status line (RFC 3261 section 7).
func parseStart(line []byte) (*message, *fault) {
	if len(line) > maxLine {
		return nil, &fault{status: 414, label: "size", text: "URI Too Long"}
	}
	parts := strings.Split(string(line), " ")
	if len(parts) >= 2 && strings.HasPrefix(parts[0], "SIP/") {
		status, ok := digits(parts[1], 699)
		if parts[0] != "SIP/2.0" || !ok || status < 100 || len(parts[1]) != 3 {
			return nil, malformed("")
		}
		return &message{version: parts[0], status: status, reason: strings.Join(parts[2:], " ")}, nil
	}
	last := parts[len(parts)-1]
	for last == "" && len(parts) > 1 { // trailing blanks: broken, but a request
		parts = parts[:len(parts)-1]
		last = parts[len(parts)-1]
	}
	if len(parts) < 3 || len(last) < 4 || !strings.EqualFold(last[:4], "SIP/") || !isToken(parts[0]) {
		return nil, malformed("")
	}
	m := &message{method: parts[0], uri: strings.Join(parts[1:len(parts)-1], " "), version: strings.ToUpper(last)}
	switch {
	case len(m.method)+len(m.uri)+len(last)+2 != len(line) || strings.ContainsAny(m.uri, " \t<>\"\r\n\x00"):
		return m, malformed("Bad Request Line")
	case m.version != "SIP/2.0":
		return m, &fault{status: 505, label: "version", text: "Version Not Supported"}
	}
	return m, nil
}

// parseFields undoes folding and takes the header fields apart. It reads on
// after a fault, because the answer needs the fields that are good.
func (m *message) parseFields(head []byte) *fault {
	var f *fault
	count, members := 0, 0
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		size := len(line)
		var folded []byte
		for len(head) > 0 && (head[0] == ' ' || head[0] == '\t') {
			var more []byte
			more, head, _ = bytes.Cut(head, []byte("\r\n"))
			size += len(more)
			if folded == nil {
				folded = append(folded, line...)
			}
			if size <= maxLine {
				folded = append(append(bytes.TrimRight(folded, " \t"), ' '), bytes.TrimLeft(more, " \t")...)
			}
		}
		if folded != nil && bytes.IndexByte(line, ':') >= 0 { // a name is never folded
			line = folded
		}
		if count++; count > maxFields {
			return first(f, &fault{status: 513, label: "size", text: "Too Many Header Fields"})
		}
		if size > maxLine {
			f = first(f, &fault{status: 513, label: "size", text: "Header Field Too Long"})
			continue
		}
		name, value, ok := cutField(line)
		if !ok {
			f = first(f, malformed("Bad Header Field"))
			continue
		}
		if !listed[name] {
			m.fields = append(m.fields, field{name, value})
			continue
		}
		list, ok := splitList(value)
		if members += len(list); !ok || members > maxMembers {
			f = first(f, malformed("Bad "+name))
			if name == "Via" {
				m.add(name, list[0]) // for the refusal: see mendVia
			}
			continue
		}
		for _, member := range list {
			m.fields = append(m.fields, field{name, member})
		}
	}
	return f
}

// cutField splits a header line. Blanks before the colon are grammar (RFC 3261
// section 7.3.1) and taken away, so nothing can hide behind them.
func cutField(line []byte) (name, value string, ok bool) {
	raw, rest, found := bytes.Cut(line, []byte(":"))
	if !found || !isText(rest) {
		return "", "", false
	}
	name = string(bytes.TrimRight(raw, " \t"))
	if !isToken(name) {
		return "", "", false
	}
	name = strings.ToLower(name)
	if long, known := canonical[name]; known {
		name = long
	}
	return name, string(bytes.Trim(rest, " \t")), true
}

// isText tells whether a value has no control character but tabs. The grammar
// has one exception: behind a backslash in a quoted string all but CR and LF may
// stand (RFC 3261 section 25.1, quoted-pair).
func isText(value []byte) bool {
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\' && i+1 < len(value) && value[i+1] != '\r' && value[i+1] != '\n':
			i++
		case c == '"':
			quoted = !quoted
		case isControl(rune(c)) && c != '\t':
			return false
		}
	}
	return true
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// takeBody cuts the body to its Content-Length. In a datagram a missing length
// means the rest, a body that is too short is a fault and surplus is dropped
// (RFC 3261 section 18.3).
func (m *message) takeBody(body []byte, datagram bool) *fault {
	values := m.all("Content-Length")
	switch {
	case len(values) > 1:
		return malformed("Doubled Content-Length")
	case len(values) == 0 && datagram:
		m.body = body
		return nil
	case len(values) == 0:
		return malformed("Missing Content-Length")
	}
	length, ok := digits(values[0], maxMessage)
	if !ok || length > len(body) {
		return malformed("Bad Content-Length")
	}
	m.body = body[:length]
	m.remove("Content-Length")
	return nil
}

// remove takes every field of a name away; bytes writes Content-Length itself.
func (m *message) remove(name string) {
	kept := m.fields[:0]
	for _, f := range m.fields {
		if f.name != name {
			kept = append(kept, f)
		}
	}
	m.fields = kept
}

// digits reads a plain decimal number of at most limit: no sign, no blanks.
func digits(s string, limit int) (int, bool) {
	if s == "" || len(s) > 19 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > int64(limit) {
		return 0, false
	}
	return int(n), true
}

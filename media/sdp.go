package media

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ErrBadSDP wraps every refusal of a session description that breaks the rules
// or lacks something that a call cannot do without.
var ErrBadSDP = errors.New("bad session description")

// ErrNoCodec says that the two sides have no codec in common.
var ErrNoCodec = errors.New("no common codec")

// What one description may cost us. Real ones have 1-3 kB and 30 lines.
const (
	maxSDPBytes    = 64 << 10
	maxSDPLines    = 1000
	maxSDPSections = 16
	maxSDPFormats  = 128
)

// attribute is one a= line; a flag like rtcp-mux has no value.
type attribute struct{ name, value string }

// description is a session description (RFC 8866) as far as audio calls look
// at it. It keeps the text's strings and interprets nothing.
type description struct {
	originAddr string // of o=
	sessionID  string
	version    string
	connection string // address of the session's c=, "" without one
	attributes []attribute
	sections   []section
}

// section is one m= line with what follows it.
type section struct {
	kind       string // audio, video
	port       uint16 // 0: refused by its side
	proto      string // RTP/AVP, UDP/TLS/RTP/SAVPF
	formats    []string
	connection string // its own c=, else the session's
	attributes []attribute
	session    []attribute
}

// parseSDP reads a description with CRLF or bare LF line ends. Unknown lines
// are skipped, as RFC 8866 section 5 asks of a receiver.
func parseSDP(text string) (*description, error) {
	if len(text) > maxSDPBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrBadSDP, len(text))
	}
	d := &description{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		if n > maxSDPLines {
			return nil, fmt.Errorf("%w: more than %d lines", ErrBadSDP, maxSDPLines)
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			continue
		}
		if n == 1 && line != "v=0" {
			return nil, fmt.Errorf("%w: does not start with v=0", ErrBadSDP)
		}
		if strings.ContainsAny(line, "\r\x00") {
			return nil, fmt.Errorf("%w: line %d has a control character", ErrBadSDP, n)
		}
		if len(line) < 2 || line[1] != '=' {
			return nil, fmt.Errorf("%w: line %d is not of the form x=value", ErrBadSDP, n)
		}
		if err := d.line(line[0], line[2:]); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrBadSDP, n, err)
		}
	}
	if n == 0 {
		return nil, fmt.Errorf("%w: empty", ErrBadSDP)
	}
	for i := range d.sections {
		s := &d.sections[i]
		s.session = d.attributes
		if s.connection == "" {
			s.connection = d.connection
		}
	}
	return d, nil
}

func (d *description) line(kind byte, value string) error {
	switch kind {
	case 'o':
		f := strings.Fields(value)
		if len(f) != 6 {
			return errors.New("o= needs six fields")
		}
		d.sessionID, d.version, d.originAddr = f[1], f[2], f[5]
	case 'c':
		addr, err := parseConnection(value)
		if err != nil {
			return err
		}
		if s := d.current(); s == nil {
			d.connection = addr
		} else if s.connection == "" {
			s.connection = addr
		}
	case 'm':
		if len(d.sections) == maxSDPSections {
			return fmt.Errorf("more than %d m= lines", maxSDPSections)
		}
		s, err := parseSection(value)
		if err != nil {
			return err
		}
		d.sections = append(d.sections, s)
	case 'a':
		name, val, _ := strings.Cut(value, ":")
		a := attribute{name: name, value: strings.TrimSpace(val)}
		if s := d.current(); s != nil {
			s.attributes = append(s.attributes, a)
		} else {
			d.attributes = append(d.attributes, a)
		}
	}
	return nil
}

// current is the section that lines belong to, nil while they are the session's.
func (d *description) current() *section {
	if len(d.sections) == 0 {
		return nil
	}
	return &d.sections[len(d.sections)-1]
}

// audio is the first audio section that is not refused.
func (d *description) audio() (*section, int) {
	for i := range d.sections {
		if s := &d.sections[i]; s.kind == "audio" && s.port != 0 {
			return s, i
		}
	}
	return nil, -1
}

// parseConnection reads "IN IP4 address", with the multicast suffix cut off.
func parseConnection(value string) (string, error) {
	f := strings.Fields(value)
	if len(f) != 3 || f[0] != "IN" || (f[1] != "IP4" && f[1] != "IP6") {
		return "", errors.New("c= is not an internet address")
	}
	addr, _, _ := strings.Cut(f[2], "/")
	return addr, nil
}

// parseSection reads "audio 3480 UDP/TLS/RTP/SAVPF 111 126".
func parseSection(value string) (section, error) {
	f := strings.Fields(value)
	if len(f) < 4 {
		return section{}, errors.New("m= needs a kind, a port, a protocol and formats")
	}
	if len(f)-3 > maxSDPFormats {
		return section{}, fmt.Errorf("m= has more than %d formats", maxSDPFormats)
	}
	text, _, _ := strings.Cut(f[1], "/")
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return section{}, errors.New("m= has no valid port")
	}
	return section{kind: f[0], port: uint16(port), proto: f[2], formats: f[3:]}, nil
}

// own is the section's attribute of that name.
func (s *section) own(name string) (string, bool) { return find(s.attributes, name) }

// attr is the section's attribute of that name, else the session's.
func (s *section) attr(name string) (string, bool) {
	if v, ok := find(s.attributes, name); ok {
		return v, true
	}
	return find(s.session, name)
}

func find(list []attribute, name string) (string, bool) {
	for _, a := range list {
		if a.name == name {
			return a.value, true
		}
	}
	return "", false
}

// address is where the section wants its packets, invalid for a host name.
func (s *section) address() netip.AddrPort {
	addr, err := netip.ParseAddr(s.connection)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), s.port)
}

// direction is sendrecv, sendonly, recvonly or inactive.
func (s *section) direction() string {
	for _, list := range [][]attribute{s.attributes, s.session} {
		for _, a := range list {
			switch a.name {
			case "sendrecv", "sendonly", "recvonly", "inactive":
				return a.name
			}
		}
	}
	return "sendrecv"
}

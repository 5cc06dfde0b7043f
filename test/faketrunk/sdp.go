package faketrunk

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Direction is the way of the media as its describer sees it, RFC 3264.
type Direction string

// The directions.
const (
	SendRecv Direction = "sendrecv"
	SendOnly Direction = "sendonly"
	RecvOnly Direction = "recvonly"
	Inactive Direction = "inactive"
)

var (
	errSDP   = errors.New("bad session description")
	errCodec = errors.New("no common codec")
)

// codec is a format of the m-line.
type codec struct {
	pt   uint8
	name string // PCMA, PCMU, telephone-event …
}

// session is what a description says about audio.
type session struct {
	remote    netip.AddrPort
	codecs    []codec
	direction Direction
}

// staticCodecs have their numbers from RFC 3551.
var staticCodecs = map[uint8]string{0: "PCMU", 3: "GSM", 8: "PCMA", 9: "G722", 18: "G729"}

// parseSDP reads a description strictly enough to notice one that a phone would
// refuse.
func parseSDP(b []byte) (session, error) {
	s := session{direction: SendRecv}
	bad := func(what string) (session, error) { return s, fmt.Errorf("%w: %s", errSDP, what) }
	var addr netip.Addr
	var port uint16
	var numbers []uint8
	names := map[uint8]string{}
	seen := map[byte]bool{}
	media := 0
	for line := range strings.Lines(string(b)) {
		if !strings.HasSuffix(line, "\n") {
			return bad("the last line has no end")
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 2 || line[1] != '=' {
			return bad(strconv.Quote(line))
		}
		kind, value := line[0], line[2:]
		seen[kind] = true
		if kind == 'm' {
			if media++; media > 1 {
				return bad("more than one stream")
			}
			f := strings.Fields(value)
			if len(f) < 4 || f[0] != "audio" || f[2] != "RTP/AVP" {
				return bad(line)
			}
			p, err := strconv.ParseUint(f[1], 10, 16)
			if err != nil {
				return bad(line)
			}
			port = uint16(p)
			for _, n := range f[3:] {
				pt, err := strconv.ParseUint(n, 10, 7)
				if err != nil {
					return bad(line)
				}
				numbers = append(numbers, uint8(pt))
			}
		}
		if kind == 'c' {
			f := strings.Fields(value)
			if len(f) != 3 || f[0] != "IN" {
				return bad(line)
			}
			var err error
			if addr, err = netip.ParseAddr(f[2]); err != nil || addr.Is4() != (f[1] == "IP4") {
				return bad(line)
			}
		}
		if kind == 'a' {
			name, v, _ := strings.Cut(value, ":")
			switch d := Direction(name); {
			case d == SendRecv || d == SendOnly || d == RecvOnly || d == Inactive:
				s.direction = d
			case name == "rtpmap":
				pt, enc, _ := strings.Cut(v, " ")
				n, err := strconv.ParseUint(pt, 10, 7)
				if err != nil {
					return bad(line)
				}
				enc, rate, _ := strings.Cut(enc, "/")
				if rate == "8000" || strings.HasPrefix(rate, "8000/") {
					names[uint8(n)] = enc
				} else {
					names[uint8(n)] = enc + "/" + rate
				}
			}
		}
	}
	for _, k := range []byte("vostm") {
		if !seen[k] {
			return bad("no " + string(k) + "= line")
		}
	}
	if !addr.IsValid() || port == 0 {
		return bad("no address")
	}
	s.remote = netip.AddrPortFrom(addr, port)
	for _, n := range numbers {
		name := names[n]
		if name == "" {
			name = staticCodecs[n]
		}
		if name != "" && !slices.Contains(s.codecs, codec{n, name}) {
			s.codecs = append(s.codecs, codec{n, name})
		}
	}
	return s, nil
}

// find returns the payload type of a codec by its name.
func (s session) find(name string) (uint8, bool) {
	for _, c := range s.codecs {
		if strings.EqualFold(c.name, name) {
			return c.pt, true
		}
	}
	return 0, false
}

// describe writes our own description.
func describe(id uint64, version int, local netip.AddrPort, codecs []codec, d Direction) []byte {
	var b strings.Builder
	family := "IP4"
	if local.Addr().Is6() {
		family = "IP6"
	}
	fmt.Fprintf(&b, "v=0\r\no=phone %d %d IN %s %v\r\ns=-\r\nc=IN %[3]s %[4]v\r\nt=0 0\r\nm=audio %[5]d RTP/AVP", id, version, family, local.Addr(), local.Port())
	for _, c := range codecs {
		fmt.Fprintf(&b, " %d", c.pt)
	}
	b.WriteString("\r\n")
	for _, c := range codecs {
		fmt.Fprintf(&b, "a=rtpmap:%d %s/8000\r\n", c.pt, c.name)
		if c.name == dtmfName {
			fmt.Fprintf(&b, "a=fmtp:%d 0-16\r\n", c.pt)
		}
	}
	fmt.Fprintf(&b, "a=ptime:20\r\na=%s\r\n", d)
	return []byte(b.String())
}

package fakemeta

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// description is what the relay needs of a session description.
type description struct {
	ufrag, pwd  string
	fingerprint string // upper-case hex with colons
	setup       string
	mid         string
	audio       []coding // in the order of preference
	event       uint8    // payload type of telephone-event; 0: none
}

// coding is a way to encode audio and its payload type.
type coding struct {
	name string // opus, PCMA, PCMU
	pt   uint8
}

// reader takes a session description apart, line by line.
type reader struct {
	d       description
	offered *description // nil: this is an offer
	pts     []string     // of the m-line
	maps    map[string]string
	media   int
	seen    map[string]int // attributes that may come once
	ssrcs   []string
	bundle  string
	fail    *graphError
}

var (
	lineForm        = regexp.MustCompile(`^[a-z]=[^\x00]*$`)
	fingerprintForm = regexp.MustCompile(`^[0-9A-F]{2}(:[0-9A-F]{2}){31}$`)
	mediaForm       = regexp.MustCompile(`^audio (\d{1,5}) UDP/TLS/RTP/SAVPF((?: \d{1,3})+)$`)
	iceCharForm     = regexp.MustCompile(`^[A-Za-z0-9+/=]+$`)
)

// readSDP checks a session description as Meta does: an answer to what was
// offered, or an offer.
func readSDP(text string, offered *description) (description, *graphError) {
	if fail := checkLines(text); fail != nil {
		return description{}, fail
	}
	r := &reader{offered: offered, maps: map[string]string{}, seen: map[string]int{}}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		if r.line(line[0], line[2:]); r.fail != nil {
			return description{}, r.fail
		}
	}
	if r.finish(); r.fail != nil {
		return description{}, r.fail
	}
	return r.d, nil
}

// checkLines wants CRLF after every line and the lines that begin every
// description, in their order.
func checkLines(text string) *graphError {
	if text == "" {
		return invalid("session.sdp is missing")
	}
	rest := strings.ReplaceAll(text, "\r\n", "")
	if strings.ContainsAny(rest, "\r\n") || !strings.HasSuffix(text, "\r\n") {
		return invalid("SDP lines must end with CRLF (RFC 8866)")
	}
	lines := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
	for i, l := range lines {
		if !lineForm.MatchString(l) {
			return invalid(fmt.Sprintf("SDP line %d is not of the form <type>=<value>", i+1))
		}
	}
	for i, want := range []string{"v=0", "o=", "s="} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			return invalid(fmt.Sprintf("SDP line %d must begin with %s", i+1, want))
		}
	}
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "t=") }) {
		return invalid("SDP has no t= line")
	}
	return nil
}

func (r *reader) bad(format string, args ...any) { r.fail = invalid(fmt.Sprintf(format, args...)) }

func (r *reader) line(kind byte, value string) {
	switch kind {
	case 'm':
		m := mediaForm.FindStringSubmatch(value)
		r.media++
		switch {
		case r.media > 1:
			r.bad("SDP must have exactly one media line")
		case m == nil:
			r.bad("SDP media line must be audio over UDP/TLS/RTP/SAVPF")
		case m[1] == "0":
			r.bad("SDP media line has port 0")
		default:
			r.pts = strings.Fields(m[2])
		}
	case 'c':
		f := strings.Fields(value)
		if len(f) != 3 || f[0] != "IN" || f[1] != "IP4" && f[1] != "IP6" || !isAddr(f[2]) {
			r.bad("SDP connection line %q is malformed", value)
		}
		r.seen["c="]++
	case 'a':
		name, v, _ := strings.Cut(value, ":")
		r.attribute(name, v)
	}
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

func (r *reader) attribute(name, v string) {
	switch name {
	case "ice-ufrag", "ice-pwd", "setup", "mid", "rtcp-mux", "ptime", "maxptime", "sendrecv", "sendonly", "recvonly", "inactive":
		if r.seen[name]++; r.seen[name] > 1 {
			r.bad("SDP attribute %s is there twice", name)
			return
		}
	}
	switch name {
	case "ice-lite":
		r.bad("SDP must not have a=ice-lite, the business side is a full agent")
	case "ice-options":
		if slices.Contains(strings.Fields(v), "trickle") {
			r.fail = badSDP("trickle ICE is not supported")
		}
	case "candidate":
		r.candidate(v)
	case "ice-ufrag":
		r.d.ufrag = v
	case "ice-pwd":
		r.d.pwd = v
	case "fingerprint":
		r.fingerprint(v)
	case "setup":
		r.setup(v)
	case "mid":
		r.d.mid = v
	case "group":
		if mids, ok := strings.CutPrefix(v, "BUNDLE "); ok {
			r.bundle = mids
		}
	case "crypto":
		r.bad("SDP has a=crypto, but the number uses DTLS")
	case "sendonly", "recvonly", "inactive":
		r.bad("SDP direction must be sendrecv")
	case "ptime", "maxptime":
		if v != "20" && (name == "ptime" || r.under20(v)) {
			r.bad("SDP %s %q is not supported, packets are 20 ms long", name, v)
		}
	case "rtpmap":
		if pt, enc, ok := strings.Cut(v, " "); ok {
			r.maps[pt] = enc
		}
	case "ssrc":
		id, _, _ := strings.Cut(v, " ")
		if !slices.Contains(r.ssrcs, id) {
			r.ssrcs = append(r.ssrcs, id)
		}
	case "ssrc-group":
		r.bad("SDP must have one audio SSRC")
	}
}

func (r *reader) under20(v string) bool {
	n, err := strconv.Atoi(v)
	return err != nil || n < 20
}

func (r *reader) candidate(v string) {
	f := strings.Fields(v)
	if len(f) < 8 || f[6] != "typ" {
		r.bad("SDP candidate %q is malformed", v)
		return
	}
	if strings.HasSuffix(f[4], ".local") {
		r.fail = badSDP("candidate address is an mDNS name")
		return
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if !isAddr(f[4]) || err != nil || port == 0 || !strings.EqualFold(f[2], "udp") {
		r.bad("SDP candidate %q is not an address and port over UDP", v)
	}
}

func (r *reader) fingerprint(v string) {
	alg, sum, _ := strings.Cut(v, " ")
	if r.seen["fingerprint"]++; r.seen["fingerprint"] > 1 {
		r.fail = badSDP("more than one fingerprint")
		return
	}
	if !strings.EqualFold(alg, "sha-256") || !fingerprintForm.MatchString(sum) {
		r.bad("SDP fingerprint must be sha-256, 32 upper-case hex bytes with colons")
		return
	}
	r.d.fingerprint = sum
}

// certificateSum gives a sha-256 sum the form of a=fingerprint.
func certificateSum(sum []byte) string {
	var b strings.Builder
	for i, x := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{x})))
	}
	return b.String()
}

func (r *reader) setup(v string) {
	r.d.setup = v
	switch {
	case r.offered != nil && v != "active" && v != "passive":
		r.bad("SDP setup %q is not allowed in an answer, use active", v)
	case r.offered == nil && v != "actpass" && v != "active":
		r.bad("SDP setup %q is not allowed in an offer, use actpass", v)
	}
}

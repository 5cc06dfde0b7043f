package media

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"wagate/config"
)

// maxCandidates is how many remote candidates are looked at (RFC 8839 section
// 5.1 leaves the limit to us); Meta sends two.
const maxCandidates = 32

// Payload types that Meta uses, and that we offer.
const (
	opusType  = 111
	digitType = 126
)

// remoteSide is what a WebRTC description says about the side that wrote it.
type remoteSide struct {
	proto       string
	ufrag       string
	pwd         string // Meta's ends in "=", which is no ice-char: taken as it is
	lite        bool
	fingerprint fingerprint
	setup       string // actpass, active, passive; "" if not said
	mid         string
	bundled     bool
	candidates  []candidate
	speech      []format // what we can speak too, in its order
	digits      format   // telephone-event/8000; its name is "" if not offered
	audio       int      // index of the audio section
	sections    []section
}

// candidate is one place where the other side may be reached over UDP.
type candidate struct {
	addr     netip.AddrPort
	priority uint32
}

// fingerprint names a certificate by its hash (RFC 8122).
type fingerprint struct {
	hash string // sha-256, sha-384, sha-512
	sum  []byte
}

// parseWebRTC reads an offer or an answer for a DTLS-SRTP call (RFC 8829).
func parseWebRTC(text string) (*remoteSide, error) {
	d, err := parseSDP(text)
	if err != nil {
		return nil, err
	}
	s, i := d.audio()
	if s == nil {
		return nil, fmt.Errorf("%w: no audio section", ErrBadSDP)
	}
	r := &remoteSide{audio: i, sections: d.sections, proto: s.proto}
	switch s.proto {
	case "UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF":
	default:
		return nil, fmt.Errorf("%w: %q is not DTLS-SRTP", ErrBadSDP, clip(s.proto))
	}
	if r.ufrag, err = credential(s, "ice-ufrag"); err != nil {
		return nil, err
	}
	if r.pwd, err = credential(s, "ice-pwd"); err != nil {
		return nil, err
	}
	_, r.lite = s.attr("ice-lite")
	if r.fingerprint, err = readFingerprint(s); err != nil {
		return nil, err
	}
	r.setup, _ = s.attr("setup")
	if r.mid, _ = s.own("mid"); !isToken(r.mid) && r.mid != "" {
		return nil, fmt.Errorf("%w: mid is not a token", ErrBadSDP)
	}
	if group, ok := find(d.attributes, "group"); ok && r.mid != "" {
		f := strings.Fields(group)
		r.bundled = len(f) > 1 && f[0] == "BUNDLE" && slices.Contains(f[1:], r.mid)
	}
	r.candidates = readCandidates(s)
	return r, r.readFormats(s)
}

func (r *remoteSide) readFormats(s *section) error {
	for _, f := range s.payloads() {
		switch {
		case f.pt >= 64 && f.pt < 96: // RTCP's, where both share a port (RFC 5761 section 4)
		case f.is(eventsName, narrowRate) && r.digits.name == "":
			r.digits = f
		default:
			c, ok := ParseCodec(f.name)
			if ok && c != G722 && f.clock == int(c.clock()) && (c == Opus || f.channels == 1) && r.find(c) == nil {
				r.speech = append(r.speech, f)
			}
		}
	}
	if len(r.speech) == 0 {
		return fmt.Errorf("%w: neither opus/48000/2 nor G.711", ErrNoCodec)
	}
	return nil
}

// find is the codec as the other side has it, nil if it has not.
func (r *remoteSide) find(c Codec) *format {
	i := slices.IndexFunc(r.speech, func(f format) bool { return strings.EqualFold(f.name, c.String()) })
	if i < 0 {
		return nil
	}
	return &r.speech[i]
}

// digitType is the payload type on which digits come: the one agreed on, else
// the one Meta uses all the same.
func (r *remoteSide) digitType() uint8 {
	if r.digits.name != "" {
		return r.digits.pt
	}
	return digitType
}

// leastBitrate is the lowest that Opus knows, in bit/s (RFC 7587 section 7).
const leastBitrate = 6000

// limit keeps our encoder to what the far end says it can take (RFC 7587
// section 6.1).
func (f format) limit(o config.Opus) config.Opus {
	if v, ok := f.param("maxaveragebitrate"); ok {
		if n, err := strconv.Atoi(v); err == nil {
			o.Bitrate = min(o.Bitrate, max(n, leastBitrate))
		}
	}
	if v, _ := f.param("useinbandfec"); v != "1" {
		o.FEC = config.Off
	}
	return o
}

// credential is ice-ufrag or ice-pwd; only its length is held to RFC 8839.
func credential(s *section, name string) (string, error) {
	v, ok := s.attr(name)
	if !ok || v == "" {
		return "", fmt.Errorf("%w: no %s", ErrBadSDP, name)
	}
	if len(v) > 256 || strings.ContainsAny(v, " \t:") {
		return "", fmt.Errorf("%w: %s is not usable", ErrBadSDP, name)
	}
	return v, nil
}

// readFingerprint takes the strongest hash we can compute. The section's own
// lines win over the session's.
func readFingerprint(s *section) (fingerprint, error) {
	var best fingerprint
	for _, list := range [][]attribute{s.attributes, s.session} {
		for _, a := range list {
			if a.name != "fingerprint" {
				continue
			}
			f, err := parseFingerprint(a.value)
			if err != nil {
				return fingerprint{}, err
			}
			if len(f.sum) > len(best.sum) {
				best = f
			}
		}
		if best.sum != nil {
			return best, nil
		}
	}
	return fingerprint{}, fmt.Errorf("%w: no fingerprint of sha-256 or better", ErrBadSDP)
}

// parseFingerprint reads "sha-256 75:85:…". A hash that we do not trust gives
// an empty sum and no error: a better line may follow.
func parseFingerprint(value string) (fingerprint, error) {
	hash, text, _ := strings.Cut(value, " ")
	hash = strings.ToLower(hash)
	size := map[string]int{"sha-256": 32, "sha-384": 48, "sha-512": 64}[hash]
	if size == 0 {
		return fingerprint{}, nil
	}
	text = strings.TrimSpace(text)
	if len(text) != 3*size-1 {
		return fingerprint{}, fmt.Errorf("%w: fingerprint has the wrong length", ErrBadSDP)
	}
	sum, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil || len(sum) != size {
		return fingerprint{}, fmt.Errorf("%w: fingerprint is not hexadecimal", ErrBadSDP)
	}
	return fingerprint{hash: hash, sum: sum}, nil
}

// readCandidates keeps what RTP over UDP can use, best first. Host names
// (mDNS), TCP and the RTCP component are passed over.
func readCandidates(s *section) []candidate {
	var list []candidate
	seen := 0
	for _, a := range s.attributes {
		if a.name != "candidate" {
			continue
		}
		if seen++; seen > maxCandidates {
			break
		}
		c, ok := parseCandidate(a.value)
		if ok && !slices.ContainsFunc(list, func(o candidate) bool { return o.addr == c.addr }) {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return cmp.Compare(b.priority, a.priority) })
	return list
}

// parseCandidate reads "foundation component transport priority address port
// typ type …" (RFC 8839 section 5.1).
func parseCandidate(value string) (candidate, bool) {
	f := strings.Fields(value)
	if len(f) < 8 || f[1] != "1" || !strings.EqualFold(f[2], "udp") || f[6] != "typ" {
		return candidate{}, false
	}
	priority, err := strconv.ParseUint(f[3], 10, 32)
	if err != nil {
		return candidate{}, false
	}
	addr, err := netip.ParseAddr(f[4])
	if err != nil || addr.Zone() != "" {
		return candidate{}, false
	}
	port, err := strconv.ParseUint(f[5], 10, 16)
	if err != nil || port == 0 {
		return candidate{}, false
	}
	return candidate{netip.AddrPortFrom(addr.Unmap(), uint16(port)), uint32(priority)}, true
}

// isToken follows RFC 8866 section 9; what is echoed in our own text must be one.
func isToken(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c > '~' || strings.IndexByte(`"(),/:;<=>?@[\]`, c) >= 0 {
			return false
		}
	}
	return true
}

// clip shortens foreign text before it goes into an error.
func clip(s string) string {
	const limit = 40
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}

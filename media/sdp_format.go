package media

import (
	"strconv"
	"strings"
)

// format is one RTP payload type of a section, with its rtpmap and fmtp.
type format struct {
	pt       uint8
	name     string // as written; compare with is
	clock    int    // Hz
	channels int    // 1 unless the rtpmap says more
	fmtp     string
}

// is compares the encoding's name, which has no case (RFC 4855 section 3).
func (f format) is(name string, clock int) bool {
	return f.clock == clock && strings.EqualFold(f.name, name)
}

// param is one parameter of the fmtp, its name without case.
func (f format) param(name string) (string, bool) {
	for p := range strings.SplitSeq(f.fmtp, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

// payloads are the payload types that the m= line names, in its order. Those of
// RFC 3551 that may come without an rtpmap are filled in; what is not a payload
// type, is named twice or has no usable rtpmap is left out.
func (s *section) payloads() []format {
	var mapped [128]format
	for _, a := range s.attributes {
		pt, rest, ok := leadingType(a.value)
		if !ok {
			continue
		}
		switch a.name {
		case "rtpmap":
			if f, ok := parseRTPMap(rest); ok && mapped[pt].name == "" {
				f.pt, f.fmtp = pt, mapped[pt].fmtp
				mapped[pt] = f
			}
		case "fmtp":
			if mapped[pt].fmtp == "" {
				mapped[pt].fmtp = rest
			}
		}
	}
	var seen [128]bool
	list := make([]format, 0, len(s.formats))
	for _, text := range s.formats {
		pt, _, ok := leadingType(text)
		if !ok || seen[pt] {
			continue
		}
		seen[pt] = true
		f := mapped[pt]
		if f.name == "" {
			fmtp := f.fmtp
			if f = staticFormat(pt); f.name == "" {
				continue
			}
			f.fmtp = fmtp
		}
		list = append(list, f)
	}
	return list
}

// staticFormat is what RFC 3551 table 4 fixes for the types we speak.
func staticFormat(pt uint8) format {
	switch pt {
	case 0:
		return format{pt: pt, name: "PCMU", clock: 8000, channels: 1}
	case 8:
		return format{pt: pt, name: "PCMA", clock: 8000, channels: 1}
	case 9:
		return format{pt: pt, name: "G722", clock: 8000, channels: 1}
	case 13:
		return format{pt: pt, name: "CN", clock: 8000, channels: 1}
	}
	return format{}
}

// leadingType splits "111 rest" or "111".
func leadingType(value string) (pt uint8, rest string, ok bool) {
	text, rest, _ := strings.Cut(value, " ")
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n > 127 {
		return 0, "", false
	}
	return uint8(n), strings.TrimSpace(rest), true
}

// parseRTPMap reads "opus/48000/2".
func parseRTPMap(value string) (format, bool) {
	part := strings.Split(value, "/")
	if len(part) < 2 || len(part) > 3 || part[0] == "" {
		return format{}, false
	}
	clock, err := strconv.Atoi(part[1])
	if err != nil || clock <= 0 {
		return format{}, false
	}
	f := format{name: part[0], clock: clock, channels: 1}
	if len(part) == 3 {
		if f.channels, err = strconv.Atoi(part[2]); err != nil || f.channels < 1 {
			return format{}, false
		}
	}
	return f, true
}

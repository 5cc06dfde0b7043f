package fakemeta

import (
	"slices"
	"strconv"
	"strings"
)

// finish checks what can only be said when all lines are read.
func (r *reader) finish() {
	switch {
	case r.media == 0:
		r.bad("SDP has no media line")
	case r.seen["c="] == 0:
		r.bad("SDP has no connection line")
	case r.seen["fingerprint"] == 0:
		r.bad("No fingerprint found in SDP")
	case len(r.d.ufrag) < 4 || !iceCharForm.MatchString(r.d.ufrag):
		r.bad("SDP ice-ufrag is missing or too short")
	case len(r.d.pwd) < 22 || !iceCharForm.MatchString(r.d.pwd):
		r.bad("SDP ice-pwd is missing or too short")
	case r.d.setup == "":
		r.bad("SDP setup is missing")
	case r.seen["rtcp-mux"] == 0:
		r.bad("SDP has no a=rtcp-mux")
	case r.d.mid == "":
		r.bad("SDP has no mid")
	case r.offered != nil && r.d.mid != r.offered.mid:
		r.bad("SDP mid %q is not the offered %q", r.d.mid, r.offered.mid)
	case r.bundle != "" && r.bundle != r.d.mid:
		r.bad("SDP group BUNDLE does not name the mid %q", r.d.mid)
	case len(r.ssrcs) > 1:
		r.bad("SDP must have one audio SSRC")
	default:
		r.codecs()
	}
}

// codecs matches the payload types with their meaning. Anything that Meta does
// not support is refused, and so is an answer with what was not offered.
func (r *reader) codecs() {
	for _, pt := range r.pts {
		n, err := strconv.ParseUint(pt, 10, 7)
		if err != nil {
			r.bad("SDP payload type %s is out of range", pt)
			return
		}
		c := coding{pt: uint8(n)}
		enc := r.maps[pt]
		if enc == "" {
			enc = map[string]string{"0": "PCMU/8000", "8": "PCMA/8000", "9": "G722/8000"}[pt]
		}
		switch strings.ToLower(strings.TrimSuffix(enc, "/1")) {
		case "opus/48000/2":
			c.name = "opus"
		case "pcma/8000":
			c.name = "PCMA"
		case "pcmu/8000":
			c.name = "PCMU"
		case "telephone-event/8000":
			r.d.event = c.pt
			if r.offered != nil && r.offered.event != c.pt {
				r.bad("SDP payload type %s does not mean what was offered", pt)
				return
			}
			continue
		default:
			r.bad("SDP codec %q of payload type %s is not supported", enc, pt)
			return
		}
		if r.offered != nil && !r.offered.has(c) {
			r.bad("SDP payload type %s (%s) was not offered", pt, c.name)
			return
		}
		r.d.audio = append(r.d.audio, c)
	}
	if len(r.d.audio) == 0 {
		r.bad("SDP has no supported audio codec")
	}
}

func (d *description) has(c coding) bool { return slices.Contains(d.audio, c) }

package media

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
)

// What the other side may send us, in the words and order that Meta uses
// itself: mono at 16 kHz and 20 kbit/s with in-band FEC (RFC 7587 section 6.1).
const (
	answerOpus = "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1"
	offerOpus  = "minptime=20;useinbandfec=1;maxaveragebitrate=20000;maxplaybackrate=16000"
)

// cname names our one source in SDP and RTCP (RFC 3550 section 6.5.1).
const cname = "wagate"

// localSide is all that our own WebRTC description is made from. Meta refuses
// what it does not know (trickle, several fingerprints, mDNS names), so the text
// has exactly these lines and no library writes it.
type localSide struct {
	session     uint64 // random, below 2^63
	addrs       []netip.AddrPort
	ufrag, pwd  string
	fingerprint [32]byte
	setup       string
	proto       string
	mid         string // "": left out, and no BUNDLE group
	bundled     bool
	speech      []format // the preferred one first
	digits      uint8
	hasDigits   bool
	ssrc        uint32
	before      []section // m= lines before and after the audio, all refused
	after       []section
}

// text writes the description with CRLF line ends.
func (l *localSide) text() string {
	var b strings.Builder
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\r\n")
	}
	first := l.addrs[0]
	line("v=0")
	line("o=- %d 2 IN %s", l.session, inet(first.Addr()))
	line("s=-")
	line("t=0 0")
	if l.bundled {
		line("a=group:BUNDLE %s", l.mid)
	}
	refuse(line, l.before)
	m := fmt.Append(nil, "m=audio ", first.Port(), " ", l.proto)
	for _, f := range l.speech {
		m = fmt.Append(m, " ", f.pt)
	}
	if l.hasDigits {
		m = fmt.Append(m, " ", l.digits)
	}
	line("%s", m)
	line("c=IN %s", inet(first.Addr()))
	line("a=rtcp:%d IN %s", first.Port(), inet(first.Addr()))
	for i, addr := range l.addrs {
		line("a=candidate:%d 1 udp %d %s %d typ host", i+1, hostPriority(i), addr.Addr(), addr.Port())
	}
	line("a=end-of-candidates")
	line("a=ice-ufrag:%s", l.ufrag)
	line("a=ice-pwd:%s", l.pwd)
	line("a=fingerprint:sha-256 %s", colons(l.fingerprint[:]))
	line("a=setup:%s", l.setup)
	if l.mid != "" {
		line("a=mid:%s", l.mid)
	}
	line("a=sendrecv")
	line("a=rtcp-mux")
	for _, f := range l.speech {
		f.write(line)
	}
	if l.hasDigits {
		line("a=rtpmap:%d telephone-event/8000", l.digits)
		line("a=fmtp:%d 0-16", l.digits)
	}
	line("a=ptime:20")
	line("a=maxptime:20")
	line("a=ssrc:%d cname:%s", l.ssrc, cname)
	refuse(line, l.after)
	return b.String()
}

// refuse answers m= lines that are not ours with port zero (RFC 3264 section 6).
func refuse(line lineWriter, sections []section) {
	for _, s := range sections {
		line("m=%s 0 %s %s", s.kind, s.proto, s.formats[0])
		if mid, ok := s.own("mid"); ok && isToken(mid) {
			line("a=mid:%s", mid)
		}
		line("a=inactive")
	}
}

// hostPriority is RFC 8445 section 5.1.2.1 for a host candidate, first best.
func hostPriority(i int) uint32 { return 126<<24 | uint32(65535-i)<<8 | 255 }

func inet(addr netip.Addr) string {
	if addr.Is4() {
		return "IP4 " + addr.String()
	}
	return "IP6 " + addr.String()
}

// colons is the hexadecimal form of a fingerprint, 4E:0D:….
func colons(sum []byte) string {
	text := strings.ToUpper(hex.EncodeToString(sum))
	var b strings.Builder
	for i := 0; i < len(text); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(text[i : i+2])
	}
	return b.String()
}

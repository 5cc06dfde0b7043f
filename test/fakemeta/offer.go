package fakemeta

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
)

// The payload types of Meta's offers.
const (
	opusType  = 111
	eventType = 126
	pcmaType  = 8
	pcmuType  = 0
)

// The priorities of Meta's candidates: IPv6 comes first.
const (
	prefer4 = 2122260223
	prefer6 = 2122262783
)

const opusParams = "maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1"

// newCertificate makes the relay's certificate and its fingerprint.
func newCertificate() (tls.Certificate, string, error) {
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return tls.Certificate{}, "", err
	}
	sum := sha256.Sum256(cert.Certificate[0])
	return cert, certificateSum(sum[:]), nil
}

// streamID has the form of a UUID.
func streamID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// secret is 16 random bytes in base64, padding included: the form of Meta's
// ICE passwords.
func secret() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}

// offerOf is what the relay offers for a call that a user makes.
func (s *Server) offerOf(n *Number, codecs []string) (description, error) {
	d := description{ufrag: random(16), pwd: secret(), fingerprint: s.print, setup: "actpass", mid: "audio", event: eventType}
	if len(codecs) == 0 {
		codecs = append([]string{"opus"}, n.Codecs...)
	}
	for _, name := range codecs {
		pt, ok := map[string]uint8{"opus": opusType, "PCMA": pcmaType, "PCMU": pcmuType}[name]
		if !ok {
			return d, fmt.Errorf("codec %q: want opus, PCMA or PCMU", name)
		}
		if !n.has(name) {
			return d, fmt.Errorf("codec %s is not enabled for number %s", name, n.ID)
		}
		d.audio = append(d.audio, coding{name, pt})
	}
	return d, nil
}

// has says whether a number has a codec: Opus always, G.711 where it is enabled.
func (n *Number) has(name string) bool { return name == "opus" || slices.Contains(n.Codecs, name) }

// text writes the description in Meta's words. The first address is the one of
// the connection line.
func (d *description) text(ssrc uint32, at []netip.AddrPort) string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	stream := streamID()
	var pts []string
	for _, c := range d.audio {
		pts = append(pts, strconv.Itoa(int(c.pt)))
	}
	if d.event != 0 {
		pts = append(pts, strconv.Itoa(int(d.event)))
	}
	p("v=0")
	p("o=- %d 2 IN IP4 127.0.0.1", time.Now().UnixMilli())
	p("s=-")
	p("t=0 0")
	p("a=group:BUNDLE %s", d.mid)
	p("a=msid-semantic: WMS %s", stream)
	p("a=ice-lite")
	p("m=audio %d UDP/TLS/RTP/SAVPF %s", at[0].Port(), strings.Join(pts, " "))
	p("c=IN %s %s", family(at[0]), at[0].Addr())
	p("a=rtcp:9 IN IP4 0.0.0.0")
	for i, a := range at {
		priority := prefer4
		if a.Addr().Is6() {
			priority = prefer6
		}
		p("a=candidate:%d 1 udp %d %s %d typ host generation 0 network-cost 50", 2275956755+i*408825421, priority, a.Addr(), a.Port())
	}
	p("a=ice-ufrag:%s", d.ufrag)
	p("a=ice-pwd:%s", d.pwd)
	p("a=fingerprint:sha-256 %s", d.fingerprint)
	p("a=setup:%s", d.setup)
	p("a=mid:%s", d.mid)
	p("a=sendrecv")
	p("a=msid:%s WhatsAppTrack1", stream)
	p("a=rtcp-mux")
	for _, c := range d.audio {
		if c.name == "opus" {
			p("a=rtpmap:%d opus/48000/2", c.pt)
			p("a=rtcp-fb:%d transport-cc", c.pt)
			p("a=fmtp:%d %s", c.pt, opusParams)
		} else {
			p("a=rtpmap:%d %s/8000", c.pt, c.name)
		}
	}
	if d.event != 0 {
		p("a=rtpmap:%d telephone-event/8000", d.event)
	}
	p("a=maxptime:20")
	p("a=ptime:20")
	p("a=ssrc:%d cname:WhatsAppAudioStream1", ssrc)
	return b.String()
}

func family(a netip.AddrPort) string {
	if a.Addr().Is6() {
		return "IP6"
	}
	return "IP4"
}

// answerTo is what the relay answers to a gateway's offer: the gateway's
// payload types and mid, and the DTLS role as told.
func (s *Server) answerTo(offer description, setup string) description {
	d := description{
		ufrag: random(16), pwd: secret(), fingerprint: s.print, setup: cmp.Or(setup, "passive"), mid: offer.mid,
		audio: offer.audio[:1], event: offer.event,
	}
	if offer.setup == "active" {
		d.setup = "passive"
	}
	return d
}

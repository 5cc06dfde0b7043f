package media

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// eventsType is the payload type under which we offer telephone-events.
const eventsType = 101

// session is our side of the PBX leg's session description (RFC 3264).
type session struct {
	id, version uint64
	text        string         // what we said last, without its o= line
	agreed      netip.AddrPort // where the far end said it listens
	mux         bool
}

// agreement is what an offer and its answer come to.
type agreement struct {
	codec     Codec
	types     payloadTypes
	accepted  []format // audio we may be sent
	agreed    netip.AddrPort
	path      path
	direction string // ours
	held      bool   // the far end is not expected to send
	send      bool   // the far end wants to be sent to
}

// Offer describes us: the trunk's codecs in their order, telephone-events, RTP
// and RTCP ports. Asked again it gives the same bytes.
func (s *Socket) Offer() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []format
	for _, c := range s.codecs {
		list = append(list, format{pt: staticType(c), name: c.String()})
	}
	return s.describe(func(line func(string, ...any)) {
		s.audioLines(line, list, payloadTypes{events: eventsType, hasEvents: !s.opt.Plain}, "sendrecv", false)
	})
}

// SetAnswer takes the answer to Offer. ErrNoCodec: the PBX refused the audio or
// chose nothing of ours; ErrForbiddenAddress: it wants it where the trunk is
// not; ErrBadSDP. After an error everything is as before.
func (s *Socket) SetAnswer(answer []byte) error {
	d, err := parseSDP(string(answer))
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	if len(d.sections) != 1 {
		return fmt.Errorf("%w: %d m= lines answer our one", ErrBadSDP, len(d.sections))
	}
	sec := &d.sections[0]
	if sec.kind != "audio" || sec.port == 0 {
		return fmt.Errorf("%w: the PBX refused the audio", ErrNoCodec)
	}
	a, err := s.agree(sec, false)
	if err != nil {
		return err
	}
	return s.apply(a)
}

// Answer takes an offer of the PBX and returns our answer to it. Errors are
// those of SetAnswer.
func (s *Socket) Answer(offer []byte) ([]byte, error) {
	d, err := parseSDP(string(offer))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	at := slices.IndexFunc(d.sections, func(sec section) bool {
		return sec.kind == "audio" && sec.port != 0 && sec.proto == plainRTP
	})
	if at < 0 {
		return nil, fmt.Errorf("%w: no audio over %s", ErrNoCodec, plainRTP)
	}
	sec := &d.sections[at]
	a, err := s.agree(sec, true)
	if err != nil {
		return nil, err
	}
	if err := s.apply(a); err != nil {
		return nil, err
	}
	return s.describe(func(line func(string, ...any)) {
		refuse(line, d.sections[:at])
		s.audioLines(line, []format{{pt: a.types.audio, name: a.codec.String()}}, a.types, a.direction, a.path.mux)
		if mid, ok := sec.own("mid"); ok && isToken(mid) {
			line("a=mid:%s", mid)
		}
		refuse(line, d.sections[at+1:])
	}), nil
}

// Reoffer answers a re-INVITE or UPDATE: the same session, its codec kept if it
// is still offered, the direction turned round (hold and its end), the far
// end's address moved if it moved. Without an offer it returns ours.
func (s *Socket) Reoffer(offer []byte) ([]byte, error) {
	if len(offer) == 0 {
		return s.Offer(), nil
	}
	return s.Answer(offer)
}

// plainRTP is the only profile spoken here; an offer of another must not be
// answered with this one (RFC 4568 section 7).
const plainRTP = "RTP/AVP"

// agree works out what a section of the far end comes to. mux says that RTCP
// may share the port.
func (s *Socket) agree(sec *section, mux bool) (*agreement, error) {
	a := &agreement{}
	if sec.proto != plainRTP {
		return nil, fmt.Errorf("%w: profile %q", ErrNoCodec, clip(sec.proto))
	}
	if err := s.agreeCodec(sec, a); err != nil {
		return nil, err
	}
	if err := s.agreeAddress(sec, a); err != nil {
		return nil, err
	}
	if _, ok := sec.own("rtcp-mux"); ok && mux {
		a.path.mux, a.path.rtcp = true, a.path.rtp
	}
	direction := sec.direction()
	if a.agreed.Addr().IsUnspecified() && direction == "sendrecv" {
		direction = "sendonly" // hold as it was before RFC 3264
	}
	a.held = direction != "sendrecv"
	a.send = (direction == "sendrecv" || direction == "recvonly") && !a.agreed.Addr().IsUnspecified()
	a.direction = map[string]string{
		"sendrecv": "sendrecv", "sendonly": "recvonly", "recvonly": "sendonly", "inactive": "inactive",
	}[direction]
	return a, nil
}

// agreeCodec finds the codec to send: the one in use, else the first of the
// trunk's order that the far end names; and everything that may come.
func (s *Socket) agreeCodec(sec *section, a *agreement) error {
	best := len(s.codecs)
	for _, f := range sec.payloads() {
		if f.is("telephone-event", narrowRate) {
			if !a.types.hasEvents {
				a.types.events, a.types.hasEvents = f.pt, true
			}
			continue
		}
		c, ok := ParseCodec(f.name)
		rank := slices.Index(s.codecs, c)
		if !ok || rank < 0 || f.clock != narrowRate || f.channels != 1 {
			continue
		}
		a.accepted = append(a.accepted, f)
		if c == s.Codec() {
			rank = -1
		}
		if rank < best {
			best, a.codec, a.types.audio = rank, c, f.pt
		}
	}
	if a.codec == NoCodec {
		return fmt.Errorf("%w: the PBX has %q", ErrNoCodec, clip(strings.Join(sec.formats, " ")))
	}
	return nil
}

// agreeAddress decides where packets go and where they may come from.
func (s *Socket) agreeAddress(sec *section, a *agreement) error {
	addr := sec.address()
	if !addr.IsValid() {
		return fmt.Errorf("%w: c= has no address", ErrBadSDP)
	}
	a.agreed = addr
	ip := addr.Addr()
	switch {
	case ip.IsUnspecified(): // hold
		return nil
	case ip.IsMulticast(), ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}),
		ip == s.local && addr.Port()&^1 == s.pair.port:
		return fmt.Errorf("%w: %s", ErrForbiddenAddress, addr)
	case s.trusted(ip):
		a.path = path{rtp: addr, rtcp: rtcpAddr(sec, addr), learn: s.opt.NAT}
	case s.opt.NAT:
		// An address of the far end's own network. Until a packet of the trunk
		// shows the real one, its port at the trunk's address is the best guess.
		a.path = path{learn: true}
		if s.opt.Remote.IsValid() {
			a.path.rtp = netip.AddrPortFrom(s.opt.Remote.Unmap(), addr.Port())
			a.path.rtcp = rtcpAddr(sec, a.path.rtp)
		}
	default:
		return fmt.Errorf("%w: %s is not among the trunk's sources", ErrForbiddenAddress, ip)
	}
	return nil
}

// rtcpAddr is where reports go: the port of a=rtcp (RFC 3605), else the next.
// Another host than that of the audio is not believed.
func rtcpAddr(sec *section, rtp netip.AddrPort) netip.AddrPort {
	port := rtp.Port() + 1
	if value, ok := sec.own("rtcp"); ok {
		text, _, _ := strings.Cut(value, " ")
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			port = uint16(n)
		}
	}
	if port == 0 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(rtp.Addr(), port)
}

// apply makes an agreement the one that counts.
func (s *Socket) apply(a *agreement) error {
	if err := s.sender.use(a.codec, a.types); err != nil {
		return err
	}
	for _, f := range a.accepted {
		c, _ := ParseCodec(f.name)
		s.receiver.accept(f.pt, c)
	}
	if a.types.hasEvents {
		s.receiver.acceptEvents(a.types.events)
	}
	same := s.path.Load() != nil && a.agreed == s.session.agreed && a.path.mux == s.session.mux
	if !same && !a.agreed.Addr().IsUnspecified() {
		s.session.agreed, s.session.mux = a.agreed, a.path.mux
		s.path.Store(&a.path) // what was learned before is out of date
	}
	s.codec.Store(uint32(a.codec))
	s.sender.pause(!a.send)
	s.held = a.held
	return nil
}

// describe writes our description. Its version in o= goes up when anything else
// in it changed (RFC 3264 section 8).
func (s *Socket) describe(media func(line func(string, ...any))) []byte {
	var b strings.Builder
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\r\n")
	}
	line("s=-")
	line("c=IN %s", inet(s.local))
	line("t=0 0")
	media(line)
	text := b.String()
	if s.session.text != "" && s.session.text != text {
		s.session.version++
	}
	s.session.text = text
	return fmt.Appendf(nil, "v=0\r\no=- %d %d IN %s\r\n%s", s.session.id, s.session.version, inet(s.local), text)
}

func (s *Socket) audioLines(line func(string, ...any), list []format, types payloadTypes, direction string, mux bool) {
	m := fmt.Appendf(nil, "m=audio %d %s", s.pair.port, plainRTP)
	for _, f := range list {
		m = fmt.Append(m, " ", f.pt)
	}
	if types.hasEvents {
		m = fmt.Append(m, " ", types.events)
	}
	line("%s", m)
	for _, f := range list {
		line("a=rtpmap:%d %s/%d", f.pt, f.name, narrowRate)
	}
	if types.hasEvents {
		line("a=rtpmap:%d telephone-event/%d", types.events, narrowRate)
		line("a=fmtp:%d 0-%d", types.events, maxDigit)
	}
	line("a=ptime:%d", frameTime.Milliseconds())
	if mux {
		line("a=rtcp-mux")
	} else {
		line("a=rtcp:%d", s.pair.port+1)
	}
	line("a=%s", direction)
}

// staticType is the payload type of RFC 3551 table 4.
func staticType(c Codec) uint8 {
	switch c {
	case PCMA:
		return 8
	case G722:
		return 9
	case PCMU, Opus, NoCodec:
	}
	return 0
}

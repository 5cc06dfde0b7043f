package media

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Security says whether the audio of a trunk is encrypted (SRTP, RFC 3711) with
// keys in the session description (RFC 4568). Whoever reads the signalling
// reads the keys: it is for signalling over TLS alone.
type Security uint8

// The values of Security.
const (
	SecureOff      Security = iota // in the clear
	SecureOptional                 // encrypted where the PBX does it too (RFC 8643)
	SecureRequired                 // encrypted, or no audio at all
)

// The profiles spoken here. An offer of one must not be answered with another
// (RFC 4568 section 7); the feedback that the longer ones allow for is never
// sent.
const (
	plainRTP  = "RTP/AVP"
	secureRTP = "RTP/SAVP"
)

func isSecure(profile string) bool { return profile == secureRTP || profile == secureRTP+"F" }

func isPlain(profile string) bool { return profile == plainRTP || profile == plainRTP+"F" }

// errSecurity says that the two sides do not agree on encryption.
var errSecurity = errors.New("encryption is not agreed on")

// agreement is what an offer and its answer come to.
type agreement struct {
	codec         Codec
	limits        format // what the far end can take of codec
	types         payloadTypes
	chosen        format   // of our answer
	accepted      []format // audio we may be sent
	events        []format // telephone-events we may be sent
	agreed        netip.AddrPort
	path          path
	direction     string // ours
	held          bool   // the far end is not expected to send
	send          bool   // the far end wants to be sent to
	local, remote *masterKey
}

// lines are those of our answer.
func (a *agreement) lines(profile string) audioLines {
	l := audioLines{profile: profile, formats: []format{a.chosen}, direction: a.direction, mux: a.path.mux}
	if a.types.hasEvents {
		l.events = []format{{pt: a.types.events, name: eventsName, clock: a.types.eventClock}}
	}
	if a.local != nil {
		l.keys = []*masterKey{a.local}
	}
	return l
}

// choose finds the audio section of an offer to take: an encrypted one before
// one in the clear where the trunk may have either.
func (s *Socket) choose(d *description) (int, *agreement, error) {
	at, kept := -1, (*agreement)(nil)
	err := fmt.Errorf("%w: no audio over %s", ErrNoCodec, plainRTP)
	for i := range d.sections {
		sec := &d.sections[i]
		if sec.kind != "audio" || sec.port == 0 {
			continue
		}
		a, bad := s.agree(sec, true)
		switch {
		case bad != nil && kept == nil:
			err = bad
		case bad != nil:
		case kept == nil || kept.remote == nil && a.remote != nil:
			at, kept = i, a
		}
	}
	if kept == nil {
		return 0, nil, err
	}
	return at, kept, nil
}

// agree works out what a section of the far end comes to. asked says that it is
// an offer.
func (s *Socket) agree(sec *section, asked bool) (*agreement, error) {
	a := &agreement{}
	if !isPlain(sec.proto) && !isSecure(sec.proto) {
		return nil, fmt.Errorf("%w: profile %q", ErrNoCodec, clip(sec.proto))
	}
	if err := s.agreeKeys(sec, a, asked); err != nil {
		return nil, err
	}
	_, mux := sec.own("rtcp-mux")
	a.path.mux = mux && asked
	if err := s.agreeCodec(sec, a); err != nil {
		return nil, err
	}
	if err := s.agreeAddress(sec, a); err != nil {
		return nil, err
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

// agreeKeys decides on encryption. Never is an encrypted offer answered in the
// clear, nor taken for one that is not.
func (s *Socket) agreeKeys(sec *section, a *agreement, asked bool) error {
	usable, seen := readCryptos(sec)
	if s.opt.Secure == SecureOff {
		if isSecure(sec.proto) {
			return fmt.Errorf("%w: %w: the trunk has srtp off", ErrNoCodec, errSecurity)
		}
		return nil
	}
	if !asked {
		return s.takeKey(sec, a, usable, seen)
	}
	if len(usable) == 0 {
		if isSecure(sec.proto) || s.opt.Secure == SecureRequired {
			return fmt.Errorf("%w: %w: no usable key is offered", ErrNoCodec, errSecurity)
		}
		return nil
	}
	a.remote = usable[0]
	if l := s.session.local; l != nil && a.remote.same(s.session.remote) {
		a.local = &masterKey{tag: a.remote.tag, suite: l.suite, secret: l.secret} // a refresh
	} else {
		a.local = newMasterKey(a.remote.tag, a.remote.suite)
	}
	return nil
}

// takeKey reads the answer's key: one of the offered, by its tag.
func (s *Socket) takeKey(sec *section, a *agreement, usable []*masterKey, seen bool) error {
	required := s.opt.Secure == SecureRequired
	switch {
	case required != isSecure(sec.proto):
		return fmt.Errorf("%w: %w: answered with %s", ErrNoCodec, errSecurity, sec.proto)
	case !seen && !required:
		return nil
	case len(usable) != 1:
		return fmt.Errorf("%w: %w: the answer has no usable key", ErrNoCodec, errSecurity)
	}
	for _, k := range s.session.offered {
		if k.tag == usable[0].tag && k.suite == usable[0].suite {
			a.local, a.remote = k, usable[0]
			return nil
		}
	}
	return fmt.Errorf("%w: %w: the answer's key was not asked for", ErrNoCodec, errSecurity)
}

// agreeCodec finds the codec to send: the one in use, else the first of the
// trunk's order that the far end names; and everything that may come.
func (s *Socket) agreeCodec(sec *section, a *agreement) error {
	best := len(s.codecs)
	for _, f := range sec.payloads() {
		if f.pt >= 64 && f.pt < 96 && a.path.mux { // RTCP's, where both share a port (RFC 5761 section 4)
			continue
		}
		if f.is(eventsName, narrowRate) || f.is(eventsName, int(Opus.clock())) {
			a.events = append(a.events, f)
			continue
		}
		c, ok := ParseCodec(f.name)
		rank := slices.Index(s.codecs, c)
		if !ok || rank < 0 || f.clock != int(c.clock()) || c != Opus && f.channels != 1 {
			continue
		}
		a.accepted = append(a.accepted, f)
		if c == s.Codec() {
			rank = -1
		}
		if rank < best {
			best, a.codec, a.types.audio, a.limits = rank, c, f.pt, f
		}
	}
	if a.codec == NoCodec {
		return fmt.Errorf("%w: the PBX has %q", ErrNoCodec, clip(strings.Join(sec.formats, " ")))
	}
	a.chosen = formatOf(a.codec, a.types.audio)
	if s.opt.Info == nil {
		a.agreeEvents()
	}
	return nil
}

// agreeEvents takes the telephone-events that run on the audio's clock, as RFC
// 4733 section 2.1 wants it, else those of 8 kHz, which is how many pair them
// with Opus.
func (a *agreement) agreeEvents() {
	for _, f := range a.events {
		if !a.types.hasEvents || f.clock == int(a.codec.clock()) && a.types.eventClock != f.clock {
			a.types.events, a.types.eventClock, a.types.hasEvents = f.pt, f.clock, true
		}
	}
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
		a.path.rtp, a.path.learn = addr, s.opt.NAT
	case s.opt.NAT:
		// An address of the far end's own network. Until a packet of the trunk
		// shows the real one, its port at the trunk's address is the best guess.
		a.path.learn = true
		if s.opt.Remote.IsValid() {
			a.path.rtp = netip.AddrPortFrom(s.opt.Remote.Unmap(), addr.Port())
		}
	default:
		return fmt.Errorf("%w: %s is not among the trunk's sources", ErrForbiddenAddress, ip)
	}
	switch {
	case a.path.mux:
		a.path.rtcp = a.path.rtp
	case a.path.rtp.IsValid():
		a.path.rtcp = rtcpAddr(sec, a.path.rtp)
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

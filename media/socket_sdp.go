package media

import (
	"fmt"
	"net/netip"
	"time"
)

// session is our side of the PBX leg's session description (RFC 3264).
type session struct {
	id, version uint64
	text        string         // what we said last, without its o= line
	agreed      netip.AddrPort // where the far end said it listens
	mux         bool
	numbers     numbers
	awaits      bool         // our offer is out and not answered
	offered     []*masterKey // the keys of our offer

	local, remote *masterKey // nil: in the clear
	seal          *sealer
	open          *opener
}

// Offer describes us: the trunk's codecs in their order, telephone-events, RTP
// and RTCP ports, keys. Asked again before the answer it gives the same bytes;
// in a call it begins with the codec in use.
func (s *Socket) Offer() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.offer()
}

func (s *Socket) offer() []byte {
	o := &s.session
	l := audioLines{profile: plainRTP, direction: "sendrecv"}
	if s.opt.Secure == SecureRequired {
		l.profile = secureRTP
	}
	codecs := s.codecs
	if c := s.Codec(); c != NoCodec {
		codecs = append([]Codec{c}, codecs...)
	}
	for i, c := range codecs {
		if i == 0 || c != codecs[0] {
			l.formats = append(l.formats, o.numbers.format(c))
		}
	}
	if !s.opt.Plain && s.opt.Info == nil {
		l.events = append(l.events, o.numbers.events(narrowRate))
		if l.has(Opus) {
			l.events = append(l.events, o.numbers.events(int(Opus.clock())))
		}
	}
	if s.opt.Secure == SecureRequired || s.opt.Secure == SecureOptional && !s.opt.Plain {
		if !o.awaits {
			o.offered = s.freshKeys()
		}
		l.keys = o.offered
	}
	o.awaits = true
	for _, f := range l.formats {
		c, _ := ParseCodec(f.name)
		s.receiver.accept(f.pt, c)
	}
	for _, f := range l.events {
		s.receiver.acceptEvents(f.pt, f.clock)
	}
	return s.describe(func(line lineWriter) { l.write(line, s.pair.port) })
}

// freshKeys are the keys of an offer: a new one for each suite, but for the one
// that is in use, which goes on (RFC 4568 section 7.1.4).
func (s *Socket) freshKeys() []*masterKey {
	keys := make([]*masterKey, 0, len(suites))
	for i, su := range suites {
		k := newMasterKey(fmt.Sprint(i+1), su)
		if l := s.session.local; l != nil && l.suite == su {
			k.secret = l.secret
		}
		keys = append(keys, k)
	}
	return keys
}

// SetAnswer takes the answer to Offer. ErrNoCodec: the PBX refused the audio,
// chose nothing of ours, or would not protect it as it must;
// ErrForbiddenAddress: it wants it where the trunk is not; ErrBadSDP. After an
// error everything is as before.
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
	_, err = s.setAnswer(d)
	return err
}

func (s *Socket) setAnswer(d *description) (*agreement, error) {
	if len(d.sections) != 1 {
		return nil, fmt.Errorf("%w: %d m= lines answer our one", ErrBadSDP, len(d.sections))
	}
	sec := &d.sections[0]
	if sec.kind != "audio" || sec.port == 0 {
		return nil, fmt.Errorf("%w: the PBX refused the audio", ErrNoCodec)
	}
	a, err := s.agree(sec, false)
	if err != nil {
		return nil, err
	}
	s.session.numbers.note(sec.payloads())
	return a, s.apply(a)
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
	return s.answer(d)
}

func (s *Socket) answer(d *description) ([]byte, error) {
	at, a, err := s.choose(d)
	if err != nil {
		return nil, err
	}
	if err := s.apply(a); err != nil {
		return nil, err
	}
	sec := &d.sections[at]
	s.session.numbers.note(sec.payloads())
	return s.describe(func(line lineWriter) {
		refuse(line, d.sections[:at])
		l := a.lines(sec.proto)
		l.write(line, s.pair.port)
		if mid, ok := sec.own("mid"); ok && isToken(mid) {
			line("a=mid:%s", mid)
		}
		refuse(line, d.sections[at+1:])
	}), nil
}

// Reoffer answers a re-INVITE or UPDATE: the same session, its codec kept if it
// is still offered, the direction turned round (hold and its end), the far
// end's address moved if it moved, its keys changed if they changed. Without an
// offer it returns ours, and what comes next is the answer to that. After an
// error everything is as before.
func (s *Socket) Reoffer(offer []byte) ([]byte, error) {
	if len(offer) == 0 {
		return s.Offer(), nil
	}
	d, err := parseSDP(string(offer))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.session.awaits {
		if a, err := s.setAnswer(d); err == nil {
			l := a.lines(d.sections[0].proto)
			return s.describe(func(line lineWriter) { l.write(line, s.pair.port) }), nil
		}
	}
	return s.answer(d)
}

// apply makes an agreement the one that counts.
func (s *Socket) apply(a *agreement) error {
	o := &s.session
	seal, open, err := o.ciphers(a)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if a.codec == Opus {
		s.sender.limit(a.limits)
	}
	if err := s.sender.use(a.codec, a.types); err != nil {
		return err
	}
	for _, f := range a.accepted {
		c, _ := ParseCodec(f.name)
		s.receiver.accept(f.pt, c)
	}
	for _, f := range a.events {
		s.receiver.acceptEvents(f.pt, f.clock)
	}
	o.awaits = false
	o.local, o.remote, o.seal, o.open = a.local, a.remote, seal, open
	s.move(a)
	was := Codec(s.codec.Swap(uint32(a.codec)))
	if was == NoCodec {
		s.hold.begin(s.receiver, a.codec)
	}
	s.early.release(time.Now(), s)
	s.sender.pause(!a.send)
	s.held = a.held
	if changed := s.changed.Load(); was != a.codec && changed != nil {
		(*changed)()
	}
	return nil
}

// ciphers are those of an agreement: the ones in use go on where their keys do.
func (o *session) ciphers(a *agreement) (seal *sealer, open *opener, err error) {
	if a.remote == nil {
		return nil, nil, nil
	}
	seal, open = o.seal, o.open
	if seal == nil || !a.local.same(o.local) {
		if seal, err = newSealer(a.local); err != nil {
			return nil, nil, err
		}
	}
	if open == nil || !a.remote.same(o.remote) {
		if open, err = newOpener(a.remote, open); err != nil {
			return nil, nil, err
		}
	}
	return seal, open, nil
}

// move says where packets go from now on. What was learned of the far end's
// address stays as long as it names the same one; a hold of the old kind names
// none.
func (s *Socket) move(a *agreement) {
	o := &s.session
	next, was := a.path, s.path.Load()
	nowhere := a.agreed.Addr().IsUnspecified()
	switch {
	case was != nil && (nowhere || a.agreed == o.agreed && next.mux == o.mux):
		next = *was
	case nowhere:
		return
	default:
		o.agreed, o.mux = a.agreed, next.mux
	}
	next.seal, next.open = o.seal, o.open
	s.path.Store(&next)
}

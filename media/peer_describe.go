package media

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pion/ice/v4"
)

// progress is how far the two descriptions of a Peer are.
type progress uint8

const (
	undescribed progress = iota
	offered              // Offer was called, SetAnswer not
	described            // both sides are known
)

// errDescribed refuses a second description: these calls are never renegotiated.
var errDescribed = errors.New("call is already described")

// Answer takes Meta's offer and gives our description, complete with all
// candidates: for pre_accept, and the same bytes again for accept. Connectivity
// checks start at once and go on until Close. ctx limits the call of Answer.
func (p *Peer) Answer(ctx context.Context, offer string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return "", errClosed
	}
	if p.progress != undescribed {
		return "", errDescribed
	}
	r, err := parseWebRTC(offer)
	if err != nil {
		return "", fmt.Errorf("read offer: %w", err)
	}
	codec, ok := p.preferred(r)
	if !ok {
		return "", fmt.Errorf("read offer: %w: none of ours", ErrNoCodec)
	}
	client, setup := true, "active"
	switch r.setup {
	case "", "actpass", "passive":
	case "active":
		client, setup = false, "passive"
	default:
		return "", fmt.Errorf("read offer: %w: setup %q", ErrBadSDP, clip(r.setup))
	}
	if err := p.route(ctx, r); err != nil {
		return "", fmt.Errorf("read offer: %w", err)
	}
	l, err := p.local()
	if err != nil {
		return "", fmt.Errorf("answer: %w", err)
	}
	l.setup, l.proto, l.mid, l.bundled = setup, r.proto, r.mid, r.bundled
	l.speech = []format{formatOf(codec, r.find(codec).pt)}
	l.digits, l.hasDigits = r.digits.pt, r.digits.name != ""
	l.before, l.after = r.sections[:r.audio], r.sections[r.audio+1:]
	if err := p.start(ctx, r, codec, l.addrs, client, false); err != nil {
		return "", fmt.Errorf("answer: %w", err)
	}
	p.progress, p.text = described, l.text()
	return p.text, nil
}

// Offer gives our description for a call to a customer. Nothing is on the
// network before SetAnswer.
func (p *Peer) Offer(context.Context) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return "", errClosed
	case p.progress != undescribed:
		return "", errDescribed
	}
	p.hub = p.engine.shared
	l, err := p.local()
	if err != nil {
		return "", fmt.Errorf("offer: %w", err)
	}
	l.setup, l.proto, l.mid, l.bundled = "actpass", "UDP/TLS/RTP/SAVPF", "0", true
	l.speech = p.offers()
	l.digits, l.hasDigits = digitType, true
	p.progress, p.text = offered, l.text()
	return p.text, nil
}

// SetAnswer takes Meta's answer to Offer. DTLS takes the role that the answer
// leaves us.
func (p *Peer) SetAnswer(answer string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errClosed
	case p.progress != offered:
		return errDescribed
	}
	r, err := parseWebRTC(answer)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	codec, ok := p.chosen(r)
	if !ok {
		return fmt.Errorf("read answer: %w: nothing of ours", ErrNoCodec)
	}
	if err := p.route(p.ctx, r); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	local, err := p.hub.addresses(p.engine.cfg.WebRTC.PublicIPs)
	if err != nil {
		return fmt.Errorf("apply answer: %w", err)
	}
	// actpass is no answer (RFC 5763 section 5); who writes it waits for us.
	if err := p.start(p.ctx, r, codec, local, r.setup != "active", true); err != nil {
		return fmt.Errorf("apply answer: %w", err)
	}
	p.progress = described
	return nil
}

// preferred is the codec to answer with: the first of our order that is offered.
func (p *Peer) preferred(r *remoteSide) (Codec, bool) {
	for _, c := range p.codecs {
		if r.find(c) != nil {
			return c, true
		}
	}
	return NoCodec, false
}

// chosen is the codec that an answer to our offer prefers (RFC 3264 section 7).
func (p *Peer) chosen(r *remoteSide) (Codec, bool) {
	for _, f := range r.speech {
		if c, ok := ParseCodec(f.name); ok && slices.Contains(p.codecs, c) {
			return c, true
		}
	}
	return NoCodec, false
}

// offers are our codecs as we offer them.
func (p *Peer) offers() []format {
	list := make([]format, 0, len(p.codecs))
	for _, c := range p.codecs {
		f := formatOf(c, staticType(c))
		if c == Opus {
			f.pt, f.fmtp = opusType, offerOpus
		}
		list = append(list, f)
	}
	return list
}

// route keeps the candidates that we can reach and picks the socket: the shared
// one, or one of this call's own where another call has the same relay. Behind
// such a socket Meta sees an address that our description may not name, which
// ICE allows for (RFC 8445 section 7.3.1.3).
func (p *Peer) route(ctx context.Context, r *remoteSide) error {
	r.candidates = p.engine.reachable(ctx, r.candidates)
	if len(r.candidates) == 0 {
		return fmt.Errorf("%w: no candidate that we may send to", ErrBadSDP)
	}
	remote := make([]netip.AddrPort, 0, len(r.candidates))
	for _, c := range r.candidates {
		remote = append(remote, c.addr)
	}
	shared := p.engine.shared
	if p.engine.claim(remote) {
		p.hub, p.claimed = shared, remote
		return nil
	}
	own, err := openHub(ctx, netip.AddrPortFrom(shared.bound.Addr(), 0))
	if err != nil {
		return fmt.Errorf("socket for a second call to one relay: %w", err)
	}
	p.hub = own
	return nil
}

// local is what our description always has.
func (p *Peer) local() (*localSide, error) {
	addrs, err := p.hub.addresses(p.engine.cfg.WebRTC.PublicIPs)
	if err != nil {
		return nil, err
	}
	return &localSide{
		session:     p.session,
		addrs:       addrs,
		ufrag:       p.own.ufrag,
		pwd:         p.own.pwd,
		fingerprint: p.id.sum,
		ssrc:        p.sender.ssrc(),
	}, nil
}

// start agrees on payload types and begins the connectivity checks.
func (p *Peer) start(ctx context.Context, r *remoteSide, codec Codec, local []netip.AddrPort, client, offerer bool) error {
	speech := r.find(codec)
	types := payloadTypes{audio: speech.pt, events: r.digits.pt, hasEvents: r.digits.name != ""}
	if codec == Opus {
		p.sender.limit(*speech)
	}
	if err := p.sender.use(codec, types); err != nil {
		return err
	}
	p.codec.Store(uint32(codec))
	p.hold.begin(p.receiver, codec)
	p.receive(r)
	agent, err := newAgent(ctx, p.hub, p.own, local, p.engine.cfg.ICETimeout)
	if err != nil {
		return err
	}
	p.agent = agent
	p.path.conn = p.hub.conn
	if err := agent.OnSelectedCandidatePairChange(func(ice.Candidate, ice.Candidate) { p.follow(agent) }); err != nil {
		return fmt.Errorf("watch ICE: %w", err)
	}
	conn, err := startChecks(agent, r, offerer)
	if err != nil {
		return fmt.Errorf("start ICE: %w", err)
	}
	p.pipe = newDTLSPipe(conn)
	pipe := p.pipe
	p.wg.Go(func() { p.connect(agent, pipe, r.fingerprint, client) })
	return nil
}

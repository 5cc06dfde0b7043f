package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/ice/v4"

	"wagate/config"
)

// errConsent says that the far end answers no consent checks any more (RFC 7675).
var errConsent = errors.New("ICE consent lost")

// PeerOptions are what differs from call to call.
type PeerOptions struct {
	Codecs []string     // of opus, PCMA, PCMU, in order of preference; nil: opus
	Opus   *config.Opus // nil: the engine's
	Hold   Codec        // keep what the customer says before there is a sink, half a second of it, for a side with this codec; NoCodec: drop it
	Log    *slog.Logger // of the call; nil: the engine's
}

// Peer is the WhatsApp leg's audio: ICE, DTLS-SRTP and one stream in each
// direction, of Opus, or of G.711 where Meta has it for the number. It is
// described once, by Answer or by Offer and SetAnswer, and never renegotiated.
// Connected and Failed tell how it goes; silence of the customer is never a
// failure.
type Peer struct {
	engine  *Engine
	log     *slog.Logger
	started time.Time
	own     iceCredentials
	session uint64
	id      *identity

	codecs   []Codec // in order of preference
	codec    atomic.Uint32
	sender   *sender
	receiver *receiver
	hold     *hold
	reporter reporter

	ctx    context.Context // ends with Close, which waits for all goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	inbox     *inbox
	path      peerPath
	keys      atomic.Pointer[keys] // nil until DTLS is up, and after consent is lost
	connected chan struct{}
	failed    chan struct{}
	opened    chan struct{}
	openOnce  sync.Once
	iceTime   atomic.Int64 // time.Duration
	dtlsTime  atomic.Int64
	iceTrip   atomic.Int64
	refused   atomic.Uint64 // packets that the receiver never saw

	done chan struct{} // closed when Close has finished

	mu       sync.Mutex // of what follows
	progress progress
	text     string // our description, always the same bytes
	closed   bool
	err      error
	hub      *hub // the shared one, or this call's own
	claimed  []netip.AddrPort
	agent    *ice.Agent
	pipe     *dtlsPipe
	dtls     *dtls.Conn
}

// NewPeer makes a Peer; nothing is on the network before it is described.
func (e *Engine) NewPeer(o PeerOptions) (*Peer, error) {
	now := time.Now()
	id, err := newIdentity(now)
	if err != nil {
		return nil, err
	}
	opus, log := e.cfg.Opus, e.log
	if o.Opus != nil {
		opus = *o.Opus
	}
	if o.Log != nil {
		log = o.Log
	}
	codecs, err := speakable(o.Codecs)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Peer{
		engine:    e,
		log:       log,
		started:   now,
		own:       newICECredentials(),
		session:   rand.Uint64() >> 1,
		id:        id,
		inbox:     newInbox(),
		codecs:    codecs,
		ctx:       ctx,
		cancel:    cancel,
		connected: make(chan struct{}),
		failed:    make(chan struct{}),
		opened:    make(chan struct{}),
		done:      make(chan struct{}),
	}
	p.sender = newSender(e.pacer, e.metrics.whatsapp, opus, p.write)
	p.sender.economy = &e.economy
	p.receiver = newReceiver(e.pacer, e.metrics.whatsapp, peerDelayMax)
	p.hold = newHold(e.pacer, e.metrics.whatsapp, o.Hold)
	p.reporter.ssrc = p.sender.ssrc()
	if err := e.add(p); err != nil {
		cancel()
		return nil, err
	}
	return p, nil
}

// speakable are the codecs of those names that a WhatsApp leg may have.
func speakable(names []string) ([]Codec, error) {
	if names == nil {
		return []Codec{Opus}, nil
	}
	var list []Codec
	for _, name := range names {
		if c, ok := ParseCodec(name); ok && c != G722 && !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: WhatsApp has none of %q", ErrNoCodec, names)
	}
	return list, nil
}

// Connected is closed when ICE and DTLS are up and audio can flow.
func (p *Peer) Connected() <-chan struct{} { return p.connected }

// Heard is closed when the first audio packet of the customer came.
func (p *Peer) Heard() <-chan struct{} { return p.receiver.heard() }

// Failed is closed when DTLS failed, the certificate was the wrong one, or ICE
// consent was lost for ice_timeout after it had been there.
func (p *Peer) Failed() <-chan struct{} { return p.failed }

// Err says why Failed is closed.
func (p *Peer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Open lets RTP and RTCP go: nothing is sent before, and from then on a packet
// leaves every 20 ms until Close. It is to be called when Meta has confirmed
// the accept, not earlier: the app starts its timer with the first packet.
func (p *Peer) Open() {
	p.openOnce.Do(func() {
		p.receiver.open(time.Now())
		p.sender.open()
		close(p.opened)
	})
}

// Push sends a frame to the customer. See Sink.
func (p *Peer) Push(f *Frame) { p.sender.Push(f) }

// takes says whether what is pushed reaches the customer.
func (p *Peer) takes() bool { return p.keys.Load() != nil && p.sender.running() }

// SetSink says where the customer's audio goes, and in which form.
func (p *Peer) SetSink(s Sink, want Format) { p.receiver.setSink(p.hold.attach(s), want) }

// Codec is what was agreed on, NoCodec before.
func (p *Peer) Codec() Codec { return Codec(p.codec.Load()) }

// Stats is what was counted so far.
func (p *Peer) Stats() Stats {
	st, out := p.receiver.stats(), p.sender.stats(time.Now())
	st.PacketsOut = out.packets - out.unsent
	st.Dropped += p.refused.Load()
	st.ICE = time.Duration(p.iceTime.Load())
	st.DTLS = time.Duration(p.dtlsTime.Load())
	if st.RoundTrip = p.reporter.farEnd().trip; st.RoundTrip == 0 {
		st.RoundTrip = time.Duration(p.iceTrip.Load())
	}
	return st
}

// fail notes why the leg cannot go on; the first reason counts.
func (p *Peer) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || p.closed {
		return
	}
	p.err = err
	p.keys.Store(nil) // without consent nothing may be sent (RFC 7675 section 5.1)
	close(p.failed)
}

// Close says goodbye if there was a connection, and returns when every
// goroutine of the leg has ended and its place on the socket is free.
func (p *Peer) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		<-p.done
		return nil
	}
	p.closed = true
	agent, pipe, conn, own, claimed := p.agent, p.pipe, p.dtls, p.hub, p.claimed
	p.mu.Unlock()
	defer close(p.done)

	p.sender.close()
	p.sendBye()
	p.cancel()
	p.lead(netip.AddrPort{})
	p.inbox.close()
	if conn != nil {
		_ = conn.Close() // the alert may find nobody
	}
	if agent != nil {
		_ = agent.GracefulClose()
	}
	if pipe != nil {
		_ = pipe.Close()
	}
	p.wg.Wait()
	p.hold.attach(nil)
	p.receiver.close()
	p.engine.metrics.whatsapp.ended(p.Stats().RoundTrip)
	p.engine.remove(p, claimed)
	if own != nil && own != p.engine.shared {
		return own.close()
	}
	return nil
}

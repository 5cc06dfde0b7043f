package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ErrForbiddenAddress refuses a session description that asks for audio to be
// sent where nothing of the trunk can be.
var ErrForbiddenAddress = errors.New("media address not allowed")

// ErrMediaTimeout says that the PBX sent neither RTP nor RTCP for media.timeout.
var ErrMediaTimeout = errors.New("no media from the PBX")

// SocketOptions are what the trunk decides about a call's audio.
type SocketOptions struct {
	Codecs  []string       // names, in order of preference; those not built are left out
	Sources []netip.Prefix // where the trunk's media may come from and go to
	NAT     bool           // the PBX's own address may be wrong: learn it from its first packet
	Hold    Codec          // keep what the phone says before there is a sink, half a second of it, for a side with this codec; NoCodec: drop it
	Plain   bool           // G.711 only where the trunk has it, and no telephone-event
	Secure  Security       // SRTP with keys in the session description
	Info    func(Key)      // the PBX takes digits by SIP INFO: told of each, must not block. nil: as RFC 4733
	Remote  netip.Addr     // of the trunk; always among its sources, and chooses our address
	Log     *slog.Logger   // of the call; nil: the engine's
}

// Socket is the PBX leg's audio: its codec and telephone-events over RTP on a
// port pair of its own. What comes from elsewhere than the address that the
// PBX's session description names is never heard and never answered.
type Socket struct {
	engine *Engine
	log    *slog.Logger
	opt    SocketOptions
	codecs []Codec
	pair   *portPair
	local  netip.Addr // in our session description
	born   time.Time

	sender   *sender
	receiver *receiver
	hold     *hold
	early    earlyPackets
	reporter reporter
	keys     *keysOut // nil: digits go as RTP
	pressed  *keysIn
	task     *task
	wg       sync.WaitGroup

	path      atomic.Pointer[path] // nil: nothing was agreed on
	codec     atomic.Uint32
	changed   atomic.Pointer[func()] // told of another codec
	alive     atomic.Int64           // last RTP or RTCP, as time since born
	strangers atomic.Uint64
	out       []byte // a packet being written, the sender's

	failed chan struct{}
	done   chan struct{} // closed when Close has finished

	mu       sync.Mutex // of what follows
	session  session
	opened   bool
	closed   bool
	held     bool // the PBX is not expected to send
	err      error
	reportAt time.Time
}

// path is where packets go and where they may come from. It is replaced whole.
type path struct {
	rtp, rtcp netip.AddrPort // invalid: unknown, nothing is sent
	mux       bool           // RTCP comes and goes on the RTP port (RFC 5761)
	learn     bool           // the far end's address is still to be learned
	seal      *sealer        // nil: in the clear
	open      *opener        // with seal
}

// NewSocket takes a port pair from the range. The Socket must be closed.
func (e *Engine) NewSocket(o SocketOptions) (*Socket, error) {
	s := &Socket{
		engine: e, log: e.log, opt: o,
		born:   time.Now(),
		failed: make(chan struct{}),
		done:   make(chan struct{}),
		out:    make([]byte, 0, maxDatagram),
	}
	if o.Log != nil {
		s.log = o.Log
	}
	for _, name := range o.Codecs {
		if c, ok := ParseCodec(name); ok && !slices.Contains(s.codecs, c) {
			s.codecs = append(s.codecs, c)
		}
	}
	if o.Plain {
		s.codecs = plainest(s.codecs)
	}
	if len(s.codecs) == 0 {
		return nil, fmt.Errorf("%w: none of %q is built", ErrNoCodec, o.Codecs)
	}
	ctx := context.Background() // binding does not wait
	var err error
	if s.local, err = e.localAddr(ctx, o.Remote); err != nil {
		return nil, err
	}
	if s.pair, err = e.ports.take(ctx); err != nil {
		return nil, err
	}
	s.session = session{id: rand.Uint64() >> 1, version: 1}
	s.sender = newSender(e.pacer, e.metrics.sip, e.cfg.Opus, s.write)
	s.sender.economy = &e.economy
	s.receiver = newReceiver(e.pacer, e.metrics.sip, pbxDelayMax)
	s.receiver.acceptNoise(comfortNoise)
	s.hold = newHold(e.pacer, e.metrics.sip, o.Hold)
	s.early.over.Store(s.hold == nil)
	s.pressed = newKeysIn(e.pacer, s.receiver)
	if o.Info != nil {
		s.keys = newKeysOut(e.pacer, o.Info)
	}
	s.reporter.ssrc = s.sender.ssrc()
	s.task = e.pacer.task(s.tick)
	s.wg.Go(s.readRTP)
	s.wg.Go(s.readRTCP)
	return s, nil
}

// plainest keeps what every PBX has had for ever, if there is any of it.
func plainest(codecs []Codec) []Codec {
	var list []Codec
	for _, c := range codecs {
		if lawOf(c) != nil {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return codecs
	}
	return list
}

// comfortNoise is the payload type of RFC 3389, accepted whether or not it was
// agreed on.
const comfortNoise = 13

// localAddr is the address under which the trunk reaches us: the configured
// one, else the one we are bound to, else the one that the route to it uses.
func (e *Engine) localAddr(ctx context.Context, remote netip.Addr) (netip.Addr, error) {
	cfg := e.cfg.RTP
	switch {
	case cfg.PublicIP.IsValid():
		return cfg.PublicIP.Unmap(), nil
	case cfg.Bind.IsValid() && !cfg.Bind.IsUnspecified():
		return cfg.Bind.Unmap(), nil
	case !remote.IsValid():
		return netip.Addr{}, errors.New("no address for the PBX to send to; set media.rtp.public_ip")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", netip.AddrPortFrom(remote, 9).String()) // sends nothing
	if err != nil {
		return netip.Addr{}, fmt.Errorf("route to the trunk: %w", err)
	}
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return addr, conn.Close()
}

// Open lets audio go: from then on a packet leaves every 20 ms until Close,
// but for the time the PBX holds the call. The media timeout runs from here.
func (s *Socket) Open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened || s.closed {
		return
	}
	now := time.Now()
	s.opened = true
	s.touch(now)
	s.receiver.open(now)
	s.sender.open()
	s.reportAt = now.Add(reportInterval() / 4) // the first soon: both ends learn of each other
	s.task.wake(now)
}

// Push sends a frame to the PBX. See Sink.
func (s *Socket) Push(f *Frame) {
	if f.Kind == Event && s.keys != nil {
		s.keys.push(f)
		return
	}
	s.sender.Push(f)
}

// takes says whether what is pushed reaches the PBX.
func (s *Socket) takes() bool { return s.sender.running() }

// SetSink says where the PBX's audio goes, and in which form.
func (s *Socket) SetSink(k Sink, want Format) { s.receiver.setSink(s.hold.attach(k), want) }

// Codec is what was agreed on to send, NoCodec before.
func (s *Socket) Codec() Codec { return Codec(s.codec.Load()) }

// onChange has f called whenever another codec was agreed on.
func (s *Socket) onChange(f func()) { s.changed.Store(&f) }

// Heard is closed when the first audio packet of the PBX came.
func (s *Socket) Heard() <-chan struct{} { return s.receiver.heard() }

// Failed is closed when the leg cannot go on; Err says why.
func (s *Socket) Failed() <-chan struct{} { return s.failed }

// Err says why Failed is closed: ErrMediaTimeout, or a fault of ours.
func (s *Socket) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stats is what was counted so far.
func (s *Socket) Stats() Stats {
	st, out := s.receiver.stats(), s.sender.stats(time.Now())
	st.PacketsOut = out.packets - out.unsent
	st.Dropped += s.strangers.Load()
	st.RoundTrip = s.reporter.farEnd().trip
	return st
}

// Close says goodbye, stops and puts the ports into quarantine. Nothing is
// pushed or sent when it returns.
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.done
		return nil
	}
	s.closed = true
	opened := s.opened
	s.mu.Unlock()
	defer close(s.done)

	s.pressed.close()
	if s.keys != nil {
		s.keys.close()
	}
	s.sender.close()
	if opened {
		s.report(time.Now(), true)
	}
	s.pair.stopReading()
	s.wg.Wait()
	s.hold.attach(nil)
	s.receiver.close()
	s.engine.metrics.sip.ended(s.Stats().RoundTrip)
	s.engine.ports.giveBack(s.pair)
	return nil
}

// fail notes why the leg cannot go on; the first reason counts.
func (s *Socket) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLocked(err)
}

func (s *Socket) failLocked(err error) {
	if s.err == nil && !s.closed {
		s.err = err
		close(s.failed)
	}
}

// tickInterval is how often timeout and reports are looked at.
const tickInterval = 250 * time.Millisecond

// tick runs on the pacer from Open to Close.
func (s *Socket) tick(now time.Time) time.Time {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return time.Time{}
	}
	if s.held {
		s.touch(now) // the timeout starts anew when the call is taken back
	}
	if limit := s.engine.cfg.Timeout; limit > 0 && now.Sub(s.lastAlive()) > limit {
		s.failLocked(ErrMediaTimeout)
	}
	due := !s.reportAt.After(now)
	if due {
		s.reportAt = now.Add(reportInterval())
	}
	s.mu.Unlock()
	if due {
		s.report(now, false)
	}
	return now.Add(tickInterval)
}

func (s *Socket) touch(now time.Time) { s.alive.Store(int64(now.Sub(s.born))) }

func (s *Socket) lastAlive() time.Time { return s.born.Add(time.Duration(s.alive.Load())) }

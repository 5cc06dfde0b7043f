// Package faketrunk is a PBX with desk phones, for tests, demos and benches: it
// answers and places SIP calls over UDP and TCP with G.711 over RTP, sends a
// tone and listens, and behaves as badly as it is told. It is written from the
// standards and shares no code with what it tests. It notes every message,
// counts as faults what a strict peer would complain about (Faults) and knows
// which calls are still open (Open): the judge for phones that ring on.
//
//	pbx, err := faketrunk.Start(ctx, faketrunk.Options{Tone: 620, Listen: []float64{440}})
//	pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(time.Second) })
//	call, err := pbx.Next(ctx)          // a call came in
//	err = call.Audio().Meter().Wait(ctx) // the tone was heard
//	err = call.Hangup(ctx)
//
// What it does not do: video, SRTP, TLS, a registrar, more than one
// subscription, ICE.
package faketrunk

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	t1         = 500 * time.Millisecond // RFC 3261 section 17.1.1.1
	t2         = 4 * time.Second
	patience   = 64 * t1
	keepLog    = 50_000 // messages
	keepFaults = 1000
	keepCalls  = 3 * time.Minute // how long an ended call still answers: who could not end it in 32 s asks again
	queueLimit = 10_000          // calls that nobody took by Next
)

// Options says how a Trunk starts. The zero value listens on a free port of
// 127.0.0.1 and answers every call at once.
type Options struct {
	Addr   string    // host:port for UDP and TCP; default 127.0.0.1:0
	User   string    // of Contact; default phone
	Tone   float64   // Hz that phones send unless the script says otherwise; 0: silence
	Listen []float64 // Hz that phones listen for
	// Via puts a network between a phone's ports for RTP and RTCP and whoever it
	// talks to. Nil: there is none.
	Via func(rtp, rtcp netip.AddrPort) (forRTP, forRTCP Path, err error)
	// Socket, when set, is the one socket, in the place of Addr: there is no TCP,
	// and phones describe their sound and have none. It belongs to the Trunk.
	Socket Datagrams
}

// Path is a network before a phone's port. Those for RTP and RTCP have
// neighbouring addresses.
type Path interface {
	// Addr is where the other side sends, instead of to the port.
	Addr() netip.AddrPort
	// Toward is where the phone sends what is for remote.
	Toward(remote netip.AddrPort) (netip.AddrPort, error)
}

// Datagrams is a UDP socket, or what stands in for one.
type Datagrams interface {
	ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error)
	LocalAddr() net.Addr
	Close() error
}

// Trunk is the PBX.
type Trunk struct {
	opts   Options
	udp    Datagrams
	tcp    net.Listener // nil: there is none
	addr   netip.AddrPort
	ctx    context.Context //nolint:containedctx // the life of everything that Start began
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // everything below, and the signalling state of every Call
	closed  bool
	choose  func(*Message) Script
	options int
	streams map[*stream]bool
	calls   map[string]*Call // by Call-ID
	order   []*Call
	queue   []*Call // came in, not yet taken by Next
	pending map[string]chan *Message
	log     []*Message
	dropped int // messages that the log no longer holds
	faults  []string
	changed chan struct{} // closed and replaced whenever something happened
	nonce   string
}

// Start opens the sockets. Everything ends with Close or with ctx.
func Start(ctx context.Context, o Options) (*Trunk, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.User == "" {
		o.User = "phone"
	}
	t := &Trunk{
		opts: o, choose: func(*Message) Script { return Script{} }, options: 200, nonce: rand.Text(),
		streams: map[*stream]bool{}, calls: map[string]*Call{}, pending: map[string]chan *Message{},
		changed: make(chan struct{}),
	}
	if o.Socket != nil {
		t.udp, t.addr = o.Socket, o.Socket.LocalAddr().(*net.UDPAddr).AddrPort()
	} else if err := t.bind(ctx, o.Addr); err != nil {
		return nil, fmt.Errorf("start the PBX: %w", err)
	}
	t.ctx, t.cancel = context.WithCancel(ctx)
	t.wg.Go(t.readUDP)
	if t.tcp != nil {
		t.wg.Go(t.accept)
	}
	t.wg.Go(func() {
		<-t.ctx.Done()
		t.stop()
	})
	return t, nil
}

// Close frees everything. Calls are not hung up: the PBX is gone, as after a
// power cut. See HangupAll.
func (t *Trunk) Close() error {
	t.cancel()
	t.wg.Wait()
	for _, c := range t.Calls() {
		c.audio.wg.Wait()
	}
	return nil
}

func (t *Trunk) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	_ = t.udp.Close()
	if t.tcp != nil {
		_ = t.tcp.Close()
	}
	for s := range t.streams {
		_ = s.conn.Close()
	}
	for _, c := range t.order {
		c.audio.close()
		c.end()
	}
	t.stir()
}

// Addr is where the PBX listens, UDP and TCP.
func (t *Trunk) Addr() netip.AddrPort { return t.addr }

// URI is the PBX's address as a trunk's target; transport is udp or tcp.
func (t *Trunk) URI(transport string) string {
	return fmt.Sprintf("sip:%v;transport=%s", t.addr, transport)
}

// Handle sets how calls from now on are treated: choose is given the INVITE.
func (t *Trunk) Handle(choose func(invite *Message) Script) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.choose = choose
}

// SetOptions sets the status that OPTIONS is answered with; 0: not at all.
func (t *Trunk) SetOptions(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.options = status
}

// Next waits for the next call that came in and was not yet returned, in the
// order of the INVITEs. Challenged INVITEs are no calls.
func (t *Trunk) Next(ctx context.Context) (*Call, error) {
	var c *Call
	err := t.wait(ctx, func() bool {
		if len(t.queue) == 0 {
			return false
		}
		c, t.queue = t.queue[0], t.queue[1:]
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("wait for a call: %w", err)
	}
	return c, nil
}

// Calls lists every call, in the order of their beginning; those that ended
// minutes ago may be missing.
func (t *Trunk) Calls() []*Call {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*Call(nil), t.order...)
}

// HangupAll hangs up whatever is open.
func (t *Trunk) HangupAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, c := range t.Calls() {
		wg.Go(func() { _ = c.Hangup(ctx) })
	}
	wg.Wait()
}

// wait blocks until ok, which is called with t.mu held, says so.
func (t *Trunk) wait(ctx context.Context, ok func() bool) error {
	for {
		t.mu.Lock()
		done, changed, closed := ok(), t.changed, t.closed
		t.mu.Unlock()
		if done {
			return nil
		}
		if closed {
			return net.ErrClosed
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stir wakes everybody who waits. The caller holds t.mu.
func (t *Trunk) stir() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// add makes a call known. The caller holds t.mu.
func (t *Trunk) add(c *Call) {
	if n := len(t.order); n > 0 && n%256 == 0 {
		t.forget()
	}
	t.calls[c.id] = c
	t.order = append(t.order, c)
	t.stir()
}

// forget drops calls that ended long ago. The caller holds t.mu.
func (t *Trunk) forget() {
	old := time.Now().Add(-keepCalls)
	kept := t.order[:0]
	for _, c := range t.order {
		if !c.endedAt.IsZero() && c.endedAt.Before(old) {
			delete(t.calls, c.id)
			continue
		}
		kept = append(kept, c)
	}
	clear(t.order[len(kept):])
	t.order = kept
}

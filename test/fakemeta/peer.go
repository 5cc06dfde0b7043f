package fakemeta

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v3"

	"wagate/test/tone"
)

// rate is that of the customer's PCM: wideband, as WhatsApp's.
const rate = 16000

// peer is the media of one customer: an ICE-lite agent on the relay, DTLS,
// SRTP, a mouth and an ear.
type peer struct {
	c      *Customer
	local  description
	remote description // set before open
	relays []*relay    // that know it
	own    []*relay    // to be closed with it

	integrity stun.MessageIntegrity
	open      atomic.Bool // the gateway's description is taken: checks are answered
	gone      atomic.Bool // the phone lost its network
	early     atomic.Int64
	strange   atomic.Int64
	path      atomic.Pointer[path]
	shake     *inbox
	paired    chan struct{} // closed when a pair is nominated
	pairing   sync.Once
	secured   chan struct{} // closed when the DTLS handshake is done
	closing   sync.Once
	closed    chan struct{}

	voice voice
	out   *srtp.Context // the mouth's own, once secured

	heard heard
	meter *tone.Meter
	ear   Ear
}

// path is where a customer's media goes.
type path struct {
	via *relay
	to  netip.AddrPort
}

func newPeer(c *Customer, local description, sound Sound) (*peer, error) {
	sound = sound.withDefaults()
	p := &peer{
		c: c, local: local, integrity: stun.NewShortTermIntegrity(local.pwd),
		paired: make(chan struct{}), secured: make(chan struct{}), closed: make(chan struct{}),
		meter: tone.NewMeter(rate, sound.Hear...), ear: sound.Ear,
	}
	p.shake = newInbox(p.send)
	if c.opts.Flaw == Unshaken {
		p.shake.send = func([]byte) error { return nil }
	}
	p.voice.init(sound.Voice)
	p.voice.loss, p.heard.loss = c.opts.Loss.way(0), c.opts.Loss.way(1)
	return p, p.heard.init()
}

// join makes the customer known at a relay port.
func (p *peer) join(r *relay, own bool) {
	r.admit(p)
	p.relays = append(p.relays, r)
	if own {
		p.own = append(p.own, r)
	}
}

// begin takes the gateway's description: from now on checks are answered, and
// the handshake starts in the role that the descriptions agreed on.
func (p *peer) begin(remote description) {
	p.remote = remote
	p.open.Store(true)
	client := p.local.setup == "active"
	if remote.setup == "passive" && p.local.setup == "actpass" {
		p.blame(NobodyShakes, "setup:passive in an answer: Meta never begins the handshake")
		return
	}
	p.c.s.spawn(func() { p.secure(client) })
}

func (p *peer) nominate(r *relay, to netip.AddrPort) {
	if old := p.path.Load(); old == nil || old.via != r || old.to != to {
		p.path.Store(&path{r, to})
		p.pairing.Do(func() { close(p.paired) })
	}
}

// send writes a datagram to the gateway. Before a pair is nominated, and when
// the network is lost, it goes nowhere.
func (p *peer) send(b []byte) error {
	where := p.path.Load()
	if where == nil || p.gone.Load() {
		return nil
	}
	_, err := where.via.conn.WriteToUDPAddrPort(b, where.to)
	return err
}

// close ends all media. It does not wait, so that anybody may call it.
func (p *peer) close() {
	p.closing.Do(func() {
		p.open.Store(false)
		close(p.closed)
		_ = p.shake.Close()
		for _, r := range p.relays {
			r.remove(p)
		}
		for _, r := range p.own {
			r.close()
		}
	})
}

func (p *peer) blame(r Rule, detail string) { p.c.s.blame(r, p.c.id, detail) }

// lastMedia is when RTP or RTCP came last; zero: never.
func (p *peer) lastMedia() time.Time {
	p.heard.mu.Lock()
	defer p.heard.mu.Unlock()
	return p.heard.last
}

var _ net.PacketConn = (*inbox)(nil)

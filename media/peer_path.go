package media

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"github.com/pion/ice/v4"
)

// errNoPath is what a packet meets before ICE has selected a pair, and after Close.
var errNoPath = errors.New("no path to the far end")

// peerPath is where a Peer's media goes to and comes from without passing
// through ICE: the far end of the selected pair.
type peerPath struct {
	conn   *hubConn
	remote atomic.Pointer[netip.AddrPort] // nil: none yet, or no more
}

// Write sends one datagram of media. It is lost or sent, whole, at once.
func (p *peerPath) Write(data []byte) (int, error) {
	to := p.remote.Load()
	if to == nil {
		return 0, errNoPath
	}
	return p.conn.WriteToUDPAddrPort(data, *to)
}

// follow has media go the way that ICE has selected. ICE calls it whenever that
// changes.
func (p *Peer) follow(agent *ice.Agent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	pair, err := agent.GetSelectedCandidatePair()
	if err != nil || pair == nil {
		return
	}
	addr, err := netip.ParseAddr(pair.Remote.Address())
	if err != nil {
		return // not a host's address: ICE resolves none
	}
	p.lead(netip.AddrPortFrom(addr.Unmap(), uint16(pair.Remote.Port())))
}

// lead makes to the far end of the media; an invalid one ends it.
func (p *Peer) lead(to netip.AddrPort) {
	var before netip.AddrPort
	if r := p.path.remote.Load(); r != nil {
		before = *r
	}
	if to == before {
		return
	}
	p.path.conn.assign(p, before, to)
	if to.IsValid() {
		p.path.remote.Store(&to)
	} else {
		p.path.remote.Store(nil)
	}
}

// deliver takes media from the reader of the hub.
func (p *Peer) deliver(data []byte) {
	if len(data) > maxDatagram {
		p.refuse()
		return
	}
	if !p.inbox.put(data) {
		p.refused.Add(1)
		p.engine.metrics.whatsapp.dropped.overflow.Inc()
	}
}

package fakemeta

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// relay is a UDP port of Meta's media relay with the ICE-lite agents of the
// customers behind it. It answers checks and never makes any.
type relay struct {
	conn *net.UDPConn
	addr netip.AddrPort

	mu      sync.RWMutex
	byUfrag map[string]*peer
	byAddr  map[netip.AddrPort]*peer // by the last check from there
}

func (s *Server) newRelay(ctx context.Context, ip netip.Addr) (*relay, error) {
	network := "udp4"
	if ip.Is6() {
		network = "udp6"
	}
	pc, err := (&net.ListenConfig{}).ListenPacket(ctx, network, netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		return nil, err
	}
	conn := pc.(*net.UDPConn)
	r := &relay{
		conn: conn, addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(),
		byUfrag: map[string]*peer{}, byAddr: map[netip.AddrPort]*peer{},
	}
	if !s.spawn(r.serve) {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	return r, nil
}

// relayFor is the one relay of all customers where they share a port, else a
// new one.
func (s *Server) relayFor(ctx context.Context) (r *relay, own bool, err error) {
	if !s.opts.SharePort {
		r, err = s.newRelay(ctx, s.opts.MediaIP)
		return r, true, err
	}
	s.mu.Lock()
	r = s.shared
	s.mu.Unlock()
	if r != nil {
		return r, false, nil
	}
	if r, err = s.newRelay(ctx, s.opts.MediaIP); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shared != nil { // somebody was faster
		r.close()
	} else {
		s.shared = r
	}
	return s.shared, false, nil
}

func (r *relay) close() { _ = r.conn.Close() }

func (r *relay) admit(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byUfrag[p.local.ufrag] = p
}

func (r *relay) remove(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byUfrag, p.local.ufrag)
	for a, q := range r.byAddr {
		if p == q {
			delete(r.byAddr, a)
		}
	}
}

// serve reads until the port is closed.
func (r *relay) serve() {
	buf := make([]byte, 2048)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			continue // an ICMP error of an earlier packet
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		switch b := buf[0]; {
		case b < 4:
			r.check(buf[:n], from)
		case b >= 20 && b < 64:
			if p := r.from(from); p != nil {
				p.shake.put(buf[:n])
			}
		case b >= 128 && b < 192:
			if p := r.from(from); p != nil {
				p.take(buf[:n], now)
			}
		}
	}
}

func (r *relay) from(a netip.AddrPort) *peer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if p := r.byAddr[a]; p != nil && !p.gone.Load() {
		return p
	}
	return nil
}

// check answers a connectivity check, RFC 8445 section 7.3, if the customer has
// taken the gateway's session description; before that it is as if nobody were
// there.
func (r *relay) check(raw []byte, from netip.AddrPort) {
	m := &stun.Message{Raw: append([]byte(nil), raw...)}
	if m.Decode() != nil || m.Type != stun.BindingRequest || stun.Fingerprint.Check(m) != nil {
		return
	}
	var name stun.Username
	if name.GetFrom(m) != nil {
		return
	}
	local, remote, _ := strings.Cut(name.String(), ":")
	r.mu.RLock()
	p := r.byUfrag[local]
	r.mu.RUnlock()
	switch {
	case p == nil || p.gone.Load():
		return
	case !p.open.Load():
		p.early.Add(1)
		return
	case remote != p.remote.ufrag || p.integrity.Check(m) != nil:
		p.strange.Add(1)
		return
	case m.Contains(stun.AttrICEControlled):
		p.blame(RoleConflict, "the gateway says that it is controlled")
		r.answer(p, m, from, stun.BindingError, stun.ErrorCodeAttribute{Code: stun.CodeRoleConflict, Reason: []byte("Role Conflict")})
		return
	}
	if m.Contains(stun.AttrUseCandidate) {
		r.bind(p, from)
	}
	r.answer(p, m, from, stun.BindingSuccess, &stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())})
}

// bind makes the nominated address the one of the customer's media.
func (r *relay) bind(p *peer, from netip.AddrPort) {
	r.mu.Lock()
	before := r.byAddr[from]
	r.byAddr[from] = p
	r.mu.Unlock()
	if before != nil && before != p {
		p.blame(SharedPair, "a call with this customer and another come from "+from.String()+" to the same relay port")
	}
	p.nominate(r, from)
}

func (r *relay) answer(p *peer, req *stun.Message, to netip.AddrPort, kind stun.MessageType, body stun.Setter) {
	m, err := stun.Build(stun.NewTransactionIDSetter(req.TransactionID), kind, body, p.integrity, stun.Fingerprint)
	if err != nil {
		return
	}
	_, _ = r.conn.WriteToUDPAddrPort(m.Raw, to)
}

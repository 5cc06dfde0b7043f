package fakemeta

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"time"
)

// deadIPv6 is an address that no test machine reaches, from the prefix that
// RFC 3849 sets aside for documentation.
var deadIPv6 = netip.MustParseAddrPort("[2001:db8:f312:131:face:b00c:0:699c]:3480")

// Call lets a user call the business. It returns when the relay is ready and
// the connect webhook is on its way. ctx is for the placing only; the call ends
// by HangUp, the gateway, a limit, or Close.
func (s *Server) Call(ctx context.Context, o CallOptions) (*Customer, error) {
	number := &s.opts.Numbers[0]
	if o.To != "" {
		if number = s.number(o.To); number == nil {
			return nil, fmt.Errorf("call %s: no such phone-number id", o.To)
		}
	}
	if o.Patience == 0 {
		o.Patience = s.opts.Patience
	}
	offer, err := s.offerOf(number, o.Codecs)
	if err != nil {
		return nil, fmt.Errorf("call: %w", err)
	}
	c := s.newCustomer(number, s.fill(o.User))
	c.opts, c.offered = o, &offer
	o.Flaw.spoil(&offer)
	c.pair, _ = s.begin(number, c.user, false) // nobody refuses a user
	at, err := c.openMedia(ctx, offer, o.Sound, o.IPv6)
	if err != nil {
		s.leave(number, c.pair)
		return nil, fmt.Errorf("call: %w", err)
	}
	if err := s.enter(c); err != nil {
		s.leave(number, c.pair)
		return nil, err
	}
	s.deliver(&c.lane, c.connectHook("offer", offer.text(c.peer.voice.ssrc, at)))
	s.spawn(c.run)
	return c, nil
}

func (s *Server) newCustomer(n *Number, u User) *Customer {
	c := &Customer{
		s: s, id: newCallID(u, n), number: n, user: u, placed: time.Now(), wall: wall{placed: s.now()},
		firstPacket: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	for i := range c.reached {
		c.reached[i] = make(chan struct{})
	}
	close(c.reached[Calling])
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	return c
}

// openMedia opens the relay for the call and returns the candidates.
func (c *Customer) openMedia(ctx context.Context, local description, sound Sound, six Family) ([]netip.AddrPort, error) {
	p, err := newPeer(c, local, sound)
	if err != nil {
		return nil, err
	}
	c.peer = p
	r, own, err := c.s.relayFor(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a relay port: %w", err)
	}
	p.join(r, own)
	at := []netip.AddrPort{r.addr}
	if via := c.s.opts.Via; via != nil {
		if at[0], err = via(r.addr); err != nil {
			p.close()
			return nil, fmt.Errorf("put a network before a relay port: %w", err)
		}
	}
	switch six {
	case NoIPv6:
	case DeadIPv6:
		at = append(at, deadIPv6)
	case LiveIPv6:
		r6, err := c.s.newRelay(ctx, netip.IPv6Loopback())
		if err != nil {
			p.close()
			return nil, fmt.Errorf("open an IPv6 relay port: %w", err)
		}
		p.join(r6, true)
		at = append(at, r6.addr)
	}
	return at, nil
}

// enter puts the call into the books. Its goroutine is started when its first
// webhooks are on their way.
func (s *Server) enter(c *Customer) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		c.peer.close()
		return errors.New("call: the simulated Meta is closed")
	}
	s.calls[c.id] = c
	s.order = append(s.order, c.id)
	if len(s.order) > s.opts.Keep {
		s.forget()
	}
	s.mu.Unlock()
	return nil
}

// forget drops the oldest half of the calls that are over.
func (s *Server) forget() {
	kept := s.order[:0]
	for i, id := range s.order {
		if i < s.opts.Keep/2 && over(s.calls[id]) {
			delete(s.calls, id)
			continue
		}
		kept = append(kept, id)
	}
	s.order = kept
}

// over needs no lock: a call's may be held while the server's is taken, not
// the other way round.
func over(c *Customer) bool {
	select {
	case <-c.reached[Ended]:
		return true
	default:
		return false
	}
}

func (s *Server) call(id string) *Customer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[id]
}

// newCallID makes a wacid: base64, with padding, of bytes that hold both
// numbers in clear, as real ones do.
func newCallID(u User, n *Number) string {
	noise := make([]byte, 16)
	_, _ = rand.Read(noise) // never fails
	b := append([]byte{0x1c, 0x18, byte(len(u.Number))}, u.Number...)
	b = append(b, 0x15, 0x02, 0x00, 0x12, 0x18, 0x20)
	b = append(b, fmt.Sprintf("%032X", new(big.Int).SetBytes(noise))...)
	b = append(b, 0x1c, 0x18, byte(len(n.Display)))
	b = append(b, n.Display...)
	b = append(b, 0x15, 0x02, 0x00)
	for len(b)%3 != 1 {
		b = append(b, 0)
	}
	return "wacid." + base64.StdEncoding.EncodeToString(b)
}

package impair

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Way is a direction through a relay.
type Way uint8

// The two ways.
const (
	Up   Way = iota // from who found the relay to its target
	Down            // back
)

// Options of a relay. The zero value is fine.
type Options struct {
	Listen netip.AddrPort // default: a free port of 127.0.0.1
	Seed   uint64
	// Only tells the packets that the network is bad to; the others pass. Nil: all.
	Only func(packet []byte) bool
	// Watch sees each of those packets with its fate, those of one client and way
	// in the order in which they came in. It must not keep the packet, and is
	// called by several goroutines.
	Watch func(w Way, packet []byte, f Fate)
}

const (
	flowLimit = 1024 // clients of one relay
	packetMax = 1 << 16
)

var errTooMany = errors.New("too many clients")

// UDP relays datagrams to one target. Each client is a flow with a port of its
// own towards the target, so that answers find their way.
type UDP struct {
	o      Options
	target netip.AddrPort
	front  *net.UDPConn
	queue  *queue
	wg     sync.WaitGroup

	mu     sync.Mutex
	closed bool
	net    [2]Network
	flows  map[netip.AddrPort]*flow
}

// flow is one client.
type flow struct {
	client netip.AddrPort
	back   *net.UDPConn
	links  [2]*Link
}

// NewUDP starts a relay to target. The caller closes it.
func NewUDP(target netip.AddrPort, o Options) (*UDP, error) {
	if !o.Listen.IsValid() {
		o.Listen = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	front, err := listen(o.Listen)
	if err != nil {
		return nil, err
	}
	r := &UDP{o: o, target: target, front: front, queue: newQueue(), flows: map[netip.AddrPort]*flow{}}
	r.wg.Go(r.queue.serve)
	r.wg.Go(r.serve)
	return r, nil
}

// NewPair starts two relays on neighbouring ports, the first of them even: for
// RTP and its RTCP.
func NewPair(rtp, rtcp netip.AddrPort, o Options) (*UDP, *UDP, error) {
	const tries = 100
	for range tries {
		a, err := NewUDP(rtp, o)
		if err != nil {
			return nil, nil, err
		}
		if at := a.Addr(); at.Port()%2 == 0 {
			second := o
			second.Listen = netip.AddrPortFrom(at.Addr(), at.Port()+1)
			second.Seed++
			if b, err := NewUDP(rtcp, second); err == nil {
				return a, b, nil
			}
		}
		_ = a.Close()
	}
	return nil, nil, errors.New("relay: no pair of free ports")
}

func listen(at netip.AddrPort) (*net.UDPConn, error) {
	pc, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "udp", at.String())
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return pc.(*net.UDPConn), nil
}

// Addr is where clients send.
func (r *UDP) Addr() netip.AddrPort { return local(r.front) }

func local(c *net.UDPConn) netip.AddrPort {
	at := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
}

// Toward is where the target sends what is for a client; the client need not
// have sent anything.
func (r *UDP) Toward(client netip.AddrPort) (netip.AddrPort, error) {
	f, err := r.flow(client)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return local(f.back), nil
}

// Set changes the network on one way, for all clients, from now on. Packets
// that are under way stay as they are.
func (r *UDP) Set(w Way, n Network) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.net[w] = n
	for _, f := range r.flows {
		f.links[w].Set(n)
	}
}

// Close ends the relay. What is under way is lost.
func (r *UDP) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	_ = r.front.Close()
	for _, f := range r.flows {
		_ = f.back.Close()
	}
	r.mu.Unlock()
	r.queue.close()
	r.wg.Wait()
	return nil
}

// flow finds or makes the flow of a client.
func (r *UDP) flow(client netip.AddrPort) (*flow, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch f := r.flows[client]; {
	case f != nil:
		return f, nil
	case r.closed:
		return nil, fmt.Errorf("relay: %w", net.ErrClosed)
	case len(r.flows) >= flowLimit:
		return nil, fmt.Errorf("relay: %w", errTooMany)
	}
	back, err := listen(netip.AddrPortFrom(r.Addr().Addr(), 0))
	if err != nil {
		return nil, err
	}
	n := uint64(len(r.flows))
	f := &flow{client: client, back: back, links: [2]*Link{NewLink(r.o.Seed, 2*n), NewLink(r.o.Seed, 2*n+1)}}
	f.links[Up].Set(r.net[Up])
	f.links[Down].Set(r.net[Down])
	r.flows[client] = f
	r.wg.Go(func() { r.serveFlow(f) })
	return f, nil
}

// serve reads what clients send.
func (r *UDP) serve() {
	buf := make([]byte, packetMax)
	for {
		n, from, err := r.front.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error of an earlier packet
		}
		f, err := r.flow(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		if err != nil {
			continue
		}
		r.pass(f, Up, buf[:n], f.back, r.target)
	}
}

// serveFlow reads what the target sends back.
func (r *UDP) serveFlow(f *flow) {
	buf := make([]byte, packetMax)
	for {
		n, from, err := f.back.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != r.target {
			continue
		}
		r.pass(f, Down, buf[:n], r.front, f.client)
	}
}

// pass sends a packet on as its fate wants it.
func (r *UDP) pass(f *flow, w Way, packet []byte, by *net.UDPConn, to netip.AddrPort) {
	now := time.Now()
	fate := Fate{Copies: 1}
	if r.o.Only == nil || r.o.Only(packet) {
		r.mu.Lock()
		fate = f.links[w].Pass(now)
		r.mu.Unlock()
		if r.o.Watch != nil {
			r.o.Watch(w, packet, fate)
		}
	}
	for i := range fate.Copies {
		delay := fate.Delay
		if i > 0 {
			delay = fate.Second
		}
		if delay == 0 {
			_, _ = by.WriteToUDPAddrPort(packet, to)
			continue
		}
		kept := append([]byte(nil), packet...)
		r.queue.put(now.Add(delay), func() { _, _ = by.WriteToUDPAddrPort(kept, to) })
	}
}

// RTP tells RTP, in the clear or as SRTP, from what shares its port: RTCP
// (RFC 5761 section 4), STUN and DTLS (RFC 7983 section 7).
func RTP(packet []byte) bool {
	const header = 12
	return len(packet) >= header && packet[0]>>6 == 2 && (packet[1] < 192 || packet[1] > 223)
}

package media

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"wagate/config"
)

// ErrNoPort says that every port of the range is in use or in quarantine.
var ErrNoPort = errors.New("no free RTP port")

const (
	// quarantineQuiet is how long nothing must have come to a port before the
	// next call may have it: the far end of the last one may not have noticed
	// that it is over, and its audio must not be heard in another call.
	quarantineQuiet = 30 * time.Second
	// quarantineMost ends it for a far end that never stops.
	quarantineMost = 10 * time.Minute
	// maxBindTries bounds the search when other programs sit in our range.
	maxBindTries = 200
)

// ports hands out pairs of UDP sockets: RTP on an even port, RTCP on the next
// (RFC 3550 section 11). They are chosen at random, so that nobody can guess
// where the next call listens.
type ports struct {
	bind        netip.Addr
	first       uint16 // even
	count       int    // pairs
	metrics     *metrics
	quiet, most time.Duration

	wg     sync.WaitGroup // of quarantined pairs
	mu     sync.Mutex
	closed bool
	taken  map[uint16]*portPair // in use or in quarantine
}

// portPair is two bound sockets.
type portPair struct {
	port      uint16
	rtp, rtcp *net.UDPConn
}

// newPorts looks at the range; nothing is bound before a call needs it. No range
// at all has no port for anybody.
func newPorts(cfg config.RTP, m *metrics) (*ports, error) {
	first := int(cfg.Ports.First)
	first += first % 2
	count := (int(cfg.Ports.Last) - first + 1) / 2
	if cfg.Ports == (config.PortRange{}) {
		count = 0
	} else if first == 0 || count < 1 {
		return nil, fmt.Errorf("media.rtp.ports: %d-%d has no pair of an even port and the next",
			cfg.Ports.First, cfg.Ports.Last)
	}
	bind := cfg.Bind
	if !bind.IsValid() {
		bind = netip.IPv4Unspecified()
	}
	m.ports.Set(float64(count))
	return &ports{
		bind: bind, first: uint16(first), count: count, metrics: m,
		quiet: quarantineQuiet, most: quarantineMost,
		taken: map[uint16]*portPair{},
	}, nil
}

// take binds a free pair.
func (p *ports) take(ctx context.Context) (*portPair, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	var last error
	tries := 0
	start := rand.IntN(max(p.count, 1))
	for i := range p.count {
		port := p.first + 2*uint16((start+i)%p.count)
		if p.taken[port] != nil {
			continue
		}
		pair, err := p.open(ctx, port)
		if err != nil {
			if last, tries = err, tries+1; tries == maxBindTries {
				break
			}
			continue
		}
		p.taken[port] = pair
		p.metrics.portsInUse.Set(float64(len(p.taken)))
		return pair, nil
	}
	if last != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoPort, last)
	}
	return nil, ErrNoPort
}

func (p *ports) open(ctx context.Context, port uint16) (*portPair, error) {
	rtp, err := p.listen(ctx, port)
	if err != nil {
		return nil, err
	}
	rtcp, err := p.listen(ctx, port+1)
	if err != nil {
		_ = rtp.Close()
		return nil, err
	}
	return &portPair{port: port, rtp: rtp, rtcp: rtcp}, nil
}

func (p *ports) listen(ctx context.Context, port uint16) (*net.UDPConn, error) {
	network := "udp4"
	if p.bind.Is6() {
		network = "udp"
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, netip.AddrPortFrom(p.bind, port).String())
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, errors.New("not a UDP socket")
	}
	return conn, nil
}

// giveBack puts a pair that nobody reads any more into quarantine: it stays
// bound and is emptied until the far end has fallen silent.
func (p *ports) giveBack(pair *portPair) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.wg.Add(1)
	}
	p.mu.Unlock()
	if closed {
		pair.close()
		return
	}
	go func() {
		defer p.wg.Done()
		pair.drain(p.quiet, p.most)
		pair.close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.taken, pair.port)
		p.metrics.portsInUse.Set(float64(len(p.taken)))
	}()
}

// close closes every socket, those of live calls too, and waits for the
// quarantines to end.
func (p *ports) close() {
	p.mu.Lock()
	p.closed = true
	for _, pair := range p.taken {
		pair.close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// drain reads RTP until none came for the time of quiet.
func (pp *portPair) drain(quiet, most time.Duration) {
	end := time.Now().Add(most)
	var none [1]byte // the rest of a datagram is thrown away
	for {
		until := time.Now().Add(quiet)
		if until.After(end) {
			return
		}
		if pp.rtp.SetReadDeadline(until) != nil {
			return
		}
		if _, _, err := pp.rtp.ReadFromUDPAddrPort(none[:]); err != nil {
			return
		}
	}
}

func (pp *portPair) close() {
	_ = pp.rtp.Close()
	_ = pp.rtcp.Close()
}

// stopReading lets blocked reads return, now and from here on.
func (pp *portPair) stopReading() {
	past := time.Unix(1, 0)
	_ = pp.rtp.SetReadDeadline(past)
	_ = pp.rtcp.SetReadDeadline(past)
}

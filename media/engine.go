package media

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// errClosed is what a closed Engine, Peer or Socket answers.
var errClosed = errors.New("closed")

// defaultICETimeout is RFC 7675's: how long consent lasts without an answer.
const defaultICETimeout = 30 * time.Second

// Engine holds what all calls share: the one UDP socket of the WhatsApp legs,
// the port range of the PBX legs, the limits and the metrics.
type Engine struct {
	cfg     config.Media
	log     *slog.Logger
	metrics *metrics
	pacer   *pacer
	ports   *ports // towards the PBX
	shared  *hub
	watcher *watcher
	economy economy

	mu     sync.Mutex
	closed bool
	peers  map[*Peer]struct{}
	relays map[netip.AddrPort]struct{} // remote addresses that live calls on shared have
}

// NewEngine binds cfg.WebRTC.Listen. The caller closes the Engine after its
// last call.
func NewEngine(cfg config.Media, log *slog.Logger, reg prometheus.Registerer) (*Engine, error) {
	if cfg.ICETimeout <= 0 {
		cfg.ICETimeout = defaultICETimeout
	}
	m := newMetrics(reg)
	ports, err := newPorts(cfg.RTP, m)
	if err != nil {
		return nil, err
	}
	shared, err := openHub(context.Background(), cfg.WebRTC.Listen)
	if err != nil {
		return nil, fmt.Errorf("media.webrtc.listen: %w", err)
	}
	e := &Engine{
		cfg:     cfg,
		log:     log,
		metrics: m,
		pacer:   newPacer(m.lateTicks, log),
		ports:   ports,
		shared:  shared,
		peers:   map[*Peer]struct{}{},
		relays:  map[netip.AddrPort]struct{}{},
	}
	e.watcher = watch(e.pacer, &e.economy, m, e.live)
	return e, nil
}

// Addr is the address that the WebRTC socket is bound to, with its real port.
func (e *Engine) Addr() netip.AddrPort { return e.shared.bound }

// Close ends the peers that are left and gives the ports back.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	left := make([]*Peer, 0, len(e.peers))
	for p := range e.peers {
		left = append(left, p)
	}
	e.mu.Unlock()
	for _, p := range left {
		_ = p.Close()
	}
	e.ports.close()
	e.watcher.close()
	e.pacer.close()
	return e.shared.close()
}

// live counts the calls that have a WhatsApp leg.
func (e *Engine) live() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.peers)
}

func (e *Engine) add(p *Peer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	e.peers[p] = struct{}{}
	return nil
}

// remove forgets p and gives back what it claimed.
func (e *Engine) remove(p *Peer, claimed []netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.peers, p)
	for _, addr := range claimed {
		delete(e.relays, addr)
	}
}

// claim reserves remote addresses on the shared socket for one call. Packets of
// two calls that had the same address at both ends could not be told apart, by
// us or by the relay; false sends the second call to a socket of its own.
func (e *Engine) claim(remote []netip.AddrPort) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.ContainsFunc(remote, func(a netip.AddrPort) bool { _, taken := e.relays[a]; return taken }) {
		return false
	}
	for _, addr := range remote {
		e.relays[addr] = struct{}{}
	}
	return true
}

// reachable keeps the remote candidates that we may and can send to.
func (e *Engine) reachable(ctx context.Context, list []candidate) []candidate {
	local := e.shared.bound.Addr()
	kept := make([]candidate, 0, len(list))
	for _, c := range list {
		addr := c.addr.Addr()
		switch {
		case !allowed(addr, local.IsLoopback()):
		case !e.shared.speaks(addr):
		case addr.Is6() && !hasRoute(ctx, c.addr):
		default:
			kept = append(kept, c)
		}
	}
	return kept
}

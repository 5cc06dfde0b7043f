package media

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/pion/ice/v4"
)

const (
	// checkInterval paces connectivity checks. They go on until the call ends:
	// the far end answers none before it was told our session description,
	// which may be a whole ring time away.
	checkInterval = 100 * time.Millisecond

	// maxKeepalive is the longest pause between two consent checks (RFC 7675
	// section 5.1).
	maxKeepalive = 2 * time.Second
)

// iceCredentials are our half of the short-term credentials (RFC 8445 section 5.3).
type iceCredentials struct{ ufrag, pwd string }

func newICECredentials() iceCredentials { return iceCredentials{rand.Text()[:16], rand.Text()} }

// newAgent makes an ICE agent on the hub and gathers its candidates. It never
// gives up by itself: the call's deadlines decide that, and consent is watched
// by the Peer.
func newAgent(ctx context.Context, h *hub, own iceCredentials, offered []netip.AddrPort, lost time.Duration) (*ice.Agent, error) {
	loopback := h.bound.Addr().IsLoopback()
	a, err := ice.NewAgentWithOptions(
		ice.WithUDPMux(h.face(offered)),
		ice.WithLocalCredentials(own.ufrag, own.pwd),
		ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4, ice.NetworkTypeUDP6}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
		ice.WithDisableActiveTCP(),
		ice.WithIncludeLoopback(),
		ice.WithRemoteIPFilter(func(ip net.IP) bool {
			addr, _ := netip.AddrFromSlice(ip)
			return allowed(addr, loopback)
		}),
		ice.WithMaxBindingRequests(math.MaxUint16),
		ice.WithDisconnectedTimeout(0),
		ice.WithFailedTimeout(0),
		ice.WithCheckInterval(checkInterval),
		ice.WithKeepaliveInterval(min(maxKeepalive, lost/4)),
		ice.WithLoggerFactory(quiet()),
	)
	if err != nil {
		return nil, fmt.Errorf("ICE agent: %w", err)
	}
	gathered := make(chan struct{})
	err = a.OnCandidate(func(c ice.Candidate) {
		if c == nil {
			close(gathered)
		}
	})
	if err == nil {
		err = a.GatherCandidates()
	}
	if err == nil {
		select {
		case <-gathered:
			return a, nil
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	_ = a.GracefulClose()
	return nil, fmt.Errorf("ICE candidates: %w", err)
}

// startChecks begins the connectivity checks and returns at once. Against an
// ICE-lite side we control whoever offered (RFC 8445 section 6.1.1).
func startChecks(a *ice.Agent, r *remoteSide, offerer bool) (*ice.Conn, error) {
	if err := a.SetRemoteICELite(r.lite); err != nil {
		return nil, err
	}
	for _, c := range r.candidates {
		ca, err := ice.NewCandidateHost(&ice.CandidateHostConfig{
			Network:   "udp",
			Address:   c.addr.Addr().String(),
			Port:      int(c.addr.Port()),
			Component: ice.ComponentRTP,
			Priority:  c.priority,
		})
		if err != nil {
			return nil, fmt.Errorf("remote candidate: %w", err)
		}
		if err := a.AddRemoteCandidate(ca); err != nil {
			return nil, fmt.Errorf("remote candidate: %w", err)
		}
	}
	if r.lite || offerer {
		return a.StartDial(r.ufrag, r.pwd)
	}
	return a.StartAccept(r.ufrag, r.pwd)
}

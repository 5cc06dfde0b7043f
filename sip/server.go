// Package sip places and takes calls on SIP trunks. It never looks into a
// session description, and it lets nobody in who is not a trunk.
package sip

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// Server speaks SIP on every configured listener.
type Server struct{ tm timing }

// New binds every listener of cfg. Answers to what is sent are read at once;
// calls from the trunks are taken when Serve runs.
func New(cfg config.SIP, trunks []config.Trunk, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	return nil, ErrClosed
}

// Addr returns the bound address of the first listener of a protocol, "udp" or "tcp".
func (s *Server) Addr(proto string) netip.AddrPort { return netip.AddrPort{} }

// Serve takes calls until ctx ends.
func (s *Server) Serve(ctx context.Context, incoming func(*Session, Incoming)) error { return nil }

// Reload swaps the trunks; live sessions keep the trunk they were born with.
func (s *Server) Reload(trunks []config.Trunk) error { return nil }

// Drain answers OPTIONS and new calls with 503 from now on.
func (s *Server) Drain() {}

// Close ends the server at once.
func (s *Server) Close() error { return nil }

// Targets returns the trunk's targets, those known to be dead last.
func (s *Server) Targets(trunk string) []string { return nil }

// Up tells whether a target of the trunk answers OPTIONS.
func (s *Server) Up(trunk string) bool { return false }

// Prepare builds the INVITE; nothing leaves before Start.
func (s *Server) Prepare(o Outgoing, notify func(Event)) (*Session, error) { return nil, ErrClosed }

// Recover ends at the far end what a crash left behind.
func (s *Server) Recover(ctx context.Context, state []byte, r Reason) error { return nil }

// Session is one call on a trunk.
type Session struct{}

// Bind makes h the owner of an incoming call.
func (c *Session) Bind(h Handling) {}

// Start sends the INVITE.
func (c *Session) Start() {}

// State returns what must be on disk.
func (c *Session) State() []byte { return nil }

// CallID returns the Call-ID.
func (c *Session) CallID() string { return "" }

// Cancel gives up.
func (c *Session) Cancel(r Reason) {}

// Bye hangs up.
func (c *Session) Bye(r Reason) {}

// Ring sends 180.
func (c *Session) Ring() {}

// Answer sends 200.
func (c *Session) Answer(sdp []byte) {}

// Refuse sends a final refusal.
func (c *Session) Refuse(status int, r Reason, retryAfter time.Duration) {}

// Abandon lets sip end it alone.
func (c *Session) Abandon() {}

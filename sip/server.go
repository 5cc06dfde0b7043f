// Package sip places and takes calls on SIP trunks. It never looks into a
// session description, and it lets nobody in who is not a trunk.
//
// Transport and transactions (RFC 3261 sections 17 and 18) are our own: they
// have to refuse before they parse, keep the order of what arrives, bound what
// a peer can make them hold, and end calls whose owner died in a crash.
package sip

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// What the server may hold at once; beyond it new calls are refused with 503.
const (
	maxServerTx = 20000
	maxSessions = 5000
)

// Server speaks SIP on every configured listener.
type Server struct {
	tm         timing
	log        *slog.Logger
	metrics    *metrics
	resolver   *net.Resolver
	publicHost string
	publicPort int
	seed       maphash.Seed

	ctx  context.Context // its end is the server's end
	stop context.CancelFunc
	work sync.WaitGroup

	sockets   []*socket
	listeners []listener
	identity  atomic.Pointer[tls.Config] // of the tls:// listeners; nil: none
	keyFiles  config.TLS                 // where it is read from
	limits    *limiter
	traces    *tracers

	nonces        *nonces
	loops         *loopMark
	wrongPassword seldom
	loopSeen      seldom
	badHandshake  seldom

	acl      atomic.Pointer[acl]
	draining atomic.Bool
	drained  atomic.Int64 // when the drain is over, in Unix nanoseconds; 0: not said
	serving  atomic.Bool
	incoming func(*Session, Incoming) // set before serving
	changed  func(string, bool)       // set before serving, may be nil

	verdictMu sync.Mutex      // held over changed, so that changes keep their order
	verdicts  map[string]bool // whether a trunk was up when it was last reported

	connMu    sync.Mutex
	conns     map[connKey]*conn
	twins     uint64 // how many of them there were
	perSource map[netip.Addr]int

	mu       sync.Mutex // map work only; a trunk's mu, and then connMu, may be taken under it
	closed   bool
	trunks   []*trunk
	retired  []*trunk // replaced by a reload, with calls still on them
	clients  map[string]*clientTx
	servers  map[string]*serverTx
	merged   map[string]*serverTx
	sessions map[sessionKey]*Session
	strays   map[string]time.Time // late dialogs that got their BYE
	newTrunk chan struct{}        // a token: trunks changed, probe them

	newRegister chan struct{} // a token: trunks changed, register them
}

// sessionKey names a dialog, or one that may come: our tag is enough.
type sessionKey struct{ callID, localTag string }

// New binds every listener of cfg, and from then on reads them: answers to
// Recover need that. Calls are taken when Serve runs. A nil registerer keeps
// the metrics private.
func New(cfg config.SIP, trunks []config.Trunk, log *slog.Logger, reg prometheus.Registerer) (*Server, error) {
	return newServer(cfg, trunks, log, reg, defaultTiming())
}

// NewOn is New on sockets that are open already: it binds nothing, whatever cfg
// says, and owns them from then on.
func NewOn(cfg config.SIP, trunks []config.Trunk, log *slog.Logger, reg prometheus.Registerer, sockets ...Datagrams) (*Server, error) {
	s, err := makeServer(cfg, trunks, log, reg, defaultTiming())
	if err != nil {
		return nil, err
	}
	for _, c := range sockets {
		s.on(c)
	}
	s.begin()
	return s, nil
}

func newServer(cfg config.SIP, trunks []config.Trunk, log *slog.Logger, reg prometheus.Registerer, tm timing) (*Server, error) {
	s, err := makeServer(cfg, trunks, log, reg, tm)
	if err != nil {
		return nil, err
	}
	for _, l := range cfg.Listen {
		if err := s.listen(l); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if len(s.sockets)+len(s.listeners) == 0 {
		s.stop()
		return nil, errors.New("no SIP listener configured")
	}
	s.begin()
	return s, nil
}

// makeServer makes one that listens nowhere yet.
func makeServer(cfg config.SIP, trunks []config.Trunk, log *slog.Logger, reg prometheus.Registerer, tm timing) (*Server, error) {
	s := &Server{
		tm: tm, log: log, resolver: net.DefaultResolver, seed: maphash.MakeSeed(), limits: newLimiter(), traces: &tracers{calls: map[string]*tracer{}},
		nonces: newNonces(time.Now()), loops: newLoopMark(),
		verdicts: map[string]bool{}, conns: map[connKey]*conn{}, perSource: map[netip.Addr]int{},
		clients: map[string]*clientTx{}, servers: map[string]*serverTx{}, merged: map[string]*serverTx{},
		sessions: map[sessionKey]*Session{}, strays: map[string]time.Time{}, newTrunk: make(chan struct{}, 1), newRegister: make(chan struct{}, 1),
	}
	s.metrics = newMetrics(reg, s.held)
	s.keyFiles = cfg.TLS
	s.ctx, s.stop = context.WithCancel(context.Background())
	if cfg.PublicHost != "" {
		host, port, ok := splitHost(cfg.PublicHost)
		if a, err := netip.ParseAddr(cfg.PublicHost); err == nil {
			host, port, ok = hostOf(a), 0, true
		}
		if !ok {
			s.stop()
			return nil, fmt.Errorf("public_host %q: write a name or an address, with a port if it differs", cfg.PublicHost)
		}
		s.publicHost, s.publicPort = host, port
	}
	if err := s.Reload(trunks); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// held counts what there is of calls and requests.
func (s *Server) held() (dialogs, transactions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions), len(s.clients) + len(s.servers)
}

// begin reads what the sockets bring.
func (s *Server) begin() {
	for _, sock := range s.sockets {
		s.work.Go(func() { s.readUDP(sock) })
	}
	for _, l := range s.listeners {
		s.work.Go(func() { s.accept(l) })
	}
	s.work.Go(s.keepNames)
}

// Serve takes calls until ctx ends, probes the targets, and registers where a
// trunk wants that; it returns once the registrations are taken back. incoming
// gets each call on its own goroutine and either binds or refuses it.
func (s *Server) Serve(ctx context.Context, incoming func(*Session, Incoming)) error {
	s.mu.Lock()
	s.incoming = incoming
	s.mu.Unlock()
	s.serving.Store(true)
	defer s.serving.Store(false)
	var work sync.WaitGroup
	work.Go(func() { s.register(ctx) })
	s.probe(ctx)
	work.Wait()
	return nil
}

// Serving tells whether calls are taken: Serve runs, and no drain has begun.
func (s *Server) Serving() bool { return s.serving.Load() && !s.draining.Load() }

// Reload swaps the trunks, and reads every certificate and CA file again, whole
// or not at all. Calls that are up keep the trunk that they were born with, its
// addresses and its connections; new calls get connections that were made under
// the certificates of now.
func (s *Server) Reload(trunks []config.Trunk) error {
	identity, err := identityOf(s.keyFiles)
	if err != nil {
		return err
	}
	var fresh []*trunk
	for _, cfg := range trunks {
		t, err := newTrunk(cfg)
		if err != nil {
			return err
		}
		t.resolve(s.ctx, s.resolver)
		fresh = append(fresh, t)
	}
	s.mu.Lock()
	for _, old := range s.trunks {
		for _, t := range fresh {
			t.inherit(old)
		}
	}
	s.retired = append(s.retired, s.trunks...)
	s.trunks = fresh
	s.mu.Unlock()
	s.identity.Store(identity)
	s.metrics.setTrunks(fresh)
	s.forgetVerdicts(fresh)
	s.recompile()
	for _, token := range []chan struct{}{s.newTrunk, s.newRegister} {
		select {
		case token <- struct{}{}:
		default:
		}
	}
	return nil
}

// recompile rebuilds who may send.
func (s *Server) recompile() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = slices.DeleteFunc(s.retired, func(t *trunk) bool { return t.live.Load() == 0 })
	s.acl.Store(compile(s.trunks, s.retired))
	owners := map[string]bool{"": true}
	for _, t := range slices.Concat(s.trunks, s.retired) {
		if t.tls != nil {
			owners[t.tls.owner] = true
		}
	}
	s.connMu.Lock()
	defer s.connMu.Unlock()
	for key, c := range s.conns {
		if !owners[key.owner] { // made under certificates that hold no more, and no call is on it
			c.finish()
		}
	}
}

// keepNames resolves the trunks' names again and again, and sweeps what only
// time removes.
func (s *Server) keepNames() {
	tick := time.NewTicker(s.tm.resolve)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-tick.C:
			for _, t := range s.allTrunks() {
				t.resolve(s.ctx, s.resolver)
			}
			s.recompile()
			s.sweep(now)
		}
	}
}

func (s *Server) sweep(now time.Time) {
	s.nonces.sweep(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, until := range s.strays {
		if now.After(until) {
			delete(s.strays, key)
		}
	}
}

// maxStrays bounds the memory of late dialogs; beyond it they get no BYE.
const maxStrays = 10000

// firstStray tells whether a late dialog is seen for the first time.
func (s *Server) firstStray(key string) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if until, seen := s.strays[key]; (seen && now.Before(until)) || len(s.strays) >= maxStrays {
		return false
	}
	s.strays[key] = now.Add(s.tm.limit())
	return true
}

func (s *Server) allTrunks() []*trunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.trunks)
}

// trunk returns a configured trunk, or nil.
func (s *Server) trunk(name string) *trunk {
	for _, t := range s.allTrunks() {
		if t.cfg.Name == name {
			return t
		}
	}
	return nil
}

// Targets returns the trunk's targets as URIs, in order of preference, those
// known to be dead last. It is empty for an unknown trunk, and while none of
// its names could be resolved.
func (s *Server) Targets(trunk string) []string {
	if t := s.trunk(trunk); t != nil {
		return t.targets(time.Now())
	}
	return nil
}

// Address returns where a target of the trunk led when its name was last resolved;
// none for an unknown one.
func (s *Server) Address(trunk, target string) netip.Addr {
	if t := s.trunk(trunk); t != nil {
		return t.address(target)
	}
	return netip.Addr{}
}

// Up tells whether a target of the trunk answers OPTIONS. Before the first
// verdict, and without probing, a trunk counts as up.
func (s *Server) Up(trunk string) bool {
	t := s.trunk(trunk)
	return t != nil && t.up()
}

// Drain answers OPTIONS and new calls with 503 from now on, and tells callers
// to wait until the time after is over: 0 says a few seconds. Calls that are up
// go on.
func (s *Server) Drain(after time.Duration) {
	if after > 0 {
		s.drained.Store(time.Now().Add(after).UnixNano())
	}
	s.draining.Store(true)
}

// Close ends the server at once: sockets, timers, sessions. Calls are to be
// ended before, it sends nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	clients, servers := make([]*clientTx, 0, len(s.clients)), make([]*serverTx, 0, len(s.servers))
	for _, tx := range s.clients {
		clients = append(clients, tx)
	}
	for _, tx := range s.servers {
		servers = append(servers, tx)
	}
	s.mu.Unlock()
	s.stop()
	var err error
	for _, sock := range s.sockets {
		err = errors.Join(err, sock.conn.Close())
	}
	for _, l := range s.listeners {
		err = errors.Join(err, l.Close())
	}
	for _, tx := range clients {
		tx.end()
	}
	for _, tx := range servers {
		tx.end()
	}
	s.work.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// spawn runs f until it returns; Close waits for it. It refuses when the
// server is closed.
func (s *Server) spawn(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.work.Go(f)
	return true
}

// remember makes a Session known to what arrives for it.
func (s *Server) remember(c *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[c.key()] = c
}

func (s *Server) forget(c *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := c.key(); s.sessions[key] == c {
		delete(s.sessions, key)
	}
}

// key names the Session for what arrives.
func (c *Session) key() sessionKey {
	c.stateMu.Lock()
	defer c.stateMu.Unlock()
	local := c.state.From
	if c.state.Dialog != nil {
		local = c.state.Dialog.Local
	}
	return sessionKey{c.state.CallID, tag(local)}
}

// session finds the Session of a request inside a dialog.
func (s *Server) session(m *message) *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[sessionKey{m.get("Call-ID"), tag(m.get("To"))}]
}

// known tells whether an address is a trunk's.
func (s *Server) known(a netip.Addr) bool { return s.acl.Load().known(a) }

// guard keeps a panic in a handler or timer from taking the daemon along.
func (s *Server) guard() {
	if p := recover(); p != nil {
		s.metrics.reject("panic")
		s.log.Error("sip handler panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	}
}

// Package gateway turns WhatsApp calls into calls on SIP trunks and back. It
// alone knows more than one of the packages whatsapp, sip, media and store.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// Gateway is one running instance. Its methods may be called from any
// goroutine.
type Gateway struct {
	log      *slog.Logger
	metrics  *metrics
	whatsapp *whatsapp.Metrics
	store    *store.DB
	engine   *media.Engine
	sip      *sip.Server
	webhook  *whatsapp.Webhook
	registry *registry
	events   *feed
	traces   *traces
	limits   *trunkLimits
	reaper   *reaper
	outages  *outages
	parts    []*vital

	permissions *permissions
	gatherer    prometheus.Gatherer
	current     atomic.Pointer[running]
	deepest     atomic.Int64

	webhookListener, adminListener net.Listener
	webhookServer, adminServer     *http.Server
	certificate                    certificate
	admin                          *admin

	reloading  sync.Mutex  // one change of the configuration at a time
	calling    atomic.Bool // callbacks are carried out
	draining   atomic.Bool
	turns      turns         // of the callbacks
	leaving    chan struct{} // closed when a drain begins
	drained    chan struct{} // closed when it has nothing left to wait for
	drainOnce  sync.Once
	idleOnce   sync.Once
	background sync.WaitGroup
	cleanups   []cleanup

	mu      sync.Mutex
	closed  bool // no further calls
	stopped bool // no further work in the background
	calls   sync.WaitGroup
}

// running is one version of the configuration and what was compiled from it.
type running struct {
	cfg     *config.Config
	router  *router
	clients map[string]*whatsapp.Client
	former  map[string]*whatsapp.Client // of numbers that left: ends may still be owed
	env     *env
}

type cleanup struct {
	name string
	do   func() error
}

// New opens the store, binds every socket, and begins to end at both far ends
// whatever a crash left behind. What it opened is closed again by Run, or by New
// itself when it fails.
func New(cfg *config.Config, log *slog.Logger, reg *prometheus.Registry) (*Gateway, error) {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	g := newGateway(log, reg)
	if err := g.open(cfg, reg); err != nil {
		return nil, errors.Join(err, g.unwind())
	}
	return g, nil
}

// newGateway makes one that has opened nothing yet.
func newGateway(log *slog.Logger, reg *prometheus.Registry) *Gateway {
	g := &Gateway{
		log: log, metrics: newMetrics(reg, Version()), whatsapp: whatsapp.NewMetrics(reg), gatherer: reg,
		registry: newRegistry(), limits: newTrunkLimits(), leaving: make(chan struct{}), drained: make(chan struct{}),
		events: newFeed(time.Now(), keptNotices, log),
	}
	g.outages = newOutages(g.metrics, log)
	return g
}

func (g *Gateway) open(cfg *config.Config, reg *prometheus.Registry) (err error) {
	ctx := context.Background()
	if g.store, err = store.Open(ctx, cfg.DataDir, reg, g.log); err != nil {
		return fmt.Errorf("open store in data_dir: %w", err)
	}
	g.onExit("store", g.store.Close)
	g.traces = newTraces(g.store, g.log)
	if g.engine, err = media.NewEngine(cfg.Media, g.log, reg); err != nil {
		return fmt.Errorf("open media: %w", err)
	}
	g.onExit("media", g.engine.Close)
	if g.sip, err = sip.New(cfg.SIP, cfg.Trunks, g.log, reg); err != nil {
		return fmt.Errorf("open sip: %w", err)
	}
	g.onExit("sip", g.sip.Close)
	if err := g.assemble(cfg, reg); err != nil {
		return err
	}
	if err := g.recoverCalls(ctx); err != nil {
		return fmt.Errorf("end the calls of the last run: %w", err)
	}
	return g.listen(ctx, cfg)
}

// assemble connects what open has opened. Nothing of it waits or listens.
func (g *Gateway) assemble(cfg *config.Config, reg *prometheus.Registry) (err error) {
	g.sip.Watch(g.trunkChanged)
	if g.webhook, err = whatsapp.NewWebhook(cfg.WhatsApp, g.journal, g.receive, g.whatsapp, g.log); err != nil {
		return fmt.Errorf("set up webhook: %w", err)
	}
	g.reaper = newReaper(g.store, g.metrics, g.log)
	g.onExit("owed ends", g.reaper.close)
	g.reaper.dialogs = g.sip
	g.reaper.ender = func(number string) graphEnder {
		r := g.current.Load()
		if client := r.clients[number]; client != nil {
			return client
		}
		if client := r.former[number]; client != nil {
			return client
		}
		return nil
	}
	g.parts = g.vitals()
	g.permissions = newPermissions(g.store, g.asker, func() config.Permissions { return g.current.Load().cfg.Permissions },
		newPermissionMetrics(reg), g.log)
	g.permissions.changed, g.permissions.granted = g.consentChanged, g.granted
	first, err := g.compile(cfg)
	if err != nil {
		return err
	}
	g.adopt(first)
	return nil
}

// compile makes what calls need of a configuration.
func (g *Gateway) compile(cfg *config.Config) (*running, error) {
	prompt, err := promptOf(cfg)
	if err != nil {
		return nil, err
	}
	r := &running{cfg: cfg, router: newRouter(cfg), clients: map[string]*whatsapp.Client{}, former: map[string]*whatsapp.Client{}}
	for _, n := range cfg.WhatsApp.Numbers {
		r.clients[n.Name] = g.clientFor(cfg.WhatsApp, n)
	}
	r.env = &env{
		cfg: cfg, trunks: sipTrunks{g.sip}, audio: mediaEngine{g.engine}, book: g.store, limits: g.limits,
		metrics: g.metrics, log: g.log, owed: g.reaper.poke, over: g.over, late: g.lateNews, depth: g.depth, events: g.events,
		traces: g.traces, cut: newCutter(cfg),
		graph:   func(number string) graph { return r.clients[number] },
		prompt:  prompt,
		allowed: g.allowed, asked: g.connectAsked, named: g.named, talked: g.talked,
	}
	return r, nil
}

// clientFor is the client that the number has already, which knows how Meta
// does, or a new one.
func (g *Gateway) clientFor(w config.WhatsApp, n config.Number) *whatsapp.Client {
	if old := g.current.Load(); old != nil {
		if client := old.clients[n.Name]; client != nil && client.Serves(w, n) {
			return client
		}
	}
	client := whatsapp.NewClient(w, n, g.whatsapp, g.log)
	client.Watch(func(ofCall bool, err error) { g.outages.note(n.Name, ofCall, err) })
	return client
}

// asker is the Graph API of a number, for permissions.
func (g *Gateway) asker(number string) asker {
	if client := g.current.Load().clients[number]; client != nil {
		return client
	}
	return nil
}

func (g *Gateway) adopt(r *running) {
	old := g.current.Swap(r)
	for _, n := range r.cfg.WhatsApp.Numbers {
		r.clients[n.Name].Renew(n.AccessToken) // for the calls that are up, too
	}
	if g.engine != nil {
		g.engine.Guard(float64(r.cfg.Limits.CPU) / 100)
	}
	g.metrics.expect(r.cfg)
	g.metrics.node.Reset()
	g.metrics.node.WithLabelValues(r.cfg.Node).Set(1)
	g.metrics.reloadOK.Set(1)
	g.metrics.reloadTime.SetToCurrentTime()
	if old != nil {
		for name, client := range old.clients {
			if r.clients[name] != client {
				client.Close() // idle connections; requests on their way finish
			}
			if r.clients[name] == nil {
				g.whatsapp.Forget(name)
				g.outages.forget(name)
			}
		}
	}
}

// numberOf finds the business number that a webhook is for.
func (g *Gateway) numberOf(phoneNumberID string) (*running, config.Number, bool) {
	r := g.current.Load()
	for _, n := range r.cfg.WhatsApp.Numbers {
		if n.PhoneNumberID == phoneNumberID {
			return r, n, true
		}
	}
	return r, config.Number{}, false
}

// depth keeps the high-water mark of all mailboxes.
func (g *Gateway) depth(n int) {
	for {
		deepest := g.deepest.Load()
		if int64(n) <= deepest {
			return
		}
		if g.deepest.CompareAndSwap(deepest, int64(n)) {
			g.metrics.mailboxDepth.Set(float64(n))
			return
		}
	}
}

// trunkChanged tells subscribers what probing has found out about a trunk.
func (g *Gateway) trunkChanged(trunk string, up bool) {
	if up {
		g.events.publish(time.Now(), trunkUp{trunk})
		return
	}
	g.events.publish(time.Now(), trunkDown{trunk})
}

// ReloadRefused notes that a new configuration could not even be read.
func (g *Gateway) ReloadRefused() { g.metrics.reloadOK.Set(0) }

// Reload takes a new configuration for all calls to come, or refuses it whole:
// what is bound at start cannot change while the gateway runs.
func (g *Gateway) Reload(cfg *config.Config) error {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	err := g.reload(cfg)
	if err != nil {
		g.ReloadRefused()
	}
	return err
}

func (g *Gateway) reload(cfg *config.Config) error {
	if fixed := config.NeedsRestart(g.current.Load().cfg, cfg); len(fixed) > 0 {
		return fmt.Errorf("nothing was changed, because a restart is needed for %v", fixed)
	}
	pair, err := loadCertificate(cfg.HTTP.Webhook.TLS)
	if err != nil {
		return err
	}
	next, err := g.compile(cfg)
	if err != nil {
		return err
	}
	old := g.current.Load()
	maps.Copy(next.former, old.former)
	maps.Copy(next.former, old.clients)
	if err := g.sip.Reload(cfg.Trunks); err != nil {
		return fmt.Errorf("reload trunks: %w", err)
	}
	// Nothing below can fail.
	g.webhook.Reload(cfg.WhatsApp)
	g.admin.reload(cfg.HTTP.Admin)
	g.showCertificate(pair)
	g.adopt(next)
	g.log.Info("configuration reloaded")
	return nil
}

func (g *Gateway) onExit(name string, do func() error) {
	g.cleanups = append(g.cleanups, cleanup{name, do})
}

// unwind closes what was opened, newest first.
func (g *Gateway) unwind() error {
	var faults []error
	for i := len(g.cleanups) - 1; i >= 0; i-- {
		if err := g.cleanups[i].do(); err != nil {
			faults = append(faults, fmt.Errorf("close %s: %w", g.cleanups[i].name, err))
		}
	}
	g.cleanups = nil
	return errors.Join(faults...)
}

// WebhookAddr is where Meta's webhooks are taken.
func (g *Gateway) WebhookAddr() string { return g.webhookListener.Addr().String() }

// AdminAddr is where operators are served.
func (g *Gateway) AdminAddr() string { return g.adminListener.Addr().String() }

// SIPAddr is the bound address of the first listener of a protocol, udp or tcp.
func (g *Gateway) SIPAddr(proto string) string { return g.sip.Addr(proto).String() }

package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"wagate/config"
)

// The webhook's limits: it is the one listener that faces the internet.
const (
	headerTimeout   = 5 * time.Second
	readTimeout     = 10 * time.Second
	writeTimeout    = 30 * time.Second
	adminTimeout    = 2 * time.Minute // long enough for a profile
	maxStreams      = 100
	idleTimeout     = time.Minute
	maxHeaderBytes  = 16 << 10
	maxConnections  = 256
	shutdownTimeout = 2 * time.Second
	purgeEvery      = time.Hour
)

// listen binds the two HTTP listeners, after the ends of an earlier run's calls
// are on their way.
func (g *Gateway) listen(ctx context.Context, cfg *config.Config) error {
	var lc net.ListenConfig
	hook, err := lc.Listen(ctx, "tcp", cfg.HTTP.Webhook.Listen)
	if err != nil {
		return fmt.Errorf("http.webhook.listen: %w", err)
	}
	g.webhookListener = hook
	g.onExit("webhook listener", closeListener(hook))
	admin, err := lc.Listen(ctx, "tcp", cfg.HTTP.Admin.Listen)
	if err != nil {
		return fmt.Errorf("http.admin.listen: %w", err)
	}
	g.adminListener = admin
	g.onExit("admin listener", closeListener(admin))

	mux := http.NewServeMux()
	mux.Handle(cfg.HTTP.Webhook.Path, g.webhook)
	g.webhookServer = newServer(mux, writeTimeout, g.log)
	g.admin = newAdmin(cfg.HTTP.Admin, adminDeps{
		calls: g, records: g.store, ready: g.readiness, signs: g.signs, metrics: g.gatherer, log: g.log,
		events: g.events, traces: liveTraces{g}, consent: consents{g}, eraser: g, dialer: summons{g},
	})
	g.adminServer = newServer(g.admin, adminTimeout, g.log)
	pair, err := loadCertificate(cfg.HTTP.Webhook.TLS)
	if err != nil {
		return err
	}
	g.showCertificate(pair)
	return nil
}

func newServer(h http.Handler, write time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: write,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
	}
}

func closeListener(l net.Listener) func() error {
	return func() error {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}

// certificate is the webhook's, swapped on reload.
type certificate struct {
	pair atomic.Pointer[tls.Certificate]
}

func loadCertificate(kp config.KeyPair) (*tls.Certificate, error) {
	if kp.Cert == "" {
		return nil, nil //nolint:nilnil // no TLS: a proxy ends it
	}
	pair, err := tls.LoadX509KeyPair(kp.Cert, kp.Key)
	if err != nil {
		return nil, fmt.Errorf("http.webhook.tls: %w", err)
	}
	return &pair, nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil }

// showCertificate takes the webhook's certificate, nil for none, and notes how
// long it and that of SIP are good.
func (g *Gateway) showCertificate(pair *tls.Certificate) {
	g.certificate.pair.Store(pair)
	ends := map[string]time.Time{"sip": g.sip.CertificateEnds()}
	if pair != nil {
		ends["webhook"] = pair.Leaf.NotAfter
	}
	g.metrics.certificates.Reset()
	for use, at := range ends {
		if !at.IsZero() {
			g.metrics.certificates.WithLabelValues(use).Set(float64(at.Unix()))
		}
	}
}

// Run serves until it has drained or ctx ends; then every call is ended, and
// everything is closed. It may be called once.
func (g *Gateway) Run(ctx context.Context) error {
	inside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, 1) // the first failure is enough
	serve := func(name string, f func() error) {
		g.background.Go(func() {
			if err := f(); err != nil && inside.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
				select {
				case failed <- fmt.Errorf("%s: %w", name, err):
				default:
				}
			}
		})
	}
	serve("sip", func() error { return g.sip.Serve(inside, g.incoming) })
	serve("webhook", g.serveWebhook)
	serve("admin", func() error { return g.adminServer.Serve(g.adminListener) })
	g.background.Go(func() { g.reaper.run(inside) })
	g.background.Go(func() { g.resume(inside) })
	g.background.Go(func() { g.purge(inside) })
	g.background.Go(func() { g.watchNumbers(inside) })
	g.background.Go(func() { g.giveSigns(inside) })
	g.metrics.ready.Set(1)
	g.log.Info("gateway is up", slog.String("webhook", g.WebhookAddr()), slog.String("admin", g.AdminAddr()))

	var err error
	select {
	case <-ctx.Done():
	case <-g.drained:
	case err = <-failed:
		g.log.Error("a listener failed, so the gateway ends", slog.Any("error", err))
	}
	g.beginDrain(0)
	g.endCalls()
	g.traces.flush()
	g.events.close() // after the last call.ended, before the servers wait for their streams
	g.shutdown(stop)
	return errors.Join(err, g.unwind())
}

func (g *Gateway) serveWebhook() error {
	l := netutil.LimitListener(g.webhookListener, maxConnections)
	if g.certificate.pair.Load() == nil {
		return g.webhookServer.Serve(l)
	}
	g.webhookServer.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: g.certificate.get}
	return g.webhookServer.ServeTLS(l, "", "")
}

// Drain refuses new calls and lets the running ones go on, at most for
// limits.drain_timeout. Run returns when the last is over. Webhooks and SIP
// stay open to the end, because they carry the ends of calls.
func (g *Gateway) Drain() {
	limit := g.current.Load().cfg.Limits.DrainTimeout
	g.beginDrain(limit)
	if g.registry.count() == 0 {
		g.idle()
		return
	}
	g.log.Info("draining", slog.Int("calls", g.registry.count()), slog.Duration("limit", limit))
	time.AfterFunc(limit, g.idle)
}

// beginDrain takes no more calls. limit is how long it may take, for those who
// ask; 0: it is over in a moment.
func (g *Gateway) beginDrain(limit time.Duration) {
	g.drainOnce.Do(func() {
		g.draining.Store(true)
		close(g.leaving)
		g.sip.Drain(limit)
		g.metrics.ready.Set(0)
		g.metrics.draining.Set(1)
	})
}

// idle ends a drain.
func (g *Gateway) idle() { g.idleOnce.Do(func() { close(g.drained) }) }

// endCalls ends what is left, and gives it up when it takes too long: what is
// owed then is in the store.
func (g *Gateway) endCalls() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	for _, c := range g.registry.all() {
		c.post(stopWanted{Draining})
	}
	over := make(chan struct{})
	g.background.Go(func() {
		g.calls.Wait()
		close(over)
	})
	select {
	case <-over:
		return
	case <-time.After(endingLimit):
	}
	for _, c := range g.registry.all() {
		c.post(giveUp{})
	}
	<-over
}

// shutdown stops what serves.
func (g *Gateway) shutdown(stop context.CancelFunc) {
	stop()
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for _, s := range []*http.Server{g.webhookServer, g.adminServer} {
		if s.Shutdown(ctx) != nil {
			_ = s.Close()
		}
	}
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.background.Wait()
}

// beside runs what nobody waits for but the end of the gateway. Once that waits
// there is no more: a webhook that was still being handled then stays undone,
// and the next run sees to it.
func (g *Gateway) beside(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped {
		g.background.Go(f)
	}
}

// giveSigns lets the next run know how long this one has lived.
func (g *Gateway) giveSigns(ctx context.Context) {
	tick := time.NewTicker(lifeSign)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if g.registry.count() == 0 {
			continue
		}
		if err := g.store.Ping(ctx); err != nil {
			g.log.Debug("no sign of life in the store", slog.Any("error", err))
		}
	}
}

// purge forgets what is older than the retention allows.
func (g *Gateway) purge(ctx context.Context) {
	tick := time.NewTicker(purgeEvery)
	defer tick.Stop()
	for {
		keep := g.current.Load().cfg.Retention
		now := time.Now()
		if err := g.store.Purge(ctx, now.Add(-keep.Journal), now.Add(-keep.Records)); err != nil && ctx.Err() == nil {
			g.log.Warn("old records cannot be removed", slog.Any("error", err))
		}
		if err := g.store.PurgeStrays(ctx, now.Add(-tombstoneLife)); err != nil && ctx.Err() == nil {
			g.log.Warn("old strays cannot be removed", slog.Any("error", err))
		}
		if err := g.store.PurgeCallbacks(ctx, now); err != nil && ctx.Err() == nil {
			g.log.Warn("expired callbacks cannot be removed", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"wagate/config"
)

// adminDeps is what the admin server shows.
type adminDeps struct {
	calls   liveCalls
	records recordReader
	ready   func(context.Context) []check // one per thing that must work to take calls
	signs   func(context.Context) []check // one per part that must turn, whatever happens
	metrics prometheus.Gatherer
	log     *slog.Logger

	// What is nil is not served.
	events  *feed
	traces  traceReader
	consent consent
	dialer  dialer
	eraser  eraser
}

// check is one line of /readyz.
type check struct {
	name string
	err  error
}

// admin answers operators: health, metrics and the API.
type admin struct {
	deps adminDeps
	cfg  atomic.Pointer[config.Admin]
	mux  *http.ServeMux
	next http.Handler // the mux behind what every request passes
}

// maxAdminBody bounds request bodies; no request of the API needs more.
const maxAdminBody = 64 << 10

func newAdmin(cfg config.Admin, deps adminDeps) *admin {
	a := &admin{deps: deps, mux: http.NewServeMux()}
	a.reload(cfg)
	a.mux.HandleFunc("GET /healthz", a.health)
	a.mux.HandleFunc("GET /readyz", a.readiness)
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(deps.metrics, promhttp.HandlerOpts{
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: 8,
	}))
	a.mux.HandleFunc("GET /api/v1/openapi.json", describeAPI(deps))
	a.mux.HandleFunc("GET /api/v1/calls", a.listCalls)
	a.mux.HandleFunc("GET /api/v1/calls/{id}", a.showCall)
	a.mux.HandleFunc("DELETE /api/v1/calls/{id}", a.hangupCall)
	a.mux.HandleFunc("GET /api/v1/records", a.listRecords)
	if deps.eraser != nil {
		a.mux.HandleFunc("DELETE /api/v1/records", a.eraseUser)
	}
	if deps.events != nil {
		a.mux.HandleFunc("GET /api/v1/events", a.streamEvents)
	}
	if deps.traces != nil {
		a.mux.HandleFunc("GET /api/v1/calls/{id}/trace", a.showTrace)
	}
	if deps.consent != nil {
		a.mux.HandleFunc("GET /api/v1/permissions/{number}/{user}", a.showPermission)
		a.mux.HandleFunc("POST /api/v1/permissions/{number}/{user}/request", a.requestPermission)
	}
	if deps.dialer != nil {
		a.mux.HandleFunc("POST /api/v1/calls", a.dialCall)
	}
	a.mux.HandleFunc("GET /debug/pprof/", a.profile(pprof.Index))
	a.mux.HandleFunc("GET /debug/pprof/cmdline", a.profile(pprof.Cmdline))
	a.mux.HandleFunc("GET /debug/pprof/profile", a.profile(pprof.Profile))
	a.mux.HandleFunc("GET /debug/pprof/symbol", a.profile(pprof.Symbol))
	a.mux.HandleFunc("GET /debug/pprof/trace", a.profile(pprof.Trace))
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fail(w, http.StatusForbidden, "cross_origin", "requests from other web sites are refused")
	}))
	a.next = sameOrigin.Handler(http.HandlerFunc(a.route))
	return a
}

// reload takes new settings; the address stays.
func (a *admin) reload(cfg config.Admin) { a.cfg.Store(&cfg) }

// ServeHTTP implements http.Handler.
func (a *admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
	if a.admits(w, r) {
		a.next.ServeHTTP(w, r)
	}
}

// admits checks the bearer token. Without one the server is on a loopback
// address, and then it answers to no name but this machine's: else a web page
// could reach it by a name of its own.
func (a *admin) admits(w http.ResponseWriter, r *http.Request) bool {
	cfg := a.cfg.Load()
	switch {
	case r.URL.Path == "/healthz", r.URL.Path == "/readyz":
		return true
	case cfg.Token == "":
		if local(r.Host) {
			return true
		}
		fail(w, http.StatusForbidden, "forbidden", "use the address of this machine, or set http.admin.token")
		return false
	case r.URL.Path == "/metrics" && cfg.MetricsOpen, bearer(r, cfg.Token):
		return true
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="wagate"`)
		fail(w, http.StatusUnauthorized, "unauthorized", "send the token of http.admin.token as Authorization: Bearer")
		return false
	}
}

// bearer compares hashes, so that time tells nothing, not even a length.
func bearer(r *http.Request, token config.Secret) bool {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	want := sha256.Sum256([]byte(token.Reveal()))
	got := sha256.Sum256([]byte(strings.TrimSpace(given)))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

func local(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = strings.Trim(hostPort, "[]")
	}
	_, err = netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// route finds the handler; what has none is answered in JSON too.
func (a *admin) route(w http.ResponseWriter, r *http.Request) {
	if h, pattern := a.mux.Handler(r); pattern == "" {
		var refusal header
		h.ServeHTTP(&refusal, r)
		if allow := refusal.Header().Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "allowed here: "+allow)
			return
		}
		fail(w, http.StatusNotFound, "not_found", "nothing is served here; see /api/v1/openapi.json")
		return
	}
	a.mux.ServeHTTP(w, r)
}

// header is a ResponseWriter that keeps only the header.
type header struct{ h http.Header }

func (h *header) Header() http.Header {
	if h.h == nil {
		h.h = make(http.Header)
	}
	return h.h
}

func (*header) Write(b []byte) (int, error) { return len(b), nil }

func (*header) WriteHeader(int) {}

// health says that the process turns: every part of it gives a sign of life.
func (a *admin) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), aliveLimit)
	defer cancel()
	lines(w, a.deps.signs(ctx))
}

// readiness says whether new calls are taken.
func (a *admin) readiness(w http.ResponseWriter, r *http.Request) {
	lines(w, a.deps.ready(r.Context()))
}

// lines writes one line per check, and 503 when one failed.
func lines(w http.ResponseWriter, checks []check) {
	var text strings.Builder
	status := http.StatusOK
	for _, c := range checks {
		if c.err != nil {
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&text, "%s: failed: %s\n", c.name, strings.Join(strings.Fields(c.err.Error()), " "))
			continue
		}
		fmt.Fprintf(&text, "%s: ok\n", c.name)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	w.Write([]byte(text.String())) //nolint:errcheck // the client has gone
}

// profile serves Go's profiles where the configuration allows it.
func (a *admin) profile(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !a.cfg.Load().Pprof {
			fail(w, http.StatusNotFound, "not_found", "profiles are off; set http.admin.pprof")
			return
		}
		h(w, r)
	}
}

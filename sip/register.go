package sip

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"time"

	"wagate/config"
)

const (
	maxExpires      = 24 * time.Hour
	maxServiceRoute = 8                // members that are kept
	longestWait     = 10 * time.Minute // that a registrar may ask for
)

// register keeps every trunk that wants it registered until ctx ends, and then
// takes the registrations back. It waits for a registrar at most as long as an
// answer may take.
func (s *Server) register(ctx context.Context) {
	running := map[string]*registration{}
	defer func() {
		for _, r := range running {
			r.cancel()
		}
		for _, r := range running {
			<-r.done
		}
	}()
	for {
		wanted := map[string]*trunk{}
		for _, t := range s.allTrunks() {
			if t.cfg.Register.Enabled {
				wanted[t.cfg.Name] = t
			}
		}
		for name, r := range running {
			if t := wanted[name]; t == nil || !r.serves(t.cfg) {
				r.cancel()
				<-r.done
				delete(running, name)
				if t == nil {
					s.metrics.unregister(name)
				}
			}
		}
		for name, t := range wanted {
			if running[name] == nil {
				running[name] = s.newRegistration(ctx, t)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		case <-s.newRegister:
		}
	}
}

// registration is our binding at one trunk's registrar (RFC 3261 section 10.2).
// Everything belongs to its goroutine.
type registration struct {
	s      *Server
	cfg    config.Trunk
	cancel context.CancelFunc
	done   chan struct{}

	uri, aor string
	tag      string
	callID   string
	seq      uint32
	trunk    *trunk // as it was last seen
	expires  time.Duration
	until    time.Time // when the binding ends; zero: there is none
	failures int
	quiet    bool // this failure has been logged
}

func (s *Server) newRegistration(ctx context.Context, t *trunk) *registration {
	ctx, cancel := context.WithCancel(ctx)
	u, _ := parseURI(t.registrar)
	r := &registration{
		s: s, cfg: t.cfg, cancel: cancel, done: make(chan struct{}), trunk: t, expires: t.cfg.Register.Expires,
		uri: u.scheme + ":" + hostPort(u.host, u.port), aor: u.scheme + ":" + escapeUser(t.cfg.Auth.User) + "@" + u.host,
		tag: newTag(), callID: newID(), seq: firstSeq(),
	}
	s.metrics.registered(t.cfg.Name, false)
	if !s.spawn(func() { r.run(ctx) }) {
		close(r.done)
	}
	return r
}

// serves tells whether a trunk's new settings leave the registration as it is.
func (r *registration) serves(cfg config.Trunk) bool {
	return cfg.Register == r.cfg.Register && cfg.Auth == r.cfg.Auth && cfg.OutboundProxy == r.cfg.OutboundProxy &&
		reflect.DeepEqual(cfg.Targets, r.cfg.Targets)
}

func (r *registration) run(ctx context.Context) {
	defer close(r.done)
	defer r.s.guard()
	for ctx.Err() == nil {
		wait, flow := r.refresh(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-flow: // calls would not find us any more (RFC 5626 section 4.4)
			timer.Reset(r.jitter(r.s.tm.backoff))
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
		timer.Stop()
	}
	if r.until.IsZero() {
		return
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.s.tm.unregister)
	defer cancel()
	_, _ = r.ask(last, 0) // the registrar forgets us by itself if this is lost
	r.lose()
	r.s.log.Info("unregistered", slog.String("trunk", r.cfg.Name))
}

// refresh registers, and tells when to do so again and what ends the way on which
// the registrar finds us; nil where there is no connection.
func (r *registration) refresh(ctx context.Context) (wait time.Duration, flow <-chan struct{}) {
	m, err := r.ask(ctx, r.expires)
	now := time.Now()
	if err == nil {
		if granted := r.granted(m); granted > 0 {
			r.keep(m, granted, now)
			return r.jitter(granted * 4 / 5), r.flow()
		}
		err = errNotGranted
	}
	if ctx.Err() != nil {
		return 0, nil
	}
	if !r.until.IsZero() && now.After(r.until) {
		r.lose()
	}
	wait = r.backoff(m)
	if !r.quiet {
		r.quiet = true
		r.s.log.Warn("registration failed", slog.String("trunk", r.cfg.Name), slog.Any("error", err), slog.Duration("next_try", wait))
	}
	if left := r.until.Sub(now); !r.until.IsZero() && left > 0 && left < wait {
		wait = left // to notice when the binding ends
	}
	return wait, nil
}

var errNotGranted = errors.New("the registrar granted no time")

// keep notes a registration.
func (r *registration) keep(m *message, granted time.Duration, now time.Time) {
	if r.until.IsZero() || r.quiet {
		r.s.log.Info("registered", slog.String("trunk", r.cfg.Name), slog.Duration("expires", granted))
	}
	r.until, r.failures, r.quiet = now.Add(granted), 0, false
	r.s.metrics.registered(r.cfg.Name, true)
	r.trunk.setServiceRoute(serviceRoute(m))
}

// lose notes that the registrar does not know us any more.
func (r *registration) lose() {
	r.until = time.Time{}
	r.s.metrics.registered(r.cfg.Name, false)
	r.trunk.setServiceRoute(nil)
}

// backoff is how long to wait after a failure: twice as long each time, at once
// the longest where only the operator can help, and never less than the registrar
// asks for.
func (r *registration) backoff(m *message) time.Duration {
	wait := r.s.tm.backoff << min(r.failures, 16)
	r.failures++
	if m != nil && (m.status == 401 || m.status == 403 || m.status == 404 || m.status == 407) {
		wait = r.s.tm.maxBackoff
	}
	wait = r.jitter(min(wait, r.s.tm.maxBackoff))
	if m != nil {
		wait = max(wait, min(retryAfter(m), longestWait))
	}
	return wait
}

// jitter takes up to a quarter off, so that a fleet does not ask at once.
func (r *registration) jitter(d time.Duration) time.Duration {
	return d - rand.N(d/4+1) //nolint:gosec // spread, not secrecy
}

// flow is closed when the connection to the registrar ends.
func (r *registration) flow() <-chan struct{} {
	to, ok := r.trunk.registrarPlace()
	if !ok || to.proto == "udp" {
		return nil
	}
	return r.s.connTo(r.trunk, to).gone
}

// ask sends REGISTER and waits for its final answer. A challenge is answered
// once, once more if it only says that the nonce was stale, and too short a time
// is corrected once (RFC 3261 section 10.2.8).
func (r *registration) ask(ctx context.Context, expires time.Duration) (*message, error) {
	if t := r.s.trunk(r.cfg.Name); t != nil && r.serves(t.cfg) {
		r.trunk = t
	}
	to, ok := r.trunk.registrarPlace()
	if !ok {
		return nil, fmt.Errorf("register: no address for %s", r.trunk.registrar)
	}
	var creds field
	proofs, longer := 0, false
	for {
		m, err := r.send(ctx, to, expires, creds)
		switch {
		case err != nil:
			return nil, err
		case m.status < 300:
			return m, nil
		}
		if least := minExpires(m); m.status == 423 && !longer && least > expires && least <= maxExpires {
			longer, expires = true, least
			r.expires = least
			continue
		}
		answer, stale, ok := r.trunk.authorize(m, "REGISTER", r.uri)
		if !ok || m.from.addr.Addr() != to.addr.Addr() || proofs >= maxProofs || (proofs > 0 && !stale) {
			return m, fmt.Errorf("register: answered %d %s", m.status, printable(m.reason, maxText))
		}
		proofs++
		creds = answer
	}
}

// send makes one REGISTER transaction.
func (r *registration) send(ctx context.Context, to endpoint, expires time.Duration, creds field) (*message, error) {
	r.seq++
	seconds := utoa(uint32(expires / time.Second)) //nolint:gosec // at most a day
	m := &message{method: "REGISTER", uri: r.uri}
	m.add("Max-Forwards", "70")
	if proxy := r.trunk.proxy; proxy != "" {
		m.add("Route", "<"+loose(proxy)+">")
	}
	m.add("From", "<"+r.aor+">;tag="+r.tag)
	m.add("To", "<"+r.aor+">")
	m.add("Call-ID", r.callID)
	m.add("CSeq", utoa(r.seq)+" REGISTER")
	m.add("Contact", r.contact(to)+";expires="+seconds)
	m.add("Expires", seconds)
	m.add("Supported", "path, outbound")
	m.add(creds.name, creds.value)
	m.add("Allow", allow)
	m.add("User-Agent", userAgent)
	type outcome struct {
		m   *message
		err error
	}
	final := make(chan outcome, 1)
	r.s.request(r.trunk, m, to, newBranch(), r.s.tm.limit(), func(_ *clientTx, m *message, err error) bool {
		if err != nil || m.status >= 200 {
			select {
			case final <- outcome{m, err}:
			default: // the first counts
			}
		}
		return true
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("register: %w", ctx.Err())
	case <-r.s.ctx.Done():
		return nil, ErrClosed
	case got := <-final:
		return got.m, got.err
	}
}

// contact is our binding. On a connection it names this instance, so that a
// registrar with outbound calls us on that connection (RFC 5626 section 4.2).
func (r *registration) contact(to endpoint) string {
	c := r.s.contactOf(r.uri, to)
	if to.proto == "udp" {
		return c
	}
	sum := sha256.Sum256([]byte(r.aor + c))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80 // a UUID of our own making (RFC 9562 section 5.8)
	return c + fmt.Sprintf(`;reg-id=1;+sip.instance="<urn:uuid:%x-%x-%x-%x-%x>"`, sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// granted is how long the binding lives: what the registrar wrote on our Contact,
// else in Expires, else what was asked for.
func (r *registration) granted(m *message) time.Duration {
	seconds, found := 0, false
	for _, value := range m.all("Contact") {
		a, ok := parseAddress(value)
		u, good := parseURI(a.uri)
		if text, has := a.params.get("expires"); ok && good && has && u.user == contactUser {
			if n, number := digits(text, int(maxExpires/time.Second)); number && (!found || n < seconds) {
				seconds, found = n, true
			}
		}
	}
	if !found {
		seconds, found = digits(m.get("expires"), int(maxExpires/time.Second))
	}
	if !found {
		return r.expires
	}
	return time.Duration(seconds) * time.Second
}

// minExpires reads Min-Expires; zero for none.
func minExpires(m *message) time.Duration {
	n, ok := digits(m.get("min-expires"), int(maxExpires/time.Second))
	if !ok {
		return 0
	}
	return time.Duration(n) * time.Second
}

// serviceRoute reads the way that the registrar wants our calls to take (RFC
// 3608); what is no list of SIP URIs is none.
func serviceRoute(m *message) []string {
	var routes []string
	for _, value := range m.all("service-route") {
		list, ok := splitList(value)
		for _, member := range list {
			a, good := parseAddress(member)
			u, whole := parseURI(a.uri)
			if !ok || !good || !whole || !strings.HasPrefix(u.scheme, "sip") || len(routes) == maxServiceRoute {
				return nil
			}
			routes = append(routes, "<"+a.uri+">")
		}
	}
	return routes
}

// setServiceRoute notes it for the calls to come.
func (t *trunk) setServiceRoute(routes []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.service = routes
}

// routes are the trunk's preloaded routes: the proxy, and what the registrar
// asked for.
func (t *trunk) routes() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	routes := slices.Clone(t.service)
	if t.proxy != "" {
		routes = slices.Insert(routes, 0, "<"+loose(t.proxy)+">")
	}
	return routes
}

// serviceHop is where a call goes that takes the registrar's way: the first of
// its routes if that is an address of the trunk, else the registrar, on the way
// that the registration took.
func (t *trunk) serviceHop() (endpoint, bool) {
	t.mu.Lock()
	routes := t.service
	t.mu.Unlock()
	first, ok := firstRoute(routes)
	registrar, known := t.registrarPlace()
	if !ok || !known {
		return endpoint{}, false
	}
	u, _ := parseURI(first.uri)
	a, literal := u.addr()
	to := endpoint{proto: u.proto(registrar.proto), addr: addrPort(a, u.port)}
	if !literal || !t.allows(a) || (registrar.proto == "tls" && to.proto != "tls") || (a == registrar.addr.Addr() && to.proto == registrar.proto) {
		return registrar, true
	}
	if u.port == 0 {
		to.addr = addrPort(a, portOf(to.proto))
	}
	return to, true
}

// registrarPlace is where REGISTER goes: the outbound proxy, else the registrar.
func (t *trunk) registrarPlace() (endpoint, bool) {
	if proxy, ok := t.placeOf(isProxy); ok {
		return proxy, true
	}
	return t.placeOf(isRegistrar)
}

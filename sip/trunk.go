package sip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wagate/config"
)

// trunk is a configured peer and what is known of it.
type trunk struct {
	cfg   config.Trunk
	proxy string // outbound_proxy as a URI, "" for none
	// registrar is where we register, as a URI; "" for nowhere.
	registrar string
	live      atomic.Int64 // sessions
	tls       *tlsClient   // nil: none of its names has TLS
	sips      bool         // everything we send goes over TLS, so nothing else is taken

	mu     sync.Mutex
	names  []name  // one per configured target, the proxy and the registrar
	places []place // what they mean now, in order of preference
	// former are addresses that names have meant since there were calls: these may
	// still be with them. None of them begins a call.
	former []netip.Addr
	realm  string // the realm whose challenges are answered; bound by the first
	// service is the way that the registrar wants calls of ours to take.
	service []string
}

// role is what an address of a trunk is for.
type role uint8

const (
	isTarget role = iota
	isProxy
	isRegistrar
)

// name is a configured target, proxy or registrar.
type name struct {
	text   string
	uri    uri
	weight int
	role   role
}

// place is one address of a trunk.
type place struct {
	text     string // the URI under which Targets names it
	to       endpoint
	srv      string       // the name whose SRV records named it
	priority uint16       // among them
	weight   int          // 0: shares nothing
	extra    []netip.Addr // more addresses of the same name: they may send
	role     role
	dead     time.Time // known dead until then
	asked    time.Time // when the OPTIONS left that found out the following; zero: none
	down     bool      // it went unanswered
	why      error     // and the reason
}

// newTrunk checks what only sip can check.
func newTrunk(cfg config.Trunk) (*trunk, error) {
	t := &trunk{cfg: cfg, proxy: cfg.OutboundProxy}
	for _, target := range cfg.Targets {
		n, err := newName(target.URI)
		if err != nil {
			return nil, fmt.Errorf("trunk %s: target %w", cfg.Name, err)
		}
		n.weight = target.Weight
		t.names = append(t.names, n)
	}
	if t.proxy != "" {
		if !strings.Contains(t.proxy, ":") || !strings.HasPrefix(strings.ToLower(t.proxy), "sip") {
			t.proxy = "sip:" + t.proxy
		}
		n, err := newName(t.proxy)
		if err != nil {
			return nil, fmt.Errorf("trunk %s: outbound_proxy %w", cfg.Name, err)
		}
		n.role = isProxy
		t.names = append(t.names, n)
	}
	if cfg.Register.Enabled {
		if t.registrar = cfg.Register.Registrar; t.registrar == "" && len(cfg.Targets) > 0 {
			t.registrar = cfg.Targets[0].URI
		}
		n, err := newName(t.registrar)
		if err != nil {
			return nil, fmt.Errorf("trunk %s: registrar %w", cfg.Name, err)
		}
		n.role = isRegistrar
		t.names = append(t.names, n)
	}
	if slices.ContainsFunc(t.names, func(n name) bool { return n.uri.proto("") == "tls" }) {
		client, err := newTLSClient(cfg)
		if err != nil {
			return nil, err
		}
		t.tls = client
	}
	t.sips = !slices.ContainsFunc(t.names, func(n name) bool {
		carries := n.role == isProxy || n.role == isTarget && t.proxy == ""
		return carries && n.uri.proto("") != "tls"
	})
	return t, nil
}

func newName(text string) (name, error) {
	u, ok := parseURI(text)
	switch {
	case !ok || u.scheme != "sip" && u.scheme != "sips":
		return name{}, fmt.Errorf("%q: write sip:host:port;transport=udp", text)
	case u.scheme == "sips" && u.transport() == "udp":
		return name{}, fmt.Errorf("%q: sips needs TLS; leave the transport out", text)
	case u.transport() != "" && u.proto("") != u.transport() && u.scheme == "sip":
		return name{}, fmt.Errorf("%q: unknown transport; use udp, tcp or tls", text)
	}
	return name{text: text, uri: u}, nil
}

// allows tells whether an address is one of the trunk's: its sources, its
// targets, its proxy or its registrar. Nothing of a call ever goes anywhere else.
func (t *trunk) allows(a netip.Addr) bool {
	for _, p := range t.cfg.Sources {
		if p.Contains(a) {
			return true
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if t.places[i].to.addr.Addr() == a || slices.Contains(t.places[i].extra, a) {
			return true
		}
	}
	return slices.Contains(t.former, a)
}

// admits tells whether a message that came this way may be the trunk's: from one
// of its addresses, and over TLS where the trunk speaks nothing else.
func (t *trunk) admits(fl flow) bool {
	return t.allows(fl.remote.Addr()) && (!t.sips || fl.proto() == "tls")
}

// targets returns the URIs in order of preference, the dead ones last.
func (t *trunk) targets(now time.Time) []string {
	t.mu.Lock()
	places := slices.Clone(t.places)
	t.mu.Unlock()
	places = slices.DeleteFunc(places, func(p place) bool { return p.role != isTarget })
	shuffle(places)
	slices.SortStableFunc(places, func(a, b place) int {
		return btoi(now.Before(a.dead)) - btoi(now.Before(b.dead))
	})
	texts := make([]string, 0, len(places))
	for _, p := range places {
		if !slices.Contains(texts, p.text) {
			texts = append(texts, p.text)
		}
	}
	return texts
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// shuffle orders neighbours that have a weight by chance in proportion to it,
// so that they share the load; targets without one stay where they are.
func shuffle(places []place) {
	for i := range places {
		total, end := 0, i
		for ; end < len(places) && places[end].weight > 0 && places[end].shares(&places[i]); end++ {
			total += places[end].weight
		}
		if total == 0 {
			continue
		}
		pick := rand.IntN(total) //nolint:gosec // load sharing, not a secret
		for j := i; j < end; j++ {
			if pick -= places[j].weight; pick < 0 {
				chosen := places[j]
				copy(places[i+1:j+1], places[i:j])
				places[i] = chosen
				break
			}
		}
	}
}

// shares tells whether two addresses share the load: as targets with weights, or
// as records of one name and one priority.
func (p *place) shares(q *place) bool { return p.srv == q.srv && p.priority == q.priority }

// place returns where a target of Targets is.
func (t *trunk) place(text string) (endpoint, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if t.places[i].text == text && t.places[i].role == isTarget {
			return t.places[i].to, true
		}
	}
	return endpoint{}, false
}

// placeOf returns where the trunk's proxy or registrar is, if there is one.
func (t *trunk) placeOf(r role) (endpoint, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if t.places[i].role == r {
			return t.places[i].to, true
		}
	}
	return endpoint{}, false
}

// mark notes whether an address works: a dead one goes last until then.
func (t *trunk) mark(to endpoint, deadUntil time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if t.places[i].to == to {
			t.places[i].dead = deadUntil
		}
	}
}

// probed notes what an OPTIONS found that was sent then. A silence takes longer
// to find out than an answer: what a later one found stands.
func (t *trunk) probed(to endpoint, trouble error, deadUntil, sent time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if p := &t.places[i]; p.to == to && !sent.Before(p.asked) {
			p.asked, p.down, p.why, p.dead = sent, trouble != nil, trouble, deadUntil
		}
	}
}

// trouble returns why a target does not answer, of the first that does not where
// none is named.
func (t *trunk) trouble(target string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if p := &t.places[i]; p.why != nil && p.role == isTarget && (target == "" || p.text == target) {
			return p.why
		}
	}
	return nil
}

// up tells whether a target answers, as far as it was asked: before the first
// verdict, and where probing is off, a trunk counts as up.
func (t *trunk) up() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.places {
		if p := &t.places[i]; p.role == isTarget && !p.down {
			return true
		}
	}
	return false
}

// verdict tells whether the trunk is up as far as OPTIONS have shown it: it is
// when a target answers, and it is not when none does or there is no address to
// ask. While no target has answered and one is still to be asked, nothing is
// known.
func (t *trunk) verdict() (up, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known = true
	for i := range t.places {
		switch p := &t.places[i]; {
		case p.role != isTarget:
		case p.asked.IsZero():
			known = false
		case !p.down:
			return true, true
		}
	}
	return false, known
}

// endpoints returns every target to be probed.
func (t *trunk) endpoints() []endpoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []endpoint
	for i := range t.places {
		if t.places[i].role == isTarget && !slices.Contains(all, t.places[i].to) {
			all = append(all, t.places[i].to)
		}
	}
	return all
}

// inherit takes over what is known of the same trunk before a reload.
func (t *trunk) inherit(old *trunk) {
	if old.cfg.Name != t.cfg.Name {
		return
	}
	old.mu.Lock()
	known, realm, service := slices.Clone(old.places), old.realm, old.service
	old.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if old.cfg.Auth == t.cfg.Auth && slices.Equal(old.cfg.Targets, t.cfg.Targets) {
		t.realm = realm
		if t.registrar == old.registrar {
			t.service = service
		}
	}
	for i := range t.places {
		for _, p := range known {
			if p.to == t.places[i].to {
				t.places[i].dead = p.dead
				if t.cfg.OptionsInterval > 0 { // else nobody would ever find it up again
					t.places[i].asked, t.places[i].down, t.places[i].why = p.asked, p.down, p.why
				}
			}
		}
	}
}

// mayAnswer tells whether a realm is, or may become, the trunk's.
func (t *trunk) mayAnswer(realm string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.realm == "" || t.realm == realm
}

// bindRealm tells whether a realm's challenge may be answered. The first realm
// that the trunk's own target names is the only one ever after: a password is
// not for whoever asks (incident class I4).
func (t *trunk) bindRealm(realm string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.realm == "" {
		t.realm = realm
	}
	return t.realm == realm
}

package sip

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// lookupLimit bounds one round of name resolution of one target.
const lookupLimit = 2 * time.Second

// maxFormer bounds the addresses that a trunk remembers.
const maxFormer = 64

// resolve finds out what the trunk's names mean now. A name that cannot be
// resolved keeps its last meaning, so that a dead resolver ends no calls; what
// is known of an address survives, and the address itself as long as calls may
// be there.
func (t *trunk) resolve(ctx context.Context, r *net.Resolver) {
	var fresh []place
	for _, n := range t.names {
		found := lookup(ctx, r, n, t.hasServices(n))
		if len(found) == 0 {
			t.mu.Lock()
			for _, p := range t.places {
				if p.role == n.role && (p.text == n.text || strings.EqualFold(origin(p, t.names), n.text)) {
					found = append(found, p)
				}
			}
			t.mu.Unlock()
		}
		fresh = append(fresh, found...)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range fresh {
		for _, old := range t.places {
			if old.to == fresh[i].to && old.role == fresh[i].role {
				fresh[i].asked, fresh[i].dead, fresh[i].down, fresh[i].why = old.asked, old.dead, old.down, old.why
			}
		}
	}
	t.former = t.left(fresh)
	t.places = fresh
}

// hasServices says whether a name led to SRV records last.
func (t *trunk) hasServices(n name) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(t.places, func(p place) bool { return p.srv != "" && p.srv == n.uri.host })
}

// left lists the addresses that are in no place any more, while there are calls.
// The trunk is locked.
func (t *trunk) left(fresh []place) []netip.Addr {
	if t.live.Load() == 0 {
		return nil
	}
	all := slices.Clone(t.former)
	for _, p := range t.places {
		all = append(append(all, p.to.addr.Addr()), p.extra...)
	}
	var left []netip.Addr
	for _, a := range all {
		here := slices.ContainsFunc(fresh, func(p place) bool { return p.to.addr.Addr() == a || slices.Contains(p.extra, a) })
		if !here && !slices.Contains(left, a) {
			left = append(left, a)
		}
	}
	return left[max(len(left)-maxFormer, 0):]
}

// address returns where a target led last, named as the operator wrote it or as
// targets names it.
func (t *trunk) address(target string) netip.Addr {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.places {
		if p.text == target || origin(p, t.names) == target {
			return p.to.addr.Addr().Unmap()
		}
	}
	return netip.Addr{}
}

// origin returns the configured target that a place of an SRV name came from.
func origin(p place, names []name) string {
	for _, n := range names {
		if p.srv == n.uri.host {
			return n.text
		}
	}
	return ""
}

// lookup resolves one target: an address as it stands, a name with a port or a
// name without SRV records by its addresses, else by SRV (RFC 3263). A name that
// had SRV records and whose lookup fails means nothing else for that.
func lookup(ctx context.Context, r *net.Resolver, n name, services bool) []place {
	proto := n.uri.proto("udp")
	port := n.uri.port
	if a, ok := n.uri.addr(); ok {
		if port == 0 {
			port = portOf(proto)
		}
		return []place{{text: n.text, role: n.role, weight: n.weight, to: n.at(proto, addrPort(a, port))}}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	if port == 0 {
		places, err := lookupSRV(ctx, r, n, proto)
		var dns *net.DNSError
		switch none := errors.As(err, &dns) && dns.IsNotFound; {
		case len(places) > 0:
			return places
		case err != nil && services && !none:
			return nil
		}
		port = portOf(proto)
	}
	addrs := lookupAddrs(ctx, r, n.uri.host)
	if len(addrs) == 0 {
		return nil
	}
	return []place{{text: n.text, role: n.role, weight: n.weight, to: n.at(proto, addrPort(addrs[0], port)), extra: addrs[1:]}}
}

// at makes an endpoint of the target. Its certificate has to name the host as the
// operator wrote it, also behind SRV records (RFC 5922 section 4).
func (n name) at(proto string, addr netip.AddrPort) endpoint {
	to := endpoint{proto: proto, addr: addr}
	if proto == "tls" {
		to.name = strings.TrimSuffix(strings.Trim(n.uri.host, "[]"), ".")
	}
	return to
}

// lookupSRV expands a name by its SRV records, by priority; those of one priority
// share the load by weight, anew for each call (RFC 2782).
func lookupSRV(ctx context.Context, r *net.Resolver, n name, proto string) ([]place, error) {
	service, transport := "sip", proto
	if proto == "tls" {
		service, transport = "sips", "tcp"
	}
	_, records, err := r.LookupSRV(ctx, service, transport, n.uri.host)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(records, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port))
	})
	var places []place
	for _, rec := range records {
		if rec.Target == "." { // there is no such service
			continue
		}
		host := strings.TrimSuffix(rec.Target, ".")
		addrs := lookupAddrs(ctx, r, host)
		if len(addrs) == 0 {
			continue
		}
		text := n.uri.scheme + ":" + host + ":" + strconv.Itoa(int(rec.Port))
		if n.uri.scheme == "sip" {
			text += ";transport=" + proto
		}
		places = append(places, place{
			text: text, role: n.role, srv: n.uri.host, priority: rec.Priority, weight: int(rec.Weight)*srvScale + 1,
			to: n.at(proto, netip.AddrPortFrom(addrs[0], rec.Port)), extra: addrs[1:],
		})
	}
	return places, nil
}

// srvScale makes a weight of zero the small chance beside others that it is, and
// an equal one among its like.
const srvScale = 1000

// lookupAddrs resolves a host, IPv4 first, in a stable order.
func lookupAddrs(ctx context.Context, r *net.Resolver, host string) []netip.Addr {
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int {
		if c := btoi(a.Is6()) - btoi(b.Is6()); c != 0 {
			return c
		}
		return a.Compare(b)
	})
	return addrs
}

// acl is who may send: every address of every trunk, compiled.
type acl struct {
	exact    map[netip.Addr][]grant
	prefixes []prefixGrant
}

// grant lets an address speak as a trunk; only some may place calls.
type grant struct {
	trunk   *trunk
	invites bool
}

type prefixGrant struct {
	prefix netip.Prefix
	grant
}

// compile builds the acl. Retired trunks speak in their dialogs only.
func compile(trunks []*trunk, retired []*trunk) *acl {
	a := &acl{exact: map[netip.Addr][]grant{}}
	for i, t := range slices.Concat(trunks, retired) {
		current := i < len(trunks)
		for _, p := range t.cfg.Sources {
			a.prefixes = append(a.prefixes, prefixGrant{p, grant{t, current}})
		}
		t.mu.Lock()
		for _, p := range t.places {
			for _, addr := range append([]netip.Addr{p.to.addr.Addr()}, p.extra...) {
				a.exact[addr] = append(a.exact[addr], grant{t, current && (p.role == isRegistrar || len(t.cfg.Sources) == 0 && p.role == isTarget)})
			}
		}
		for _, addr := range t.former {
			a.exact[addr] = append(a.exact[addr], grant{t, false})
		}
		t.mu.Unlock()
	}
	return a
}

// known tells whether an address is any trunk's.
func (a *acl) known(addr netip.Addr) bool {
	if len(a.exact[addr]) > 0 {
		return true
	}
	for i := range a.prefixes {
		if a.prefixes[i].prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// caller returns the trunk as which an address may place calls, or nil.
func (a *acl) caller(addr netip.Addr) *trunk {
	for _, g := range a.exact[addr] {
		if g.invites {
			return g.trunk
		}
	}
	for i := range a.prefixes {
		if p := &a.prefixes[i]; p.invites && p.prefix.Contains(addr) {
			return p.trunk
		}
	}
	return nil
}

// any returns a trunk that the address belongs to, calls or not, or nil.
func (a *acl) any(addr netip.Addr) *trunk {
	if grants := a.exact[addr]; len(grants) > 0 {
		return grants[0].trunk
	}
	for i := range a.prefixes {
		if p := &a.prefixes[i]; p.prefix.Contains(addr) {
			return p.trunk
		}
	}
	return nil
}

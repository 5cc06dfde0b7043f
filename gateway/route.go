package gateway

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"wagate/config"
)

// errNoRoute: no route is for this call, or none that leads anywhere.
var errNoRoute = errors.New("no route")

// router finds where a call goes. It is compiled from one configuration and
// never changes; a reload makes a new one.
type router struct {
	routes []config.Route // the inbound ones, in their order
	out    []config.Route // the outbound ones
}

// inboundQuery is what the routes know of a customer's call.
type inboundQuery struct {
	Number  string // name of our number
	Caller  string // the customer's number as Meta writes it, "" when hidden
	UserID  string // the customer's business-scoped id
	Payload string // of the call button or deep link: text of a stranger
	Now     time.Time
}

// inboundPlan is where a customer's call goes.
type inboundPlan struct {
	Route       string // its name
	Reject      bool   // nobody is to be called; there are no hops
	RingTimeout time.Duration
	Hops        []config.Hop // in order; every To is a legal SIP user part
}

func newRouter(c *config.Config) *router {
	r := &router{}
	for _, route := range c.Routes {
		if route.Direction == inbound {
			r.routes = append(r.routes, route)
		} else {
			r.out = append(r.out, route)
		}
	}
	return r
}

// inbound returns the plan of the first route that matches; errNoRoute when
// none does, or when nothing that can be dialled is left of its hops.
func (r *router) inbound(q inboundQuery) (inboundPlan, error) {
	caller, _ := parseNumber(q.Caller)
	for _, route := range r.routes {
		if !matches(route.Match, q, caller) {
			continue
		}
		p := inboundPlan{Route: route.Name, Reject: route.Reject, RingTimeout: route.RingTimeout}
		if route.Reject {
			return p, nil
		}
		p.Hops = fill(route, q, caller)
		if len(p.Hops) == 0 {
			return p, errNoRoute
		}
		return p, nil
	}
	return inboundPlan{}, errNoRoute
}

func matches(m config.Match, q inboundQuery, caller Number) bool {
	return (m.Number == "" || m.Number == q.Number) &&
		matchesCaller(m.Caller, caller) &&
		config.MatchPattern(m.Payload, q.Payload) &&
		m.Open(q.Now)
}

// matchesCaller compares without the plus, which people write or leave out. A
// pattern that asks for a number does not fit a customer who hides it.
func matchesCaller(pattern string, caller Number) bool {
	if pattern == "" || pattern == "*" {
		return true
	}
	return caller != "" && config.MatchPattern(strings.TrimPrefix(pattern, "+"), strings.TrimPrefix(string(caller), "+"))
}

// fill makes the hops of a route: its own, then the overflow. One that comes
// out empty is left out.
func fill(route config.Route, q inboundQuery, caller Number) []config.Hop {
	who := string(caller)
	if who == "" {
		who = "anonymous"
	}
	words := strings.NewReplacer(
		"{caller}", who,
		"{number}", dialable(q.Number),
		"{payload}", dialable(q.Payload),
		"{user_id}", dialable(q.UserID),
	)
	var hops []config.Hop
	for _, hop := range append([]config.Hop{{Trunk: route.Trunk, To: route.To}}, route.Overflow...) {
		if hop.To = plainUser(words.Replace(hop.To)); hop.To != "" {
			hops = append(hops, hop)
		}
	}
	return hops
}

// plainUser is what an operator wrote as the user part of a SIP URI, without its
// escapes. Whatever is no telephone key or letter is escaped again on the wire.
func plainUser(escaped string) string {
	plain, err := url.PathUnescape(escaped)
	if err != nil { // checked where it was written
		return escaped
	}
	return plain
}

// maxDialled bounds what a stranger's text adds to a dialled string.
const maxDialled = 64

// dialable keeps of a text what is harmless in the user part of a SIP URI and
// in a PBX's dial plan: letters, digits, dot, dash and underscore of ASCII. No
// plus: a payload shall not look like a telephone number.
func dialable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case b.Len() == maxDialled:
			return b.String()
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '.', r == '-', r == '_':
			b.WriteRune(r)
		}
	}
	return b.String()
}

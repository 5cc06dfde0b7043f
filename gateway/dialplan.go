package gateway

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"wagate/config"
)

// Why a dialled string leads nowhere.
var (
	errBadDial     = errors.New("not a telephone number or user id")
	errCountry     = errors.New("no route may call this country")
	errClosed      = errors.New("outside the hours of the route")
	errBarred      = errors.New("the route refuses calls")
	errNotOurs     = errors.New("the route does not allow this business number")
	errNoRouteOut  = errors.New("no route for what was dialled")
	userIDPattern  = regexp.MustCompile(`^[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}$`)
	dialSeparators = strings.NewReplacer("-", "", ".", "", "(", "", ")", "", " ", "")
)

// longestExtension is how many digits an extension of a PBX has at most that
// begins with 00.
const longestExtension = 6

// public says whether a dialled string is a number of the public telephone
// network, with its country code after a plus or 00. Without that nobody but the
// PBX can tell.
func public(dialled string) bool {
	text, err := url.PathUnescape(dialled)
	text = dialSeparators.Replace(text)
	return err != nil || strings.HasPrefix(text, "+") || strings.HasPrefix(text, "00") && len(text) > longestExtension
}

// outboundQuery is what the routes know of a call that a trunk places.
type outboundQuery struct {
	Trunk  string
	Dialed string // the user part as it came
	Caller string // the agent's extension
	Number string // X-WA-Number: the business number it wants, "" for the route's first
	Now    time.Time
}

// outboundPlan is whom such a call is for.
type outboundPlan struct {
	Route       string
	Number      string // the business number that calls
	User        Number // the customer, or
	UserID      string // the customer's business-scoped id
	Country     string
	RingTimeout time.Duration
}

// outbound returns the plan of the first route that matches. Nobody may be
// called whom no route names: the countries of a route are all that it may call.
func (r *router) outbound(q outboundQuery) (outboundPlan, error) {
	dialed, err := url.PathUnescape(q.Dialed)
	if err != nil {
		return outboundPlan{}, errBadDial
	}
	if userIDPattern.MatchString(dialed) {
		return r.outboundTo(q, dialed, func(config.Route) (outboundPlan, error) {
			return outboundPlan{UserID: dialed, Country: dialed[:2]}, nil
		})
	}
	dialed = dialSeparators.Replace(dialed)
	return r.outboundTo(q, dialed, func(route config.Route) (outboundPlan, error) {
		return dialledNumber(dialed, route)
	})
}

// clicked is outbound for a call that nobody dials: Dialed is the customer, as
// E.164 or a user id. What an agent could dial to reach that customer is tried,
// for each route with its prefix where it has one.
func (r *router) clicked(q outboundQuery) (outboundPlan, error) {
	if userIDPattern.MatchString(q.Dialed) {
		return r.outbound(q)
	}
	customer, ok := parseNumber(q.Dialed)
	if !ok {
		return outboundPlan{}, errBadDial
	}
	var no outboundPlan
	why := errNoRouteOut
	for _, route := range r.out {
		dialed, ok := dialledBy(route, customer)
		if !ok {
			continue
		}
		q.Dialed = dialed
		p, err := r.outbound(q)
		switch {
		case p.User != "" && p.User != customer: // another route has taken it for another number
		case err == nil:
			return p, nil
		case errors.Is(why, errNoRouteOut):
			no, why = p, err
		}
	}
	return no, why
}

// dialledBy is what an agent dials to reach a number by a route: what the route
// puts in front is left out, and what it takes off is put there, in the words of
// its pattern. It says no where the route cannot lead to that number.
func dialledBy(route config.Route, customer Number) (string, bool) {
	rest, ok := strings.CutPrefix(digitsOf(customer), strings.TrimPrefix(route.Prepend, "+"))
	if !ok {
		return "", false
	}
	prefix := []byte(strings.Repeat("0", route.Strip))
	pattern := strings.TrimPrefix(route.Match.To, "+")
	for i := range prefix {
		if i == len(pattern) || pattern[i] < '0' || pattern[i] > '9' {
			break
		}
		prefix[i] = pattern[i]
	}
	return string(prefix) + rest, true
}

func (r *router) outboundTo(q outboundQuery, dialed string, resolve func(config.Route) (outboundPlan, error)) (outboundPlan, error) {
	none := errNoRouteOut
	for _, route := range r.out {
		if !matchesOut(route.Match, q, dialed) {
			continue
		}
		if !route.Match.Open(q.Now) {
			none = errClosed // unless another route takes it now
			continue
		}
		if route.Reject {
			return outboundPlan{Route: route.Name}, errBarred
		}
		p, err := resolve(route)
		if err != nil {
			return p, err
		}
		p.Route, p.RingTimeout = route.Name, route.RingTimeout
		switch {
		case q.Number != "" && !slices.Contains(route.Number, q.Number):
			return p, errNotOurs
		case q.Number != "":
			p.Number = q.Number
		case len(route.Number) > 0:
			p.Number = route.Number[0]
		}
		if !slices.Contains(route.Countries, p.Country) {
			return p, errCountry
		}
		return p, nil
	}
	return outboundPlan{}, none
}

// dialledNumber is what a route makes of the digits: strip, prepend, and a plus
// where it is missing.
func dialledNumber(dialed string, route config.Route) (outboundPlan, error) {
	digits := strings.TrimPrefix(dialed, "+")
	if len(digits) < route.Strip {
		return outboundPlan{}, errBadDial
	}
	number, ok := parseNumber(strings.TrimPrefix(route.Prepend, "+") + digits[route.Strip:])
	if !ok {
		return outboundPlan{}, errBadDial
	}
	parsed, err := phonenumbers.Parse(string(number), "")
	if err != nil || !phonenumbers.IsPossibleNumber(parsed) {
		return outboundPlan{}, errBadDial
	}
	return outboundPlan{User: number, Country: phonenumbers.GetRegionCodeForNumber(parsed)}, nil
}

func matchesOut(m config.Match, q outboundQuery, dialed string) bool {
	to := m.To == "" || config.MatchPattern(m.To, dialed) ||
		strings.HasPrefix(m.To, "+") && config.MatchPattern(strings.TrimPrefix(m.To, "+"), dialed)
	return to && (m.Trunk == "" || m.Trunk == q.Trunk) && (m.Caller == "" || config.MatchPattern(m.Caller, q.Caller))
}

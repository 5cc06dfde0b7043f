package gateway

import (
	"errors"
	"testing"
	"time"

	"wagate/config"
)

// TestClickedCallNeedsARoute: a call that nobody dials is for the route by which
// an agent would reach that customer, and for no other.
func TestClickedCallNeedsARoute(t *testing.T) {
	workdays := config.Match{Trunk: "pbx", Caller: "2*"}
	routes := []config.Route{
		{Name: "banned", Direction: outbound, Match: config.Match{To: "+3490*"}, Reject: true},
		{Name: "other trunk", Direction: outbound, Match: config.Match{Trunk: "else"}, Number: config.Names{"support"}, Countries: []string{"FR"}},
		{Name: "portugal", Direction: outbound, Match: config.Match{Trunk: "pbx", To: "9*"}, Strip: 1, Prepend: "351", Number: config.Names{"support"}, Countries: []string{"PT"}},
		{Name: "abroad", Direction: outbound, Match: config.Match{Trunk: "pbx", To: "00*"}, Strip: 2, Number: config.Names{"support"}, Countries: []string{"DE"}},
		{Name: "spain", Direction: outbound, Match: workdays, Number: config.Names{"support", "sales"}, Countries: []string{"ES"}},
	}
	r := newRouter(&config.Config{Routes: routes})
	for _, row := range []struct {
		to, caller, number string
		route              string
		err                error
	}{
		{"+34600111222", "201", "support", "spain", nil},
		{"+34600111222", "201", "sales", "spain", nil},
		{"+34600111222", "201", "billing", "spain", errNotOurs},
		{"+34600111222", "301", "support", "abroad", errCountry},
		{"+351912345678", "201", "billing", "spain", errNotOurs},
		{"+44", "201", "support", "", errBadDial},
		{"+34900111222", "201", "support", "banned", errBarred},
		{"+351912345678", "301", "support", "portugal", nil},
		{"+4915112345678", "301", "support", "abroad", nil},
		{"+33612345678", "301", "support", "abroad", errCountry},
		{"ES.20914466382001574", "201", "support", "spain", nil},
		{"FR.20914466382001574", "201", "support", "spain", errCountry},
		{"+34", "201", "support", "", errBadDial},
	} {
		p, err := r.clicked(outboundQuery{Trunk: "pbx", Dialed: row.to, Caller: row.caller, Number: row.number, Now: time.Now()})
		if !errors.Is(err, row.err) || p.Route != row.route {
			t.Errorf("%s for %s from %s: %q, %v; want %q, %v", row.to, row.caller, row.number, p.Route, err, row.route, row.err)
		}
		if err == nil && string(p.User)+p.UserID != row.to {
			t.Errorf("%s: calls %s%s", row.to, p.User, p.UserID)
		}
		if err == nil && p.Number != row.number {
			t.Errorf("%s: from %s, want %s", row.to, p.Number, row.number)
		}
	}
}

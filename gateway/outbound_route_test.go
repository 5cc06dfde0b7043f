package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"wagate/config"
)

func TestOutboundRoutes(t *testing.T) {
	r := newRouter(&config.Config{Routes: []config.Route{
		{Name: "inbound", Direction: inbound, Trunk: "pbx", To: "600"},
		{
			Name: "office", Direction: outbound, Number: config.Names{"support", "sales"}, Countries: []string{"ES", "PT"}, RingTimeout: 45 * time.Second,
			Match: config.Match{Trunk: "pbx", Caller: "2*", Hours: openHours(t, "Mon-Fri 09:00-18:00 Europe/Lisbon"), Except: []string{"2026-12-25"}},
		},
		{Name: "barred", Direction: outbound, Match: config.Match{Trunk: "pbx", Caller: "29*"}, Reject: true},
		{
			Name: "night", Direction: outbound, Number: config.Names{"duty"}, Countries: []string{"PT"}, RingTimeout: 20 * time.Second,
			Match: config.Match{Trunk: "pbx", Caller: "20*"},
		},
		{
			Name: "prefix", Direction: outbound, Number: config.Names{"support"}, Countries: []string{"ES"}, Strip: 2, Prepend: "+34",
			Match: config.Match{Trunk: "branch", To: "80*"},
		},
	}})
	friday := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	const lisbon = "+351912000321"
	office := outboundPlan{Route: "office", Number: "support", User: lisbon, Country: "PT", RingTimeout: 45 * time.Second}
	night := outboundPlan{Route: "night", Number: "duty", User: lisbon, Country: "PT", RingTimeout: 20 * time.Second}
	sales := office
	sales.Number = "sales"
	for _, tt := range []struct {
		name string
		q    outboundQuery
		want outboundPlan
		err  error
	}{
		{"in the hours", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "201", Now: friday}, office, nil},
		{"the last minute", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "201", Now: friday.Add(8*time.Hour - time.Second)}, office, nil},
		{"closed, and another route is open", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "201", Now: friday.Add(8 * time.Hour)}, night, nil},
		{"closed, and no other route", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "211", Now: friday.Add(8 * time.Hour)}, outboundPlan{}, errClosed},
		{"weekend", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "211", Now: friday.Add(24 * time.Hour)}, outboundPlan{}, errClosed},
		{"a day of except", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "211", Now: time.Date(2026, 12, 25, 10, 0, 0, 0, time.UTC)}, outboundPlan{}, errClosed},
		{"the day before", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "211", Now: time.Date(2026, 12, 24, 10, 0, 0, 0, time.UTC)}, office, nil},
		{"the phone that is barred by night", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "291", Now: friday.Add(12 * time.Hour)}, outboundPlan{Route: "barred"}, errBarred},
		{"the number that it asks for", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "201", Number: "sales", Now: friday}, sales, nil},
		{"a number of another route", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "211", Number: "duty", Now: friday}, outboundPlan{}, errNotOurs},
		{"a country of no route", outboundQuery{Trunk: "pbx", Dialed: "+12025550123", Caller: "201", Now: friday}, outboundPlan{}, errCountry},
		{"an id", outboundQuery{Trunk: "pbx", Dialed: "PT.2091", Caller: "201", Now: friday}, outboundPlan{Route: "office", Number: "support", UserID: "PT.2091", Country: "PT", RingTimeout: 45 * time.Second}, nil},
		{"an id of another country", outboundQuery{Trunk: "pbx", Dialed: "US.2091", Caller: "201", Now: friday}, outboundPlan{}, errCountry},
		{"separators and escapes", outboundQuery{Trunk: "pbx", Dialed: "%2B351-912.000 321", Caller: "201", Now: friday}, office, nil},
		{"without a plus", outboundQuery{Trunk: "pbx", Dialed: lisbon[1:], Caller: "201", Now: friday}, office, nil},
		{"a prefix taken off and one put before", outboundQuery{Trunk: "branch", Dialed: "80600111222", Now: friday}, outboundPlan{Route: "prefix", Number: "support", User: "+34600111222", Country: "ES"}, nil},
		{"nonsense", outboundQuery{Trunk: "pbx", Dialed: "alice", Caller: "201", Now: friday}, outboundPlan{}, errBadDial},
		{"a broken escape", outboundQuery{Trunk: "pbx", Dialed: "%zz", Caller: "201", Now: friday}, outboundPlan{}, errBadDial},
		{"another trunk", outboundQuery{Trunk: "else", Dialed: lisbon, Caller: "201", Now: friday}, outboundPlan{}, errNoRouteOut},
		{"another phone", outboundQuery{Trunk: "pbx", Dialed: lisbon, Caller: "301", Now: friday}, outboundPlan{}, errNoRouteOut},
	} {
		got, err := r.outbound(tt.q)
		if !errors.Is(err, tt.err) || err == nil && got != tt.want {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

// A trunk may have several targets: the audio of a call is that of the host which
// called, whichever it is.
func TestAudioOfTheHostThatCalled(t *testing.T) {
	first, second := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	wide := append(make([]netip.Prefix, 0, 2), netip.MustParsePrefix("198.51.100.0/24"))
	for _, row := range []struct {
		name          string
		source, first netip.Addr
		sources       []netip.Prefix
		remote        netip.Addr
		all           string
	}{
		{"the first target", first, first, nil, first, "[]"},
		{"another target", second, first, nil, second, "[192.0.2.1/32]"},
		{"another, with networks of media", second, first, wide, second, "[198.51.100.0/24 192.0.2.1/32]"},
		{"no target resolves", second, netip.Addr{}, nil, second, "[]"},
		{"nobody knows whence", netip.Addr{}, first, wide, first, "[198.51.100.0/24]"},
	} {
		remote, all := audioFrom(row.source, row.first, row.sources)
		if remote != row.remote || fmt.Sprint(all) != row.all {
			t.Errorf("%s: got %v and %v, want %v and %s", row.name, remote, all, row.remote, row.all)
		}
	}
	if wide[:2][1].IsValid() {
		t.Error("the configuration was changed")
	}
}

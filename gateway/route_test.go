package gateway

import (
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

func openHours(t *testing.T, text string) config.Hours {
	t.Helper()
	var h config.Hours
	if err := h.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestInboundRoutes(t *testing.T) {
	r := newRouter(&config.Config{Routes: []config.Route{
		{Name: "dial-out", Direction: outbound, Number: config.Names{"support"}},
		{
			Name: "orders", Direction: inbound, Match: config.Match{Number: "support", Payload: "order-*"},
			Trunk: "pbx", To: "7{payload}", RingTimeout: 28 * time.Second,
		},
		{
			Name: "spain", Direction: inbound,
			Match: config.Match{Number: "support", Caller: "+34*", Hours: openHours(t, "Mon-Fri 09:00-18:00 UTC"), Except: []string{"2026-12-25"}},
			Trunk: "pbx", To: "600", RingTimeout: 20 * time.Second,
			Overflow: []config.Hop{{Trunk: "other", To: "{caller}"}, {Trunk: "pbx", To: "{user_id}"}, {Trunk: "pbx", To: "{payload}"}},
		},
		{Name: "blocked", Direction: inbound, Match: config.Match{Caller: "*99"}, Reject: true},
		{Name: "everybody", Direction: inbound, Match: config.Match{Number: "support"}, Trunk: "pbx", To: "{number}-{caller}", RingTimeout: 28 * time.Second},
		{Name: "payload-only", Direction: inbound, Match: config.Match{Number: "sales"}, Trunk: "pbx", To: "{payload}"},
	}})
	friday := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	hops := func(pairs ...string) (hs []config.Hop) {
		for i := 0; i < len(pairs); i += 2 {
			hs = append(hs, config.Hop{Trunk: pairs[i], To: pairs[i+1]})
		}
		return hs
	}
	tests := []struct {
		name string
		q    inboundQuery
		want inboundPlan
		err  error
	}{
		{
			name: "the payload chooses before the caller",
			q:    inboundQuery{Number: "support", Caller: "34600111222", Payload: "order-17", Now: friday},
			want: inboundPlan{Route: "orders", RingTimeout: 28 * time.Second, Hops: hops("pbx", "7order-17")},
		},
		{
			name: "a payload is dialled without what could do harm",
			q:    inboundQuery{Number: "support", Payload: "order-1;phone-context=x@evil?a=b\r\nVia: +é&SIP/9", Now: friday},
			want: inboundPlan{Route: "orders", RingTimeout: 28 * time.Second, Hops: hops("pbx", "7order-1phone-contextxevilabViaSIP9")},
		},
		{
			name: "overflow in order, and what is empty left out",
			q:    inboundQuery{Number: "support", Caller: "34600111222", UserID: "ES.2091446", Now: friday},
			want: inboundPlan{Route: "spain", RingTimeout: 20 * time.Second, Hops: hops("pbx", "600", "other", "+34600111222", "pbx", "ES.2091446")},
		},
		{
			name: "out of hours the next route takes it",
			q:    inboundQuery{Number: "support", Caller: "34600111222", Now: friday.Add(10 * time.Hour)},
			want: inboundPlan{Route: "everybody", RingTimeout: 28 * time.Second, Hops: hops("pbx", "support-+34600111222")},
		},
		{
			name: "closed on a day of except",
			q:    inboundQuery{Number: "support", Caller: "34600111222", Now: time.Date(2026, 12, 25, 10, 0, 0, 0, time.UTC)},
			want: inboundPlan{Route: "everybody", RingTimeout: 28 * time.Second, Hops: hops("pbx", "support-+34600111222")},
		},
		{
			name: "rejected",
			q:    inboundQuery{Number: "support", Caller: "+351600111299", Now: friday},
			want: inboundPlan{Route: "blocked", Reject: true},
		},
		{
			name: "a customer without a number fits no number",
			q:    inboundQuery{Number: "support", UserID: "ES.1", Now: friday},
			want: inboundPlan{Route: "everybody", RingTimeout: 28 * time.Second, Hops: hops("pbx", "support-anonymous")},
		},
		{
			name: "nothing to dial",
			q:    inboundQuery{Number: "sales", Payload: "+++", Now: friday},
			want: inboundPlan{Route: "payload-only"}, err: errNoRoute,
		},
		{name: "no route", q: inboundQuery{Number: "other", Now: friday}, err: errNoRoute},
	}
	for _, tt := range tests {
		got, err := r.inbound(tt.q)
		if !reflect.DeepEqual(got, tt.want) || !errors.Is(err, tt.err) {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
}

func TestParseNumber(t *testing.T) {
	for text, want := range map[string]Number{
		"34600111222": "+34600111222", "+34600111222": "+34600111222", "+123456789012345": "+123456789012345",
		"": "", "+": "", "034600111222": "", "123456": "", "1234567890123456": "", "٣٤٦٠٠١١١٢٢٢": "",
		"34 600": "", "++34600111222": "", "ES.2091446": "",
	} {
		if got, ok := parseNumber(text); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", text, got, ok, want)
		}
	}
}

// FuzzDialled wants a legal user part out of any text.
func FuzzDialled(f *testing.F) {
	f.Add("order-17", "34600111222", "ES.1")
	f.Add("a\x00b;c=d@e%41", "\xff", "{caller}")
	legal := regexp.MustCompile(`^[A-Za-z0-9._+-]+$`)
	r := newRouter(&config.Config{Routes: []config.Route{{
		Direction: inbound, Trunk: "pbx", To: "1{payload}",
		Overflow: []config.Hop{{Trunk: "pbx", To: "{caller}"}, {Trunk: "pbx", To: "{user_id}{number}"}},
	}}})
	f.Fuzz(func(t *testing.T, payload, caller, user string) {
		p, err := r.inbound(inboundQuery{Number: "support", Caller: caller, UserID: user, Payload: payload})
		if err != nil {
			t.Fatal(err)
		}
		for _, hop := range p.Hops {
			if !legal.MatchString(hop.To) || len(hop.To) > 2*maxDialled || strings.Contains(hop.To[1:], "+") {
				t.Fatalf("dials %q", hop.To)
			}
		}
	})
}

func TestEscapesOfARoute(t *testing.T) {
	hops := fill(config.Route{Trunk: "pbx", To: "%23{number}"}, inboundQuery{Number: "support%2A"}, "+34600111222")
	if len(hops) != 1 || hops[0].To != "#support2A" {
		t.Errorf("dials %+v, want what the operator escaped and nothing of what others did", hops)
	}
}

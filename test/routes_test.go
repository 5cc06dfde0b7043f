package test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// hours reads a schedule.
func hours(t *testing.T, text string) (h config.Hours) {
	t.Helper()
	must(t, h.UnmarshalText([]byte(text)))
	return h
}

// TestRoutes: the first route that matches decides, and where none does, or one
// says so, the customer is refused before Meta sees anything of ours.
func TestRoutes(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	notNow := now.AddDate(0, 0, 3).Weekday().String()[:3] + " 00:00-24:00 UTC"
	always := "Mon-Sun 00:00-24:00 UTC"
	holidays := []string{now.Format(time.DateOnly), now.AddDate(0, 0, 1).Format(time.DateOnly)}
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		unprobed(c)
		to := func(name string, m config.Match, number string) config.Route {
			return config.Route{Name: name, Direction: "inbound", Match: m, Trunk: "pbx", To: number, RingTimeout: patience}
		}
		c.Routes = []config.Route{
			to("closed", config.Match{Payload: "hours", Hours: hours(t, notNow)}, "601"),
			to("holiday", config.Match{Payload: "except", Hours: hours(t, always), Except: holidays}, "602"),
			to("open", config.Match{Payload: "except", Hours: hours(t, always)}, "603"),
			{Name: "refused", Direction: "inbound", Match: config.Match{Payload: "reject"}, Reject: true},
			to("spain", config.Match{Caller: "+34699*"}, "604"),
			to("filled", config.Match{Payload: "fill-*"}, "8{payload}-{caller}"),
			to("other number", config.Match{Number: "sales", Payload: "*"}, "605"),
		}
		c.WhatsApp.Numbers = append(c.WhatsApp.Numbers, config.Number{
			Name: "sales", PhoneNumberID: "401122334455999", Number: "+351210000999", AccessToken: "sales-token", Codecs: []string{"opus"},
		})
	}, Meta: fakemeta.Options{Numbers: []fakemeta.Number{
		{ID: "401122334455667", Display: "351210000321", Token: "access-token"},
		{ID: "401122334455999", Display: "351210000999", Token: "sales-token"},
	}}})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Refuse(486) })
	for _, row := range []struct {
		payload, caller, number string
		to, route, cause        string
		asked                   []string
	}{
		{payload: "hours", route: "", cause: "no_route", asked: []string{"reject"}},
		{payload: "except", to: "603", route: "open", cause: "busy", asked: []string{"pre_accept", "terminate"}},
		{payload: "reject", route: "refused", cause: "not_allowed", asked: []string{"reject"}},
		{payload: "none", route: "", cause: "no_route", asked: []string{"reject"}},
		{payload: "none", caller: "34699000111", to: "604", route: "spain", cause: "busy", asked: []string{"pre_accept", "terminate"}},
		{payload: "fill-77", caller: "34600000111", to: "8fill-77-+34600000111", route: "filled", cause: "busy", asked: []string{"pre_accept", "terminate"}},
		{payload: "none", number: "401122334455999", to: "605", route: "other number", cause: "busy", asked: []string{"pre_accept", "terminate"}},
	} {
		t.Run(row.payload+row.caller+row.number, func(t *testing.T) {
			before := len(r.PBX.Calls())
			c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: row.payload, To: row.number, User: fakemeta.User{Number: row.caller}})
			must(t, err)
			must(t, c.Wait(ctx, fakemeta.Ended))
			rec := recordOf(t, settled(ctx, t, r), c)
			if rec.Cause != row.cause || rec.Route != row.route || rec.To != row.to {
				t.Errorf("the record says %s, route %q, to %q, want %s, %q, %q", rec.Cause, rec.Route, rec.To, row.cause, row.route, row.to)
			}
			wantVerbs(t, r, c, row.asked...)
			var want []string
			if row.to != "" {
				want = []string{row.to}
			}
			if got := numbersOf(r.PBX.Calls()[before:]); !slices.Equal(got, want) {
				t.Errorf("dialled %v, want %v", got, want)
			}
		})
	}
	for _, m := range r.PBX.Requests("INVITE") {
		if strings.ContainsAny(m.URI, "{}") {
			t.Errorf("a placeholder was dialled: %s", m.URI)
		}
	}
}

package test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// durationOf finds what a terminate webhook bills.
var durationOf = regexp.MustCompile(`"duration":(\d+)`)

// repeated writes an order of events with some of them said twice.
var repeated = map[string]func(order string) string{
	"once": func(order string) string { return order },
	"each twice": func(order string) string {
		return order[:1] + order[:1] + order[1:2] + order[1:2] + order[2:] + order[2:]
	},
	"all again": func(order string) string { return order + order },
}

// TestOrdersOfOurCalls: connect (C), ACCEPTED (A) and terminate (T) of a call
// that we place come in every order, repeated, at once and with pauses. The
// customer took the call and ended it, and that is what every book says in the
// end. What comes after the news of the end brings nothing back.
func TestOrdersOfOurCalls(t *testing.T) {
	t.Parallel()
	orders := []string{"CAT", "CTA", "ACT", "ATC", "TCA", "TAC"}
	pauses := []time.Duration{0, 150 * time.Millisecond}
	calls := len(orders) * len(repeated) * len(pauses)
	r, ctx := rigged(t, rig.Options{Config: dialUnprobed})
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	granted(ctx, t, r, calls)
	p := tapped(t, r)
	billed, events := map[string]int{}, calls // the grants
	names := map[string]string{}
	for _, order := range orders {
		for name, repeat := range repeated {
			for _, rest := range pauses {
				who := customerNumber(len(billed))
				names[who] = fmt.Sprintf("%s, %s, %v between", order, name, rest)
				phone, c := askedMeta(ctx, t, r, who)
				must(t, c.Wait(ctx, fakemeta.Ringing))
				for _, letter := range repeat(order) {
					kind := map[rune]fakemeta.Kind{'C': fakemeta.KindConnect, 'A': fakemeta.KindAccepted, 'T': fakemeta.KindTerminate}[letter]
					if letter != 'C' {
						c.PickUp()
					}
					if letter == 'T' {
						c.HangUp()
					}
					d := p.of(ctx, t, c, kind)
					if letter == 'T' {
						n, err := strconv.Atoi(durationOf.FindStringSubmatch(string(d.body))[1])
						must(t, err)
						billed[who] = n
					}
					if code := p.hand(ctx, t, d, nil); code != http.StatusOK {
						t.Errorf("%s: %s got %d", names[who], kind, code)
					}
					events++
					heard(ctx, t, r, events)
					pause(ctx, rest)
				}
				if order[0] == 'T' && phone.Is(faketrunk.Up) {
					t.Errorf("%s: the phone was connected to a call that was over", names[who])
				}
			}
		}
	}
	rs := settledOut(ctx, t, r, calls)
	for who, name := range names {
		rec := rs[who]
		if rec.Cause != "hangup" || rec.EndedBy != "customer" || rec.MetaDurationS != billed[who] || rec.Abandoned {
			t.Errorf("%s: the record says %s by %s, %d s billed, abandoned %v; Meta bills %d s",
				name, rec.Cause, rec.EndedBy, rec.MetaDurationS, rec.Abandoned, billed[who])
		}
	}
	for _, q := range r.Meta.Requests() {
		if q.Action == "terminate" && !slices.Contains([]int{0, 100}, q.Code) {
			t.Errorf("terminate was refused with %d", q.Code)
		}
	}
	if n := metric(t, r, "wagate_calls_ended_total", "cause", "hangup"); n != float64(calls) {
		t.Errorf("%v calls counted as hung up, want %d", n, calls)
	}
}

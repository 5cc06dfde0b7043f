package fakemeta

import (
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPermissionRules has a story for every rule of spec 4.1, 8.2 and 9.
func TestPermissionRules(t *testing.T) {
	for _, row := range []struct {
		name  string
		rules Rules
		steps []string
	}{
		{"nobody is called unasked", Rules{}, []string{"ring = 138006", "is state = none"}},
		{"temporary for seven days", Rules{}, []string{
			"write", "ask", "answer temporary", "is state = temporary", "talk",
			"clock 167h59m59s", "talk", "is state = temporary", "clock 1s", "is state = none", "talk = 138006",
		}},
		{"permanent has no end", Rules{}, []string{"write", "ask", "answer permanent", "clock 87600h", "is state = permanent", "talk"}},
		{"permanent needs no request", Rules{}, []string{"allow", "template = 138017", "write", "ask = 138017"}},
		{"temporary may be asked again", Rules{}, []string{"template", "answer temporary", "clock 24h", "template", "answer permanent", "is state = permanent"}},
		{"declined", Rules{}, []string{"template", "answer decline", "is state = declined", "ring = 138006"}},
		{"declined, then granted after all", Rules{}, []string{"template", "answer decline", "clock 167h", "answer temporary", "is state = temporary", "talk"}},
		{"a grant is seven days from approval, not from the request", Rules{}, []string{
			"template", "clock 100h", "answer temporary", "clock 167h", "talk", "clock 1h", "talk = 138006",
		}},
		{"an answer expires seven days after the last one", Rules{}, []string{"template", "answer decline", "clock 168h", "answer temporary = nobody asked"}},
		{"a request expires seven days after its delivery", Rules{}, []string{
			"template", "clock 167h59m59s", "answer decline", "is state = declined",
		}},
		{"a request that nobody answered", Rules{}, []string{"template", "clock 168h", "answer temporary = nobody asked", "is state = none"}},
		{"revoked in the profile", Rules{}, []string{"allow", "talk", "revoke", "is state = revoked", "ring = 138006", "template", "answer temporary", "talk"}},
		{"nothing to answer", Rules{}, []string{"answer temporary = nobody asked"}},

		{"free-form wants an open window", Rules{}, []string{"ask = 131047", "is asks = 0/24h 0/7d", "write", "ask"}},
		{"the window closes after 24 h", Rules{}, []string{"write", "clock 23h59m59s", "is window = 1s", "ask", "clock 25h", "ask = 131047", "template"}},
		{"a user's message opens it anew", Rules{}, []string{"write", "clock 24h", "ask = 131047", "write", "ask"}},
		{"a missed call of the user opens it", Rules{}, []string{"calls", "is window = 24h0m0s", "ask"}},
		{"a call that the user picks up opens it", Rules{}, []string{"allow", "talk", "is window = 24h0m0s", "revoke", "ask"}},
		{"a call that rings in vain does not", Rules{}, []string{"allow", "ring", "revoke", "ask = 131047"}},
		{"an answer does not", Rules{}, []string{"template", "answer temporary", "clock 24h", "ask = 131047"}},

		{"one request in 24 h", Rules{}, []string{
			"template", "is asks = 1/24h 1/7d", "template = 138009", "clock 23h59m59s", "is next ask = 1s", "template = 138009",
			"clock 1s", "is next ask = now", "template",
		}},
		{"two requests in 7 days", Rules{}, []string{
			"template", "clock 24h", "template", "clock 24h", "is asks = 0/24h 2/7d", "template = 138009", "is next ask = 120h0m0s",
			"clock 119h59m59s", "template = 138009", "clock 1s", "template",
		}},
		{"free-form and template share the limit", Rules{}, []string{"write", "ask", "template = 138009"}},
		{"what is refused does not count", Rules{}, []string{"ask = 131047", "ask = 131047", "is asks = 0/24h 0/7d", "template"}},
		{"a connected call of the business resets the limit", Rules{}, []string{
			"template", "answer temporary", "template = 138009", "ring", "template = 138009", "talk", "is asks = 0/24h 0/7d", "template", "clock 24h", "template", "clock 24h", "template = 138009",
		}},
		{"a connected call of the user resets it", Rules{}, []string{"template", "calls and talks", "template"}},
		{"a missed call of the user does not", Rules{}, []string{"template", "calls", "template = 138009"}},
		{"sandbox: 25 in a day", Rules{Sandbox: true}, []string{
			strings.Repeat("template;", 25) + "template = 138009", "is asks = 25/24h 25/7d",
			"clock 24h", strings.Repeat("template;", 25), "clock 24h", strings.Repeat("template;", 25), "clock 24h", strings.Repeat("template;", 25),
			"clock 24h", "is asks = 0/24h 100/7d", "template = 138009", "is next ask = 72h0m0s",
		}},

		{"two in vain: a nudge; four: revoked", Rules{}, []string{
			"allow", "ring", "is streak = 1, 0 nudges, 0 revocations", "reject", "is streak = 2, 1 nudges, 0 revocations",
			"ring", "is state = permanent", "ring", "is state = revoked", "is streak = 0, 1 nudges, 1 revocations", "ring = 138006",
		}},
		{"an answered call begins a new count", Rules{}, []string{"allow", "ring 3", "talk", "ring 3", "is state = permanent", "ring", "is state = revoked"}},
		{"a call of the user does not", Rules{}, []string{"allow", "ring 3", "calls and talks", "ring", "is state = revoked"}},
		{"who is cancelled before the phone rings is not counted", Rules{}, []string{"allow", "early 5", "is streak = 0, 0 nudges, 0 revocations"}},
		{"nor is what fails", Rules{}, []string{"allow", "fail 5", "break 5", "is streak = 0, 0 nudges, 0 revocations"}},
		{"a new grant begins a new count", Rules{}, []string{"allow", "ring 3", "allow", "ring 3", "is state = permanent"}},
		{"or does not", Rules{KeepStreak: true}, []string{"allow", "ring 3", "allow", "ring", "is state = revoked"}},
		{"sandbox: five and ten", Rules{Sandbox: true}, []string{
			"allow", "ring 4", "is streak = 4, 0 nudges, 0 revocations", "ring", "is streak = 5, 1 nudges, 0 revocations",
			"ring 4", "is state = permanent", "ring", "is state = revoked",
		}},

		{"callback permission is off", Rules{}, []string{"calls", "is state = none"}},
		{"callback permission: missed", Rules{Callback: true}, []string{"calls", "is state = temporary", "talk", "clock 168h", "talk = 138006"}},
		{"callback permission: connected", Rules{Callback: true}, []string{"calls and talks", "is state = temporary"}},
		{"callback permission: not from a companion", Rules{Callback: true}, []string{"calls by companion", "is state = none"}},
		{"callback permission is renewed", Rules{Callback: true}, []string{"calls", "clock 100h", "calls", "clock 167h", "is state = temporary"}},
		{"callback permission leaves a permanent one", Rules{Callback: true}, []string{"allow", "calls", "is state = permanent"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g, clock := strict(t, Options{Rules: row.rules})
			st := &story{gateway: g, clock: clock}
			for _, s := range row.steps {
				for one := range strings.SplitSeq(strings.TrimSuffix(s, ";"), ";") {
					st.run(one)
				}
			}
			if open := g.meta.Open(); len(open) != 0 || g.meta.Permission(nuria).Open != 0 {
				t.Errorf("%d calls are open", len(open))
			}
		})
	}
}

// TestConnectedLimit: 100 answered calls in 24 h, each its own 24 h.
func TestConnectedLimit(t *testing.T) {
	g, clock := strict(t, Options{})
	st := &story{gateway: g, clock: clock}
	st.run("allow", "talk 60", "clock 1h", "talk 40", "is next call = 23h0m0s", "talk = 138012")
	r := g.dial(nuria, plainOffer)
	if !strings.Contains(r.details, seconds(noon.Add(24*time.Hour))) {
		t.Errorf("the next call is not in %q", r.details)
	}
	st.run("is state = permanent", "clock 22h59m59s", "ring = 138012", "clock 1s", "talk 60", "ring = 138012", "clock 1h", "ring")
}

// TestReplacedRequest: who answers a request can no longer answer an older one.
func TestReplacedRequest(t *testing.T) {
	g, clock := strict(t, Options{})
	st := &story{gateway: g, clock: clock}
	st.run("template")
	first := st.last
	st.run("clock 24h", "template")
	second := st.last
	for _, row := range []struct {
		id     string
		answer Answer
		ok     bool
		state  PermissionState
	}{
		{first, GrantTemporary, true, Temporary},
		{second, Decline, true, Declined},
		{first, GrantTemporary, false, Declined},
		{second, GrantPermanent, true, Permanent},
		{"wamid.x", Decline, false, Permanent},
	} {
		if err := g.meta.AnswerTo(nuria, row.id, row.answer); (err == nil) != row.ok {
			t.Errorf("answer %d to %s: %v", row.answer, row.id, err)
		}
		if s := g.meta.Permission(nuria).State; s != row.state {
			t.Errorf("the state is %v, want %v", s, row.state)
		}
	}
	b := g.meta.Permission(nuria)
	if len(b.Asks) != 2 || !b.Asks[0].Superseded || b.Asks[1].Superseded || b.Asks[1].Answer != GrantPermanent || b.Asks[0].Template != "ask_to_call" {
		t.Errorf("the requests are %+v", b.Asks)
	}
}

// TestOnlyOne: of many requests at once one is taken, and of many calls too.
func TestOnlyOne(t *testing.T) {
	g, _ := strict(t, Options{})
	g.meta.Callee(nuria, Callee{Never: true})
	count := func(do func() graphReply) (taken int, refused map[int]int) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		refused = map[int]int{}
		for range 20 {
			wg.Go(func() {
				r := do()
				mu.Lock()
				defer mu.Unlock()
				if r.code == 0 {
					taken++
				} else {
					refused[r.code]++
				}
			})
		}
		wg.Wait()
		return taken, refused
	}
	if n, refused := count(func() graphReply { return g.askByTemplate(nuria) }); n != 1 || refused[138009] != 19 {
		t.Errorf("%d requests were taken, the others got %v", n, refused)
	}
	g.meta.Grant(nuria)
	if n, refused := count(func() graphReply { return g.dial(nuria, plainOffer) }); n != 1 || refused[138003] != 19 {
		t.Errorf("%d calls were taken, the others got %v", n, refused)
	}
	if b := g.meta.Permission(nuria); b.Dialled != 1 || b.Open != 1 {
		t.Errorf("the book is %+v", b)
	}
}

// TestScope: a permission is one business number's.
func TestScope(t *testing.T) {
	g, _ := strict(t, Options{Numbers: []Number{{ID: "77", Display: "351210000322", Token: "other-token"}}})
	g.meta.Grant(nuria)
	if s := g.meta.PermissionOf(nuria, "77").State; s != NotPermitted {
		t.Errorf("the other number has %v", s)
	}
	g.meta.Permit(nuria, true)
	if s := g.meta.PermissionOf(nuria, "77").State; s != Permanent {
		t.Errorf("the other number has %v after Permit", s)
	}
	if b := g.meta.PermissionOf(nuria, "78"); b.Number.ID != "" {
		t.Errorf("an unknown number has a book: %+v", b)
	}
}

// TestFree: without StrictPermissions everybody may be called, without limits,
// until told otherwise.
func TestFree(t *testing.T) {
	g := start(t, Options{})
	st := &story{gateway: g}
	st.run("ring 5", "talk", "template = 138017", "is state = permanent", "is streak = 0, 0 nudges, 0 revocations")
	if b := g.meta.Permission(nuria); !b.Free || b.Connected != 1 {
		t.Errorf("the book is %+v", b)
	}
	g.meta.Permit("+"+nuria, false)
	st.run("ring = 138006", "template", "answer temporary", "talk", "ring 4", "is state = revoked")
	g.meta.Permit(nuria, true)
	st.run("ring 5")
}

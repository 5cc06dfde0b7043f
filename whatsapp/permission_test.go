package whatsapp

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"wagate/config"
)

// rules are the defaults of the configuration.
func rules() config.Permissions { return config.Default().Permissions }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func after(d time.Duration) time.Time { return noon.Add(d) }

const (
	hour   = time.Hour
	minute = time.Minute
)

// accept is a customer's yes to a request, with Meta's seven days.
func accept(at time.Time) PermissionReply {
	return PermissionReply{Meta: Meta{At: at}, Accept: true, Expires: at.Add(grantLife), Context: "wamid.ask"}
}

func forever(at time.Time) PermissionReply {
	return PermissionReply{Meta: Meta{At: at}, Accept: true, Permanent: true}
}

func decline(at time.Time) PermissionReply {
	return PermissionReply{Meta: Meta{At: at}, Context: "wamid.ask"}
}

func autoRevoked(at time.Time) PermissionReply {
	return PermissionReply{Meta: Meta{At: at}, Automatic: true}
}

func wantCall(t *testing.T, p Permission, now time.Time, r config.Permissions, want Reason) *PermissionError {
	t.Helper()
	return wantReason(t, "call", p.MayCall(now, r), want)
}

func wantAsk(t *testing.T, p Permission, now time.Time, want Reason) *PermissionError {
	t.Helper()
	return wantReason(t, "ask", p.MayAsk(now, rules()), want)
}

// wantReason checks a refusal; an empty reason means that there is none.
func wantReason(t *testing.T, what string, err error, want Reason) *PermissionError {
	t.Helper()
	var no *PermissionError
	if err == nil {
		if want != "" {
			t.Errorf("%s: allowed, want %q", what, want)
		}
		return &PermissionError{}
	}
	if !errors.As(err, &no) || no.Reason != want || no.Error() == "" {
		t.Errorf("%s: got %v, want %q", what, err, want)
		return &PermissionError{}
	}
	return no
}

// How long a grant may be used: the window counts from the grant, and the
// margin from Meta's expiry alone.
func TestCallWindow(t *testing.T) {
	meta := rules()
	meta.CallWindow = 0
	short := rules()
	short.CallWindow = config.Window(10 * hour)
	long := rules()
	long.CallWindow = config.Window(30 * day)
	// Meta still has seven days to go at the 73rd hour.
	generous := accept(noon)
	generous.Expires = after(73*hour + week)
	for name, c := range map[string]struct {
		reply PermissionReply
		at    time.Duration
		rules config.Permissions
		want  Reason
	}{
		"at once":                                  {accept(noon), 0, rules(), ""},
		"71 h 59 min":                              {accept(noon), 71*hour + 59*minute, rules(), ""},
		"72 h":                                     {accept(noon), 72 * hour, rules(), ReasonWindow},
		"73 h":                                     {accept(noon), 73 * hour, rules(), ReasonWindow},
		"73 h, seven days left at Meta":            {generous, 73 * hour, rules(), ReasonWindow},
		"73 h, meta":                               {accept(noon), 73 * hour, meta, ""},
		"73 h, seven days left at Meta, meta":      {generous, 73 * hour, meta, ""},
		"6 min before Meta's expiry, meta":         {accept(noon), week - 6*minute, meta, ""},
		"5 min before Meta's expiry, meta":         {accept(noon), week - 5*minute, meta, ReasonExpired},
		"after Meta's expiry":                      {accept(noon), week + minute, meta, ReasonExpired},
		"a short window":                           {accept(noon), 10*hour - 1, short, ""},
		"a short window is over":                   {accept(noon), 10 * hour, short, ReasonWindow},
		"a long window ends with Meta's":           {accept(noon), week - 5*minute, long, ReasonExpired},
		"permanent, a year later":                  {forever(noon), 365 * day, rules(), ""},
		"temporary that does not say its end":      {PermissionReply{Meta: Meta{At: noon}, Accept: true}, 6 * day, meta, ""},
		"temporary that does not say its end, end": {PermissionReply{Meta: Meta{At: noon}, Accept: true}, 7 * day, meta, ReasonExpired},
		"a grant that comes with its past end":     {PermissionReply{Meta: Meta{At: noon}, Accept: true, Expires: noon}, day, meta, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := Permission{}.Replied(c.reply)
			no := wantCall(t, p, after(c.at), c.rules, c.want)
			if c.want == ReasonWindow && (!no.Expires.Equal(c.reply.Expires) || no.NextAsk.IsZero()) {
				t.Errorf("the refusal tells expiry %v and request %v", no.Expires, no.NextAsk)
			}
		})
	}
	p := Permission{}.Replied(accept(noon))
	if got := p.UsableUntil(rules()); !got.Equal(after(72 * hour)) {
		t.Errorf("usable until %v", got)
	}
	if got := p.UsableUntil(meta); !got.Equal(after(week - 5*minute)) {
		t.Errorf("by Meta usable until %v", got)
	}
}

// Every row of what Meta may tell of a permission.
func TestReplies(t *testing.T) {
	asked := Permission{}.Asked(after(-hour)).AskSent(after(-hour), "wamid.ask")
	callback := accept(noon)
	callback.Automatic, callback.Context = true, "wacid.missed"
	revoke := decline(noon)
	revoke.Context = ""
	for name, c := range map[string]struct {
		before Permission
		reply  PermissionReply
		want   Consent
		call   Reason
	}{
		"accepts temporary":            {asked, accept(noon), Temporary, ""},
		"accepts permanent":            {asked, PermissionReply{Meta: Meta{At: noon}, Accept: true, Permanent: true, Context: "wamid.ask"}, Permanent, ""},
		"grants in the profile":        {Permission{}, forever(noon), Permanent, ""},
		"declines":                     {asked, decline(noon), Declined, ReasonDeclined},
		"callback permission":          {Permission{}, callback, Temporary, ""},
		"auto-revoked":                 {Permission{}.Replied(accept(after(-hour))), autoRevoked(noon), Revoked, ReasonRevoked},
		"auto-revoked, was permanent":  {Permission{}.Replied(forever(after(-hour))), autoRevoked(noon), Revoked, ReasonRevoked},
		"revoked in the profile":       {Permission{}.Replied(forever(after(-hour))), revoke, Revoked, ReasonRevoked},
		"permanent becomes temporary":  {Permission{}.Replied(forever(after(-hour))), accept(noon), Temporary, ""},
		"grants after a no":            {asked.Replied(decline(after(-minute))), forever(noon), Permanent, ""},
		"older yes after a no":         {Permission{}.Replied(decline(after(minute))), accept(noon), Declined, ReasonDeclined},
		"older no after a yes":         {Permission{}.Replied(accept(after(minute))), decline(noon), Temporary, ""},
		"the same second, yes after":   {Permission{}.Replied(decline(noon)), accept(noon), Declined, ReasonDeclined},
		"the same second, no after":    {Permission{}.Replied(accept(noon)), decline(noon), Declined, ReasonDeclined},
		"a yes that tells no time":     {asked, PermissionReply{Accept: true, Context: "wamid.ask"}, NoConsent, ReasonNone},
		"a yes to an earlier request":  {asked.Asked(after(-minute)), accept(noon), Temporary, ""},
		"a no to an earlier request":   {asked.Asked(after(-minute)).AskSent(after(-minute), "wamid.2"), decline(noon), Requested, ReasonRequested},
		"a no before the last request": {asked.Asked(after(hour)), decline(noon), Requested, ReasonRequested},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.before.Replied(c.reply)
			now := after(2 * hour)
			if got := p.State(now); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
			wantCall(t, p, now, rules(), c.call)
			if again := p.Replied(c.reply); !reflect.DeepEqual(again, p) {
				t.Errorf("told twice:\n%+v\n%+v", p, again)
			}
		})
	}
}

func TestStateBeforeAnybodySpoke(t *testing.T) {
	var p Permission
	no := wantCall(t, p, noon, rules(), ReasonNone)
	if !no.NextAsk.Equal(noon) || !no.Again.IsZero() {
		t.Errorf("refused with %+v", no)
	}
	if got := p.State(noon).String(); got != "none" {
		t.Errorf("state %s", got)
	}
	p = p.Asked(noon)
	no = wantCall(t, p, after(minute), rules(), ReasonRequested)
	if !no.NextAsk.Equal(after(day)) {
		t.Errorf("next request at %v", no.NextAsk)
	}
	wantCall(t, p, after(week), rules(), ReasonNone) // the request is over
	p = p.Replied(accept(after(minute)))
	wantCall(t, p, after(8*day), rules(), ReasonExpired)
	if got := p.State(after(8 * day)); got != NoConsent {
		t.Errorf("after the expiry: %v", got)
	}
}

func TestRequestLimits(t *testing.T) {
	p := Permission{}
	wantAsk(t, p, noon, "")
	p = p.Asked(noon)
	no := wantAsk(t, p, after(day-1), ReasonAskedDay)
	if !no.Again.Equal(after(day)) {
		t.Errorf("again at %v", no.Again)
	}
	wantAsk(t, p, after(day), "")
	p = p.Asked(after(day))
	no = wantAsk(t, p, after(2*day), ReasonAskedWeek)
	if !no.Again.Equal(after(week)) {
		t.Errorf("again at %v", no.Again)
	}
	if p.Asked24h(after(day+hour)) != 1 || p.Asked7d(after(day+hour)) != 2 {
		t.Errorf("counts %d and %d", p.Asked24h(after(day+hour)), p.Asked7d(after(day+hour)))
	}
	wantAsk(t, p, after(week), "")
	p = p.Asked(after(week))
	wantAsk(t, p, after(week+hour), ReasonAskedDay)

	// A connected call in either direction gives all of them back, but for
	// requests that are younger than it.
	wantAsk(t, p.Connected("wacid.1", after(week+minute)), after(week+hour), "")
	wantAsk(t, p.Answered(after(week+minute)), after(week+hour), "")
	wantAsk(t, p.Answered(after(week-minute)), after(week+hour), ReasonAskedDay)
	wantAsk(t, p.Unanswered("wacid.1", after(week+minute)), after(week+hour), ReasonAskedDay)

	// A clock that went back gains nothing.
	wantAsk(t, p.Asked(noon), after(hour), ReasonAskedWeek)

	sandbox := rules()
	sandbox.RequestsPer24h, sandbox.RequestsPer7d = 25, 100
	p = Permission{}
	for i := range 25 {
		if err := p.MayAsk(noon, sandbox); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		p = p.Asked(noon)
	}
	wantReason(t, "26th", p.MayAsk(noon, sandbox), ReasonAskedDay)

	never := rules()
	never.RequestsPer24h = 0
	wantReason(t, "never", Permission{}.MayAsk(noon, never), ReasonAskedDay)
	if at := (Permission{}).NextAsk(noon, never); !at.IsZero() {
		t.Errorf("never is %v", at)
	}
	wantAsk(t, Permission{}.Replied(forever(noon)), noon, ReasonGranted)
	wantAsk(t, Permission{}.Replied(accept(noon)), noon, "")
}

func TestFailedRequests(t *testing.T) {
	p := Permission{}.Asked(noon)
	slot := p.AskedAt
	wantAsk(t, p.AskFailed(slot, noon, time.Time{}), noon, "")
	held := p.AskFailed(slot, noon, after(hour))
	if no := wantAsk(t, held, after(minute), ReasonHeld); !no.Again.Equal(after(hour)) {
		t.Errorf("again at %v", no.Again)
	}
	wantAsk(t, held, after(hour), "")
	wantAsk(t, held.Answered(after(minute)), after(2*minute), "")
	wantAsk(t, held.Answered(after(-minute)), after(2*minute), ReasonHeld)
	if got := held.State(after(minute)); got != NoConsent {
		t.Errorf("a request that failed is %v", got)
	}

	p = p.AskSent(slot, "wamid.ask")
	failed := MessageFailed{MessageID: "wamid.ask", Errors: []HookError{{Code: 131026}}}
	lost := p.AskUndelivered(failed)
	if lost.State(after(minute)) != NoConsent || lost.AskLost != 131026 {
		t.Errorf("undelivered: %+v", lost)
	}
	wantAsk(t, lost, after(minute), ReasonAskedDay)
	if other := p.AskUndelivered(MessageFailed{MessageID: "wamid.other"}); other.State(after(minute)) != Requested {
		t.Error("another message's failure is taken for ours")
	}
	early := Permission{}.Asked(noon).AskUndelivered(failed)
	if early.State(after(minute)) != Requested {
		t.Error("a failure of nobody knows what is taken for ours")
	}
	failed.Tag = AskTag(early.AskedAt)
	if early = early.AskUndelivered(failed); early.State(after(minute)) != NoConsent {
		t.Error("a failure that overtakes Meta's answer is lost")
	}
	if got := lost.Asked(after(day)); got.AskLost != 0 {
		t.Error("the next request has the fault of the last")
	}
}

func TestUnanswered(t *testing.T) {
	p := Permission{}.Replied(accept(noon))
	p = p.Unanswered("a", after(1*minute)).Rejected("b", after(2*minute))
	wantCall(t, p, after(hour), rules(), "")
	p = p.Unanswered("b", after(3*minute)) // its end, after its REJECTED
	if p.Streak() != 2 {
		t.Errorf("one call counts twice: %d", p.Streak())
	}
	p = p.Unanswered("c", after(4*minute))
	if no := wantCall(t, p, after(hour), rules(), ReasonUnanswered); no.Error() != "3 unanswered" {
		t.Errorf("the text is %q", no)
	}
	for name, q := range map[string]Permission{
		"an answered call":          p.Connected("d", after(5*minute)),
		"a new grant":               p.Replied(accept(after(5 * minute))),
		"a call is connected after": p.Connected("c", after(5*minute)),
	} {
		if q.Streak() != 0 {
			t.Errorf("%s leaves %d", name, q.Streak())
		}
		wantCall(t, q, after(hour), rules(), "")
	}
	if got := p.Answered(after(5 * minute)).Streak(); got != 3 {
		t.Errorf("a call of the customer's leaves %d", got)
	}
	if got := p.Over("d", after(5*minute)).Streak(); got != 3 {
		t.Errorf("a call that never rang counts: %d", got)
	}
	if got := p.Over("d", after(5*minute)).Rang("d", after(5*minute-time.Second)).Streak(); got != 4 {
		t.Errorf("a call that rang, told late, does not count: %d", got)
	}
	if got := p.Rang("d", after(5*minute)).Streak(); got != 3 {
		t.Errorf("a call that rings counts: %d", got)
	}
	if got := p.Connected("z", after(3*minute)).Streak(); got != 1 {
		t.Errorf("an answered call in the middle leaves %d", got)
	}
	if got := p.Connected("c", after(minute)).Streak(); got != 1 {
		t.Errorf("a call that was taken after all leaves %d", got)
	}
	if got := p.Connected("z", after(10*minute)).Unanswered("y", after(6*minute)).Streak(); got != 0 {
		t.Errorf("an old call counts: %d", got)
	}
	if got := p.Connected("z", after(10*minute)).Unanswered("z", after(11*minute)).Streak(); got != 0 {
		t.Errorf("the end of a connected call counts: %d", got)
	}
}

func TestConnectedCalls(t *testing.T) {
	p := Permission{}.Replied(forever(noon))
	for i := range 99 {
		p = p.Connected(CallID(rune('A'+i)), after(time.Duration(i)*minute))
	}
	p = p.Connected("A", after(0)) // said twice
	wantCall(t, p, after(2*hour), rules(), "")
	p = p.Connected("last", after(99*minute))
	no := wantCall(t, p, after(2*hour), rules(), ReasonCalls)
	if !no.Again.Equal(after(day)) || !no.Limited() {
		t.Errorf("refused with %+v", no)
	}
	wantCall(t, p, after(day), rules(), "")

	held := p.CallsHeld(after(day), after(day+hour))
	if no := wantCall(t, held, after(day), rules(), ReasonCalls); !no.Again.Equal(after(day + hour)) {
		t.Errorf("again at %v", no.Again)
	}
	wantCall(t, held, after(day+hour), rules(), "")
}

func TestServiceWindow(t *testing.T) {
	for name, p := range map[string]Permission{
		"a message":           Permission{}.Spoke(noon),
		"a call of ours":      Permission{}.Connected("a", noon),
		"a call that we took": Permission{}.Answered(noon),
		"an older message":    Permission{}.Spoke(noon).Spoke(after(-day)),
	} {
		if p.AskKind(noon) != FreeForm || p.AskKind(after(day-1)) != FreeForm || p.AskKind(after(day)) != Template {
			t.Errorf("%s does not open the window for a day: %v", name, p.SpokeAt)
		}
	}
	for name, p := range map[string]Permission{
		"nothing":              {},
		"a call nobody took":   Permission{}.Unanswered("a", noon),
		"a word of Meta's":     Permission{}.Replied(autoRevoked(noon)),
		"a grant in a profile": Permission{}.Replied(forever(noon)),
		"a request":            Permission{}.Asked(noon),
		"an answer to it":      Permission{}.Asked(noon).Replied(decline(noon)),
	} {
		if p.AskKind(after(minute)) != Template {
			t.Errorf("%s opens the window", name)
		}
	}
}

// Whatever order news come in, the value is the same, and reads back from JSON
// as it was.
func TestOrderDoesNotMatter(t *testing.T) {
	news := []func(Permission) Permission{
		func(p Permission) Permission { return p.Replied(accept(after(1 * minute))) },
		func(p Permission) Permission { return p.Replied(decline(after(20 * minute))) },
		func(p Permission) Permission { return p.Replied(forever(after(40 * minute))) },
		func(p Permission) Permission { return p.Unanswered("a", after(2*minute)) },
		func(p Permission) Permission { return p.Rejected("b", after(3*minute)) },
		func(p Permission) Permission { return p.Connected("c", after(4*minute)) },
		func(p Permission) Permission { return p.Connected("c", after(4*minute+time.Second)) },
		func(p Permission) Permission { return p.Answered(after(30 * minute)) },
		func(p Permission) Permission { return p.Unanswered("c", after(5*minute)) },
		func(p Permission) Permission { return p.Unanswered("d", after(41*minute)) },
		func(p Permission) Permission { return p.Rejected("d", after(41*minute)) },
		func(p Permission) Permission { return p.Rang("e", after(42*minute)) },
		func(p Permission) Permission { return p.Over("e", after(43*minute)) },
		func(p Permission) Permission { return p.Over("f", after(44*minute)) },
		func(p Permission) Permission { return p.Spoke(after(50 * minute)) },
	}
	var want Permission
	for _, n := range news {
		want = n(want)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var p Permission
		for _, i := range rnd.Perm(len(news)) {
			p = news[i](p)
			if rnd.IntN(4) == 0 {
				p = news[rnd.IntN(i+1)](p)
			}
		}
		for _, n := range news { // some came only as copies
			p = n(p)
		}
		if !reflect.DeepEqual(p, want) {
			t.Fatalf("got  %+v\nwant %+v", p, want)
		}
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var back Permission
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("%s reads back as %+v, %v", text, back, err)
	}
	if text, _ := json.Marshal(Permission{}); string(text) != "{}" {
		t.Errorf("nothing is %s", text)
	}
}

// A value that was handed out never changes.
func TestValuesAreValues(t *testing.T) {
	p := Permission{}.Asked(noon).Connected("a", after(minute)).Unanswered("b", after(2*minute)).Asked(after(3 * minute))
	text, _ := json.Marshal(p)
	_ = p.Asked(after(hour)).AskSent(p.AskedAt, "x").AskFailed(p.AskedAt, noon, noon)
	_ = p.AskSent(p.AskedAt, "x")
	_ = p.Connected("0", noon).Connected("b", noon).Answered(after(day))
	_ = p.Unanswered("0", after(minute+1)).Unanswered("b", after(hour))
	_ = p.Merge(Permission{}.Asked(noon).Connected("0", noon))
	_ = p.Learned(PermissionState{From: after(day), To: after(day), Call: Allowance{Told: true, Allowed: true, Limits: []Limit{{day, 1, 0, noon}}}})
	if again, _ := json.Marshal(p); string(again) != string(text) {
		t.Errorf("got  %s\nwant %s", again, text)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	p := Permission{}.Replied(forever(noon))
	for i := range 3000 {
		at := after(time.Duration(i) * time.Second)
		p = p.Asked(at).Connected(CallID(time.Duration(i).String()), after(-day)).Unanswered(CallID(at.String()), at.Add(time.Hour))
	}
	text, err := json.Marshal(p)
	if err != nil || len(text) > 128<<10 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

func TestReasonsHaveTexts(t *testing.T) {
	for _, r := range append(CallReasons(), ReasonGranted, ReasonAskedDay, ReasonAskedWeek, ReasonHeld) {
		if (&PermissionError{Reason: r, Unanswered: 3}).Error() == "" {
			t.Errorf("%s has no text", r)
		}
	}
	for c := range Consent(10) {
		if c.String() == "" {
			t.Errorf("consent %d has no name", c)
		}
	}
}

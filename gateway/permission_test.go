package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/store"
	"wagate/whatsapp"
)

// counted reads one counter.
func counted(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// metaDesk answers questions and requests with what a test prepares.
type metaDesk struct {
	mu    sync.Mutex
	asked []whatsapp.AskKind
	tags  []string
	reads int

	request func(kind whatsapp.AskKind) error // nil: taken
	read    func() (whatsapp.PermissionState, error)
}

func (m *metaDesk) RequestPermission(
	ctx context.Context, _ whatsapp.Callee, kind whatsapp.AskKind, _ config.AskMessage, tag string,
) (whatsapp.Receipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return whatsapp.Receipt{}, fmt.Errorf("%w: %w", whatsapp.ErrUnknown, err)
	}
	m.asked, m.tags = append(m.asked, kind), append(m.tags, tag)
	if m.request != nil {
		if err := m.request(kind); err != nil {
			return whatsapp.Receipt{}, err
		}
	}
	return whatsapp.Receipt{MessageID: fmt.Sprintf("wamid.%d", len(m.asked)), User: worldUser}, nil
}

func (m *metaDesk) Permissions(context.Context, whatsapp.Callee) (whatsapp.PermissionState, error) {
	m.mu.Lock()
	m.reads++
	read := m.read
	m.mu.Unlock()
	if read != nil {
		return read()
	}
	return whatsapp.PermissionState{}, &whatsapp.APIError{Status: http.StatusBadRequest, Code: 100}
}

// office is the service with a store of its own and a Meta that a test plays.
type office struct {
	*permissions
	t    *testing.T
	dir  string
	db   *store.DB
	meta *metaDesk
	news []permissionNews
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir(), meta: &metaDesk{}}
	o.open()
	t.Cleanup(o.shut)
	return o
}

func (o *office) open() {
	o.t.Helper()
	db, err := store.Open(context.Background(), o.dir, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		o.t.Fatal(err)
	}
	o.db = db
	rules := worldRules
	if o.permissions != nil {
		rules = o.rules()
	}
	o.permissions = newPermissions(db, func(string) asker { return o.meta }, func() config.Permissions { return rules },
		newPermissionMetrics(nil), slog.New(slog.DiscardHandler))
	o.reads.every = 0
	o.changed = func(n permissionNews) { o.news = append(o.news, n) }
}

func (o *office) shut() {
	if err := o.db.Close(); err != nil {
		o.t.Error(err)
	}
}

func (o *office) set(rules config.Permissions) {
	o.rules = func() config.Permissions { return rules }
}

func (o *office) give(p whatsapp.Permission) {
	o.t.Helper()
	if err := o.db.SetPermission(context.Background(), worldNumber.PhoneNumberID, worldUser.Callee(), p); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) row() whatsapp.Permission {
	o.t.Helper()
	p, err := o.db.Permission(context.Background(), worldNumber.PhoneNumberID, worldUser.Callee())
	if err != nil {
		o.t.Fatal(err)
	}
	return p
}

func (o *office) hear(ev whatsapp.Event) {
	o.t.Helper()
	if err := o.apply(context.Background(), ev); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) mayCallAt(at time.Time) error {
	return o.mayCall(context.Background(), worldNumber, worldUser.Callee(), at)
}

func (o *office) askAt(at time.Time) error {
	return o.ask(context.Background(), worldNumber, worldUser.Callee(), at)
}

func at(d time.Duration) time.Time {
	return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC).Add(d)
}

func yesAt(when, expires time.Time) whatsapp.PermissionReply {
	return whatsapp.PermissionReply{
		Meta: whatsapp.Meta{Key: "yes", NumberID: worldNumber.PhoneNumberID, At: when}, User: worldUser,
		Accept: true, Expires: expires, Context: "wamid.1", MessageID: "wamid.reply",
	}
}

// The window of a grant, from the webhook to the agent and to the API.
func TestPermissionWindow(t *testing.T) {
	expires := at(73*time.Hour + oneWeek)
	meta := worldRules
	meta.CallWindow = 0
	for name, c := range map[string]struct {
		after time.Duration
		rules config.Permissions
		want  whatsapp.Reason
	}{
		"71 h 59 min": {72*time.Hour - time.Minute, worldRules, ""},
		"73 h":        {73 * time.Hour, worldRules, whatsapp.ReasonWindow},
		"73 h, meta":  {73 * time.Hour, meta, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.set(c.rules)
			o.hear(yesAt(at(0), expires))
			now := at(c.after)
			o.meta.read = func() (whatsapp.PermissionState, error) {
				return whatsapp.PermissionState{From: now, To: now, Status: whatsapp.Temporary, Expires: expires}, nil
			}
			err := o.mayCallAt(now)
			no := refusal(err)
			if (err == nil) != (c.want == "") || no != nil && (no.Reason != c.want || !no.Expires.Equal(expires) || !no.NextAsk.Equal(now)) {
				t.Errorf("got %+v (%v)", no, err)
			}
			v, err := o.state(t.Context(), worldNumber, worldUser.Callee(), now)
			want := permissionView{
				State: "temporary", GrantedAt: jsonTime(at(0)), UsableUntil: jsonTime(at(72 * time.Hour)), MetaExpiresAt: jsonTime(expires),
				NextRequestAt: jsonTime(now), MayCall: c.want == "", Reason: string(c.want),
			}
			if c.rules.CallWindow == 0 {
				want.UsableUntil = jsonTime(expires.Add(-5 * time.Minute))
			}
			if err != nil || !reflect.DeepEqual(v, want) {
				t.Errorf("%v\ngot  %+v\nwant %+v", err, v, want)
			}
		})
	}
}

// What the API shows of a request, its answer and what follows.
func TestPermissionStory(t *testing.T) {
	o := newOffice(t)
	show := func(when time.Time) permissionView {
		t.Helper()
		v, err := o.state(t.Context(), worldNumber, worldUser.Callee(), when)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := show(at(0)); v.State != "none" || v.MayCall || v.Reason != "none" || time.Time(v.NextRequestAt) != at(0) {
		t.Errorf("at first %+v", v)
	}
	if err := o.askAt(at(0)); err != nil {
		t.Fatal(err)
	}
	if v := show(at(time.Minute)); v.State != "requested" || v.Requests24h != 1 || v.Requests7d != 1 || time.Time(v.NextRequestAt) != at(oneDay) {
		t.Errorf("asked %+v", v)
	}
	if no := refusal(o.askAt(at(time.Minute))); no == nil || !no.Again.Equal(at(oneDay)) {
		t.Errorf("asked again: %+v", no)
	}
	if len(o.meta.asked) != 1 || o.meta.asked[0] != whatsapp.Template || o.meta.tags[0] != whatsapp.AskTag(at(0)) {
		t.Errorf("sent %v with %v", o.meta.asked, o.meta.tags)
	}
	o.hear(yesAt(at(time.Hour), at(time.Hour+oneWeek)))
	if v := show(at(2 * time.Hour)); v.State != "temporary" || !v.MayCall {
		t.Errorf("granted %+v", v)
	}
	call := func(n int, s whatsapp.StatusState) {
		id, when := whatsapp.CallID(fmt.Sprint("wacid.", n)), at(3*time.Hour+time.Duration(n)*time.Minute)
		m := whatsapp.Meta{NumberID: worldNumber.PhoneNumberID, CallID: id, At: when}
		o.hear(whatsapp.Status{Meta: m, User: worldUser, State: whatsapp.Ringing})
		o.hear(whatsapp.Status{Meta: m, User: worldUser, State: s})
		m.At = when.Add(time.Second)
		end := whatsapp.Terminate{Meta: m, User: worldUser, Direction: whatsapp.BusinessInitiated}
		if s == whatsapp.Accepted {
			end.Start = when
		}
		o.hear(end)
	}
	for n := range 3 {
		call(n, whatsapp.Rejected)
	}
	v := show(at(4 * time.Hour))
	if v.Unanswered != 3 || v.MayCall || v.Reason != "unanswered" {
		t.Errorf("three times in vain %+v", v)
	}
	if err := o.mayCallAt(at(4 * time.Hour)); err == nil || err.Error() != "3 unanswered" {
		t.Errorf("the agent is told %v", err)
	}
	call(4, whatsapp.Accepted) // as if the customer took one
	if v := show(at(5 * time.Hour)); v.Unanswered != 0 || v.Requests24h != 0 || !v.MayCall {
		t.Errorf("answered %+v", v)
	}
	revoke := yesAt(at(6*time.Hour), time.Time{})
	revoke.Key, revoke.Accept, revoke.Automatic, revoke.Context = "no", false, true, ""
	o.hear(revoke)
	if v := show(at(7 * time.Hour)); v.State != "revoked" || v.MayCall {
		t.Errorf("revoked %+v", v)
	}
	for answer, want := range map[string]float64{replyTemporary: 1, replyAutoRevoked: 1, replyDeclined: 0} {
		if got := counted(t, o.metrics.replies[answer]); got != want {
			t.Errorf("%v replies %s, want %v", got, answer, want)
		}
	}
	if got := counted(t, o.metrics.denials[whatsapp.ReasonUnanswered]); got != 1 {
		t.Errorf("%v denials", got)
	}
	var changes []string
	for _, n := range o.news {
		changes = append(changes, fmt.Sprintf("%v %v %v", n.was, n.is, n.asked))
	}
	want := []string{"none requested true", "requested temporary false", "temporary revoked false"}
	if !reflect.DeepEqual(changes, want) {
		t.Errorf("told %v, want %v", changes, want)
	}
}

// What becomes of a request when Meta does not simply take it.
func TestAskFails(t *testing.T) {
	api := func(status, code int) error { return &whatsapp.APIError{Status: status, Code: code} }
	for name, c := range map[string]struct {
		err     error
		outcome string
		counts  int           // requests that count afterwards
		rest    time.Duration // until the next may be made
	}{
		"not sent":           {fmt.Errorf("dial: %w", whatsapp.ErrNotSent), askNotSent, 0, 0},
		"lost":               {fmt.Errorf("read: %w", whatsapp.ErrUnknown), askUnknown, 1, oneDay},
		"a server error":     {api(500, 131000), askUnknown, 1, oneDay},
		"a gateway's error":  {api(502, 0), askUnknown, 1, oneDay},
		"refused":            {api(400, 131030), askRefused, 0, askRest},
		"refused, with time": {&whatsapp.APIError{Status: 429, Code: 131056, RetryAfter: 5 * time.Minute}, askRefused, 0, 5 * time.Minute},
		"over the limit":     {api(400, whatsapp.CodeAskLimit), askRefused, 0, limitRest},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.give(whatsapp.Permission{}.Spoke(at(0)))
			o.meta.request = func(whatsapp.AskKind) error { return c.err }
			if err := o.askAt(at(0)); !errors.Is(err, c.err) {
				t.Errorf("got %v", err)
			}
			row := o.row()
			if got := len(row.Asks); got != c.counts || !row.NextAsk(at(0), worldRules).Equal(at(c.rest)) {
				t.Errorf("%d count, next at %v", got, row.NextAsk(at(0), worldRules))
			}
			if got := counted(t, o.metrics.requests[c.outcome]); got != 1 {
				t.Errorf("%v counted as %s", got, c.outcome)
			}
			if len(o.meta.asked) != 1 {
				t.Errorf("%d requests were sent", len(o.meta.asked))
			}
		})
	}
}

func TestAskForms(t *testing.T) {
	plain := worldRules
	plain.Request.Template = config.Template{}
	needTemplate := func(kind whatsapp.AskKind) error {
		if kind == whatsapp.FreeForm {
			return &whatsapp.APIError{Status: 400, Code: whatsapp.CodeNeedTemplate}
		}
		return nil
	}
	for name, c := range map[string]struct {
		rules   config.Permissions
		spoke   bool
		request func(whatsapp.AskKind) error
		sent    []whatsapp.AskKind
		err     error
		counts  int
	}{
		"inside the window":                    {worldRules, true, nil, []whatsapp.AskKind{whatsapp.FreeForm}, nil, 1},
		"outside":                              {worldRules, false, nil, []whatsapp.AskKind{whatsapp.Template}, nil, 1},
		"outside, no template":                 {plain, false, nil, nil, whatsapp.ErrNoTemplate, 0},
		"inside, Meta sees it otherwise":       {worldRules, true, needTemplate, []whatsapp.AskKind{whatsapp.FreeForm, whatsapp.Template}, nil, 1},
		"inside, Meta does not, no template":   {plain, true, needTemplate, []whatsapp.AskKind{whatsapp.FreeForm}, &whatsapp.APIError{}, 0},
		"given permanently in the meantime":    {worldRules, true, nil, nil, &whatsapp.PermissionError{}, 0},
		"the caller went away before it began": {worldRules, true, nil, []whatsapp.AskKind{whatsapp.FreeForm}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOffice(t)
			o.set(c.rules)
			if c.spoke {
				o.hear(whatsapp.Spoke{Meta: whatsapp.Meta{Key: "m", NumberID: worldNumber.PhoneNumberID, At: at(-time.Hour)}, User: worldUser})
			}
			if name == "given permanently in the meantime" {
				o.meta.read = func() (whatsapp.PermissionState, error) {
					return whatsapp.PermissionState{From: at(0), To: at(0), Status: whatsapp.Permanent}, nil
				}
			}
			o.meta.request = c.request
			ctx, cancel := context.WithCancel(t.Context())
			if name == "the caller went away before it began" {
				o.learn(ctx, worldNumber, worldUser.Callee(), o.row(), at(0))
			}
			err := o.ask(ctx, worldNumber, worldUser.Callee(), at(0))
			cancel()
			switch want := c.err.(type) { //nolint:errorlint // they are not wrapped here
			case *whatsapp.APIError:
				if metaCode(err) == 0 {
					t.Errorf("got %v", err)
				}
			case *whatsapp.PermissionError:
				if no := refusal(err); no == nil || no.Reason != whatsapp.ReasonGranted {
					t.Errorf("got %v", err)
				}
			default:
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			if !reflect.DeepEqual(o.meta.asked, c.sent) || len(o.row().Asks) != c.counts {
				t.Errorf("sent %v, %d count", o.meta.asked, len(o.row().Asks))
			}
		})
	}
}

// A caller who has gone does not leave a request that counts and was not sent.
func TestAskOutlivesItsCaller(t *testing.T) {
	o := newOffice(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.ask(ctx, worldNumber, worldUser.Callee(), at(0)); err != nil || len(o.meta.asked) != 1 {
		t.Errorf("sent %v, %v", o.meta.asked, err)
	}
}

func TestUndeliveredRequest(t *testing.T) {
	o := newOffice(t)
	if err := o.askAt(at(0)); err != nil {
		t.Fatal(err)
	}
	m := whatsapp.Meta{Key: "f1", NumberID: worldNumber.PhoneNumberID, At: at(time.Minute)}
	o.hear(whatsapp.MessageFailed{Meta: m, User: worldUser, MessageID: "wamid.else", Errors: []whatsapp.HookError{{Code: 131049}}})
	if v := viewPermission(o.row(), at(time.Hour), worldRules); v.State != "requested" {
		t.Errorf("another message's failure: %+v", v)
	}
	m.Key = "f2"
	o.hear(whatsapp.MessageFailed{Meta: m, User: whatsapp.User{Number: worldUser.Number}, MessageID: "wamid.1", Errors: []whatsapp.HookError{{Code: 131026}}})
	if v := viewPermission(o.row(), at(time.Hour), worldRules); v.State != "none" || v.RequestError != 131026 || v.Requests24h != 1 {
		t.Errorf("undelivered: %+v", v)
	}
	if got := counted(t, o.metrics.requests[askUndelivered]); got != 1 {
		t.Errorf("counted %v", got)
	}
}

// Many agents dial the same customer at once, in several lives of the process:
// one request leaves.
func TestAskAtOnce(t *testing.T) {
	o := newOffice(t)
	var sent atomic.Int32
	o.meta.request = func(whatsapp.AskKind) error { sent.Add(1); return nil }
	for life := range 3 {
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if err := o.askAt(at(time.Duration(life) * time.Hour)); err != nil && refusal(err) == nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		o.shut()
		o.open()
	}
	if sent.Load() != 1 {
		t.Errorf("%d requests left", sent.Load())
	}
}

// Events that a crash left undone have their effect at the next start, once.
func TestUndoneReplies(t *testing.T) {
	o := newOffice(t)
	ctx := t.Context()
	yes := yesAt(at(0), at(oneWeek))
	if _, err := o.db.Journal(ctx, []store.Event{{Key: yes.Key, Kind: string(yes.Kind()), At: yes.At, Body: []byte("{}")}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		o.shut()
		o.open()
		undone, err := o.db.Undone(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range undone {
			o.hear(yes)
		}
	}
	if undone, err := o.db.Undone(ctx); err != nil || len(undone) != 0 {
		t.Errorf("undone: %v, %v", undone, err)
	}
	if err := o.mayCallAt(at(time.Hour)); err != nil {
		t.Error(err)
	}
}

// Meta is asked when the ledger knows nothing good, and then not for a while.
func TestReadsAreFew(t *testing.T) {
	o := newOffice(t)
	now := at(0)
	status := whatsapp.NoConsent
	o.meta.read = func() (whatsapp.PermissionState, error) {
		return whatsapp.PermissionState{From: now, To: now, Status: status}, nil
	}
	for _, step := range []struct {
		after time.Duration
		reads int
		ok    bool
	}{
		{0, 1, false}, {time.Minute, 1, false}, {readFor, 2, false}, {readFor + time.Minute, 2, false}, {3 * readFor, 3, true}, {oneDay, 3, true},
	} {
		now = at(step.after)
		if step.reads == 3 {
			status = whatsapp.Permanent
		}
		if err := o.mayCallAt(now); (err == nil) != step.ok || o.meta.reads != step.reads {
			t.Errorf("after %v: %v, %d reads", step.after, err, o.meta.reads)
		}
	}
	// Of the row of unanswered calls Meta tells nothing.
	p := o.row()
	for n := range 3 {
		p = p.Unanswered(whatsapp.CallID(fmt.Sprint(n)), at(oneDay+time.Duration(n)*time.Minute))
	}
	o.give(p)
	if err := o.mayCallAt(at(2 * oneDay)); err == nil || o.meta.reads != 3 {
		t.Errorf("%v, %d reads", err, o.meta.reads)
	}
}

// One who asks while somebody asks for the same customer waits for that answer.
func TestReadTogether(t *testing.T) {
	o := newOffice(t)
	inside, let := make(chan struct{}), make(chan struct{})
	o.meta.read = func() (whatsapp.PermissionState, error) {
		close(inside)
		<-let
		return whatsapp.PermissionState{From: at(0), To: at(0), Status: whatsapp.Permanent}, nil
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.mayCallAt(at(0)); err != nil {
			t.Error(err)
		}
	})
	<-inside
	for range 5 {
		wg.Go(func() {
			if err := o.mayCallAt(at(0)); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.mayCall(ctx, worldNumber, worldUser.Callee(), at(0)); err == nil {
		t.Error("allowed without an answer")
	}
	close(let)
	wg.Wait()
	if o.meta.reads != 1 {
		t.Errorf("%d reads", o.meta.reads)
	}
}

// News that come while Meta is asked are not overwritten by its answer.
func TestNewsDuringRead(t *testing.T) {
	o := newOffice(t)
	o.meta.read = func() (whatsapp.PermissionState, error) {
		o.hear(yesAt(at(0), at(oneWeek)))
		return whatsapp.PermissionState{From: at(-metaClock), To: at(metaClock)}, nil
	}
	if err := o.mayCallAt(at(0)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestReadFails(t *testing.T) {
	o := newOffice(t)
	o.reads.every = readEvery
	for name, c := range map[string]struct {
		err   error
		pause bool
	}{
		"too often":  {&whatsapp.APIError{Status: 429, Code: 613}, true},
		"no way":     {fmt.Errorf("dial: %w", whatsapp.ErrNotSent), true},
		"a bad user": {&whatsapp.APIError{Status: 400, Code: 100}, false},
	} {
		o.reads = newMetaReads(readEvery)
		o.meta.read = func() (whatsapp.PermissionState, error) { return whatsapp.PermissionState{}, c.err }
		before := o.meta.reads
		for range 2 {
			if no := refusal(o.mayCallAt(at(0))); no == nil || no.Reason != whatsapp.ReasonNone {
				t.Errorf("%s: %v", name, no)
			}
		}
		if got := o.meta.reads - before; (got == 1) != c.pause {
			t.Errorf("%s: %d reads", name, got)
		}
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMetaReads(readEvery)
		started, turns := time.Now(), 0
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 20 {
			wg.Go(func() {
				if r.wait(t.Context(), "a") {
					mu.Lock()
					turns++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if took := time.Since(started); turns != 3 || took != 2*readEvery {
			t.Errorf("%d turns in %v", turns, took)
		}
		if !r.wait(t.Context(), "b") || time.Since(started) != 2*readEvery {
			t.Error("another number has to wait")
		}
		r.pause("b", readPause)
		if r.wait(t.Context(), "b") {
			t.Error("asked in a pause")
		}
		time.Sleep(readPause)
		if !r.wait(t.Context(), "b") {
			t.Error("the pause has no end")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r.wait(ctx, "b") {
			t.Error("asked for somebody who has gone")
		}
	})
}

// Meta's refusal of a call that the ledger allowed.
func TestRefusedCall(t *testing.T) {
	o := newOffice(t)
	who := worldUser.Callee()
	o.hear(yesAt(at(0), at(oneWeek)))
	for _, other := range []error{nil, errors.New("no"), &whatsapp.APIError{Status: 400, Code: 138003}} {
		if err := o.refusedCall(t.Context(), worldNumber, who, other, at(time.Hour)); err != nil || o.mayCallAt(at(time.Hour)) != nil {
			t.Errorf("learnt from %v: %v", other, err)
		}
	}
	limit := &whatsapp.APIError{Status: 400, Code: whatsapp.CodeCallLimit, Details: fmt.Sprint("again at ", at(3*time.Hour).Unix())}
	if err := o.refusedCall(t.Context(), worldNumber, who, fmt.Errorf("connect call: %w", limit), at(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if no := refusal(o.mayCallAt(at(2 * time.Hour))); no == nil || !no.Limited() || !no.Again.Equal(at(3*time.Hour)) {
		t.Errorf("after 138012: %+v", no)
	}
	if err := o.mayCallAt(at(3 * time.Hour)); err != nil {
		t.Errorf("later: %v", err)
	}
	if err := o.refusedCall(t.Context(), worldNumber, who, &whatsapp.APIError{Status: 401, Code: whatsapp.CodeNoConsent}, at(4*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if no := refusal(o.mayCallAt(at(4 * time.Hour))); no == nil || no.Reason != whatsapp.ReasonRevoked {
		t.Errorf("after 138006: %+v", no)
	}
}

// What a call tells by itself counts as what Meta's webhooks tell of it.
func TestEndsOfCalls(t *testing.T) {
	o := newOffice(t)
	who, number := worldUser.Callee(), worldNumber.PhoneNumberID
	o.hear(yesAt(at(0), at(oneWeek)))
	check := func(err error, what string, streak, calls int) {
		t.Helper()
		if row := o.row(); err != nil || row.Streak() != streak || len(row.Calls) != calls {
			t.Errorf("%s: %v, %d missed, %d connected", what, err, row.Streak(), len(row.Calls))
		}
	}
	terminate := func(id whatsapp.CallID, when time.Time) whatsapp.Terminate {
		return whatsapp.Terminate{
			Meta: whatsapp.Meta{NumberID: number, CallID: id, At: when}, User: worldUser, Direction: whatsapp.BusinessInitiated,
		}
	}
	check(o.unanswered(t.Context(), number, who, "wacid.1", at(time.Minute)), "given up", 1, 0)
	check(o.apply(t.Context(), terminate("wacid.1", at(time.Minute))), "and told so", 1, 0)
	check(o.apply(t.Context(), terminate("wacid.2", at(2*time.Minute))), "given up before it rang", 1, 0)
	check(o.rejected(t.Context(), number, who, "wacid.3", at(3*time.Minute)), "rejected", 2, 0)
	rang := whatsapp.Status{Meta: whatsapp.Meta{NumberID: number, CallID: "wacid.4", At: at(4 * time.Minute)}, User: worldUser, State: whatsapp.Ringing}
	check(o.apply(t.Context(), rang), "rings", 2, 0)
	failed := terminate("wacid.4", at(4*time.Minute))
	failed.Failed, failed.Errors = true, []whatsapp.HookError{{Code: 138020}}
	check(o.apply(t.Context(), failed), "failed", 2, 0)
	check(o.answered(t.Context(), number, who, at(5*time.Minute)), "the customer called", 2, 0)
	check(o.connected(t.Context(), number, who, "wacid.5", at(6*time.Minute)), "answered", 0, 1)
	up := terminate("wacid.5", at(9*time.Minute))
	up.Start = at(6 * time.Minute)
	check(o.apply(t.Context(), up), "and told so", 0, 1)
	user := terminate("wacid.6", at(10*time.Minute))
	user.Direction, user.Start = whatsapp.UserInitiated, at(9*time.Minute)
	check(o.apply(t.Context(), user), "the customer's call is over", 0, 1)
	user.User, user.CallID = whatsapp.User{}, "wacid.7"
	check(o.apply(t.Context(), user), "of nobody", 0, 1)
	check(o.apply(t.Context(), whatsapp.Answer{Meta: up.Meta, User: worldUser}), "an answer", 0, 1)
	if talked := o.row().TalkedAt; !talked.Equal(at(9 * time.Minute)) {
		t.Errorf("talked at %v", talked)
	}
}

func TestEventsOfNobody(t *testing.T) {
	o := newOffice(t)
	if _, err := o.db.Journal(t.Context(), []store.Event{{Key: "yes"}}); err != nil {
		t.Fatal(err)
	}
	yes := yesAt(at(0), at(oneWeek))
	yes.User = whatsapp.User{Name: "Nuria"}
	o.hear(yes)
	if undone, err := o.db.Undone(t.Context()); err != nil || len(undone) != 0 {
		t.Errorf("undone: %v, %v", undone, err)
	}
}

func TestMovedCustomer(t *testing.T) {
	o := newOffice(t)
	o.hear(yesAt(at(0), at(oneWeek)))
	next := whatsapp.User{Number: "34655667788", UserID: "ES.4"}
	o.hear(whatsapp.UserMoved{
		Meta: whatsapp.Meta{Key: "m", NumberID: worldNumber.PhoneNumberID, At: at(time.Hour)}, Old: worldUser, New: next,
	})
	if err := o.mayCall(t.Context(), worldNumber, whatsapp.Callee{Number: "+34655667788"}, at(2*time.Hour)); err != nil {
		t.Errorf("the new number: %v", err)
	}
	if err := o.mayCallAt(at(2 * time.Hour)); err == nil {
		t.Error("the old one may be called")
	}
}

func TestStoreFails(t *testing.T) {
	o := newOffice(t)
	o.shut()
	if err := o.mayCallAt(at(0)); err == nil || refusal(err) != nil {
		t.Errorf("may call: %v", err)
	}
	if err := o.askAt(at(0)); err == nil || refusal(err) != nil || len(o.meta.asked) != 0 {
		t.Errorf("asked: %v", err)
	}
	if got := counted(t, o.metrics.requests[askFailed]); got != 1 {
		t.Errorf("counted %v", got)
	}
	if _, err := o.state(t.Context(), worldNumber, worldUser.Callee(), at(0)); err == nil {
		t.Error("there is a state")
	}
	o.open()
}

func TestUnknownNumber(t *testing.T) {
	o := newOffice(t)
	o.graph = func(string) asker { return nil }
	if err := o.askAt(at(0)); err == nil || refusal(err) != nil {
		t.Errorf("asked: %v", err)
	}
	if no := refusal(o.mayCallAt(at(0))); no == nil {
		t.Error("may call")
	}
}

func TestParseCallee(t *testing.T) {
	for text, want := range map[string]whatsapp.Callee{
		"+34600111222":             {Number: "+34600111222"},
		"34600111222":              {Number: "+34600111222"},
		"ES.20914466382001574":     {UserID: "ES.20914466382001574"},
		"ES.ENT.30755128840066190": {UserID: "ES.ENT.30755128840066190"},
		"":                         {}, "es.1": {}, "ES.": {}, "ES.1/2": {}, "0034600111222": {}, "nuria": {},
	} {
		got, ok := parseCallee(text)
		if got != want || ok != (want != whatsapp.Callee{}) {
			t.Errorf("%q is %+v, %v", text, got, ok)
		}
	}
}

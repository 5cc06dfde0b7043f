package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

// permissionWorld is Meta, one customer and the network between them and a
// gateway's permissions, in a time of its own.
type permissionWorld struct {
	purging bool // idle customers are purged
	purged  int

	t       *testing.T
	rnd     *rand.Rand
	seed    uint64
	prompt  bool // webhooks come at once and Meta never fails
	silent  bool // Meta does not tell its limit of calls
	rules   config.Permissions
	now     time.Time
	p       *permissions
	rows    *memoryLedger
	oracle  *oracle
	story   [60]told // the last of them, in a ring
	lines   int
	metrics *permissionMetrics
	seen    map[int]int // Meta's refusals of calls
	waiting []late
	heard   []whatsapp.Event // delivered, for telling again
	undone  []whatsapp.Event // delivered to a process that died
	ids     int

	// What Meta knows.
	state     whatsapp.Consent
	granted   time.Time
	expires   time.Time
	sent      []time.Time // requests since the last connected call
	asked     time.Time   // last request that arrived
	askID     string
	connected []time.Time
	streak    int
	window    time.Time
	max       int
}

// late is a webhook on its way.
type late struct {
	at time.Time
	ev whatsapp.Event
}

var (
	worldNumber = config.Number{Name: "support", PhoneNumberID: "401122334455667"}
	worldUser   = whatsapp.User{Number: "34600111222", UserID: "ES.20914466382001574"}
	worldRules  = withTemplate(config.Default().Permissions)
)

func withTemplate(p config.Permissions) config.Permissions {
	p.Request.Template = config.Template{Name: "ask_to_call", Language: "en"}
	return p
}

func newPermissionWorld(t *testing.T, seed uint64, m *permissionMetrics) *permissionWorld {
	t.Helper()
	w := &permissionWorld{
		t: t, metrics: m, seen: map[int]int{}, rnd: rand.New(rand.NewPCG(seed, 7)), seed: seed, prompt: seed%3 == 0,
		now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), max: 100, rules: worldRules,
	}
	switch seed % 5 {
	case 0:
		w.rules.CallWindow = 0
	case 1:
		w.rules.CallWindow = config.Window(5 * time.Hour)
	}
	if seed%4 == 1 { // a sandbox
		w.rules.RequestsPer24h, w.rules.RequestsPer7d = 3, 5
	}
	w.purging = seed%7 == 3
	w.oracle = newOracle(w.rules)
	w.rows = &memoryLedger{world: w, done: map[string]bool{}}
	if !w.prompt && seed%2 == 0 {
		w.max, w.silent = 3, seed%4 == 0
	}
	w.start()
	return w
}

// start is a new process with what the old one has on disk.
func (w *permissionWorld) start() {
	text, err := json.Marshal(w.rows.row)
	if err != nil {
		w.t.Fatal(err)
	}
	var back whatsapp.Permission
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, w.rows.row) {
		w.fail("the ledger changes on disk: %s", text)
	}
	w.rows.row = back
	w.p = newPermissions(w.rows, func(string) asker { return w }, func() config.Permissions { return w.rules },
		w.metrics, slog.New(slog.DiscardHandler))
	w.p.reads.every = 0
	undone := w.undone
	w.undone = nil
	for _, ev := range undone {
		if !w.forgotten(ev) {
			w.deliver(ev)
		}
	}
}

// told is a line of the story, put into words when somebody asks.
type told struct {
	at     time.Time
	format string
	args   []any
}

func (w *permissionWorld) note(format string, args ...any) {
	w.story[w.lines%len(w.story)] = told{w.now, format, args}
	w.lines++
}

func (w *permissionWorld) fail(format string, args ...any) {
	w.t.Helper()
	for i := max(w.lines-len(w.story), 0); i < w.lines; i++ {
		line := w.story[i%len(w.story)]
		w.t.Logf(line.at.Format("02 15:04:05 ")+line.format, line.args...)
	}
	w.t.Logf("row %+v", w.rows.row)
	w.t.Fatalf("seed %d at %v: "+format, append([]any{w.seed, w.now}, args...)...)
}

func (w *permissionWorld) chance(p float64) bool { return w.rnd.Float64() < p }

func (w *permissionWorld) id(kind string) string {
	w.ids++
	return fmt.Sprintf("%s.%d", kind, w.ids)
}

func (w *permissionWorld) about(at time.Time, call whatsapp.CallID, key string) whatsapp.Meta {
	return whatsapp.Meta{Key: key, NumberID: worldNumber.PhoneNumberID, CallID: call, At: at}
}

// hook sends a webhook.
func (w *permissionWorld) hook(ev whatsapp.Event) {
	if w.prompt {
		w.deliver(ev)
		return
	}
	wait := time.Duration(w.rnd.ExpFloat64() * float64(time.Minute))
	switch {
	case w.chance(0.1):
		wait = time.Duration(w.rnd.Int64N(int64(6 * oneDay)))
	case w.chance(0.2):
		wait = time.Duration(w.rnd.Int64N(int64(3 * time.Hour)))
	}
	w.waiting = append(w.waiting, late{w.now.Add(wait), ev})
}

// deliver hands an event to the gateway, which may die of it.
func (w *permissionWorld) deliver(ev whatsapp.Event) {
	w.note("told %+v", ev)
	if !w.prompt && w.chance(0.02) {
		w.rows.broken = true
		if err := w.p.apply(context.Background(), ev, true); err == nil && !w.rows.broken {
			w.fail("a broken disk was not noticed")
		}
		w.rows.broken = false
		w.undone = append(w.undone, ev)
		return
	}
	if err := w.p.apply(context.Background(), ev, true); err != nil {
		w.fail("apply: %v", err)
	}
	w.oracle.heard(ev)
	w.heard = append(w.heard, ev)
}

// catchUp delivers what is due, in any order, some of it twice.
func (w *permissionWorld) catchUp() {
	w.rnd.Shuffle(len(w.waiting), func(i, j int) { w.waiting[i], w.waiting[j] = w.waiting[j], w.waiting[i] })
	rest := w.waiting[:0:0]
	for _, l := range w.waiting {
		if l.at.After(w.now) {
			rest = append(rest, l)
			continue
		}
		w.deliver(l.ev)
	}
	w.waiting = rest
	if len(w.heard) > 0 && w.chance(0.1) {
		ev := w.heard[w.rnd.IntN(len(w.heard))]
		if w.forgotten(ev) {
			return
		}
		if w.chance(0.5) {
			clear(w.rows.done) // the journal has forgotten it
		}
		w.note("told again %T", ev)
		if err := w.p.apply(context.Background(), ev, true); err != nil {
			w.fail("apply: %v", err)
		}
	}
}

// purge forgets the customer when nothing counts any more. The oracle is not
// told: it goes on with all that it knows.
func (w *permissionWorld) purge() {
	if w.purging && !reflect.DeepEqual(w.rows.row, whatsapp.Permission{}) && w.rows.row.Idle(w.now) {
		w.note("purged")
		w.rows.row = whatsapp.Permission{}
		w.purged++
	}
}

// forgotten says that an event is too old for Meta to tell it again, where that
// matters.
func (w *permissionWorld) forgotten(ev whatsapp.Event) bool {
	return w.purging && w.now.Sub(ev.About().At) > 7*oneDay
}

// permitted is what Meta would say to a call.
func (w *permissionWorld) permitted() bool {
	return w.state == whatsapp.Permanent || w.state == whatsapp.Temporary && w.now.Before(w.expires)
}

// within counts the times of the last period and says when the oldest of them
// is out of it.
func within(at []time.Time, now time.Time, period time.Duration) (n int, next time.Time) {
	for _, t := range at {
		if now.Sub(t) < period {
			if n == 0 {
				next = t.Add(period)
			}
			n++
		}
	}
	return n, next
}

// RequestPermission is Meta's side of a request.
func (w *permissionWorld) RequestPermission(
	_ context.Context, to whatsapp.Callee, kind whatsapp.AskKind, _ config.AskMessage, tag string,
) (whatsapp.Receipt, error) {
	inDay, _ := within(w.sent, w.now, oneDay)
	inWeek, _ := within(w.sent, w.now, oneWeek)
	switch {
	case to.Number == "" || tag == "":
		w.fail("a request to nobody, or without a tag")
	case kind == whatsapp.FreeForm && !w.now.Before(w.window):
		w.fail("a free text outside the customer service window")
	case kind == whatsapp.Template && w.oracle.window(w.now):
		w.fail("a template inside the customer service window")
	case inDay >= w.rules.RequestsPer24h || inWeek >= w.rules.RequestsPer7d:
		w.fail("a request beyond the limits: %v", w.sent)
	case w.state == whatsapp.Permanent:
		w.note("request: permanent")
		return whatsapp.Receipt{}, &whatsapp.APIError{Status: http.StatusBadRequest, Code: whatsapp.CodePermanent}
	}
	if !w.prompt {
		switch w.rnd.IntN(12) {
		case 0:
			w.note("request: not sent")
			return whatsapp.Receipt{}, fmt.Errorf("dial: %w", whatsapp.ErrNotSent)
		case 1:
			w.note("request: refused")
			w.oracle.noAsk, w.oracle.noAskSet = w.now.Add(askRest), w.now
			return whatsapp.Receipt{}, &whatsapp.APIError{Status: http.StatusTooManyRequests, Code: 131056}
		case 2:
			w.note("request: lost, or the process died before")
			w.oracle.slot(w.now)
			return whatsapp.Receipt{}, fmt.Errorf("read: %w", whatsapp.ErrUnknown)
		case 3:
			w.arrived()
			return whatsapp.Receipt{}, &whatsapp.APIError{Status: http.StatusInternalServerError, Code: 131000}
		}
	}
	w.arrived()
	if w.chance(0.1) {
		m := w.about(w.now.Add(time.Second), "", w.id("key"))
		m.Tag = tag
		w.hook(whatsapp.MessageFailed{Meta: m, User: whatsapp.User{Number: worldUser.Number}, MessageID: w.askID, Errors: []whatsapp.HookError{{Code: 131026}}})
	}
	return whatsapp.Receipt{MessageID: w.askID, User: worldUser}, nil
}

func (w *permissionWorld) arrived() {
	w.note("request: taken")
	w.sent = append(w.sent, w.now)
	w.oracle.slot(w.now)
	w.asked, w.askID = w.now, w.id("wamid")
}

// Permissions is Meta's side of a question.
func (w *permissionWorld) Permissions(context.Context, whatsapp.Callee) (whatsapp.PermissionState, error) {
	if !w.prompt && w.chance(0.1) {
		return whatsapp.PermissionState{}, &whatsapp.APIError{Status: http.StatusTooManyRequests, Code: 613}
	}
	s := whatsapp.PermissionState{From: w.now.Add(-metaClock), To: w.now.Add(metaClock)}
	if w.permitted() {
		s.Status = w.state
	}
	if s.Status == whatsapp.Temporary {
		s.Expires = w.expires
	}
	calls, free := within(w.connected, w.now, oneDay)
	limit := whatsapp.Limit{Period: oneDay, Max: w.max, Used: calls}
	if calls >= w.max {
		limit.Until = free
	}
	s.Call = whatsapp.Allowance{Told: true, Allowed: w.permitted() && calls < w.max, Limits: []whatsapp.Limit{limit}}
	if w.silent {
		s.Call = whatsapp.Allowance{}
	}
	inDay, nextDay := within(w.sent, w.now, oneDay)
	inWeek, nextWeek := within(w.sent, w.now, oneWeek)
	s.Ask = whatsapp.Allowance{Told: true, Allowed: inDay < w.rules.RequestsPer24h && inWeek < w.rules.RequestsPer7d && s.Status != whatsapp.Permanent, Limits: []whatsapp.Limit{
		{Period: oneDay, Max: w.rules.RequestsPer24h, Used: inDay}, {Period: oneWeek, Max: w.rules.RequestsPer7d, Used: inWeek},
	}}
	if inDay >= w.rules.RequestsPer24h && s.Status != whatsapp.Permanent {
		s.Ask.Limits[0].Until = nextDay
	}
	if inWeek >= w.rules.RequestsPer7d && s.Status != whatsapp.Permanent {
		s.Ask.Limits[1].Until = nextWeek
	}
	w.note("read %+v", s)
	w.oracle.read(w.now, s)
	return s, nil
}

// memoryLedger keeps one customer and compares every request that is taken with
// the oracle.
type memoryLedger struct {
	world  *permissionWorld
	row    whatsapp.Permission
	done   map[string]bool
	broken bool   // the next write fails
	rush   func() // runs between a look and the taking of a request
}

var errBroken = errors.New("disk is broken")

func (m *memoryLedger) Permission(context.Context, string, whatsapp.Callee) (whatsapp.Permission, error) {
	return m.row, nil
}

func (m *memoryLedger) ApplyPermission(
	_ context.Context, key, _ string, _ whatsapp.Callee, _ time.Time, change func(whatsapp.Permission) whatsapp.Permission,
) (was, is whatsapp.Permission, err error) {
	if m.broken {
		m.broken = false
		return m.row, m.row, errBroken
	}
	was = m.row
	if key == "" || !m.done[key] {
		m.row = change(was)
	}
	if key != "" {
		m.done[key] = true
	}
	return was, m.row, nil
}

func (m *memoryLedger) TakeRequest(
	_ context.Context, _ string, _ whatsapp.Callee, take func(whatsapp.Permission) (whatsapp.Permission, error),
) (whatsapp.Permission, error) {
	if rush := m.rush; rush != nil {
		m.rush = nil
		rush()
	}
	w := m.world
	next, err := take(m.row)
	if want := w.oracle.mayAsk(w.now); want != (err == nil) {
		w.fail("a request is refused with %v, the rules allow it: %v", err, want)
	}
	if err != nil {
		return m.row, err
	}
	m.row = next
	return next, nil
}

func (m *memoryLedger) MoveCustomer(context.Context, string, string, whatsapp.Callee, whatsapp.Callee, time.Time) error {
	return nil
}

func (m *memoryLedger) Done(context.Context, string) error { return nil }

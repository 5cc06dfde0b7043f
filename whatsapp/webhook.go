package whatsapp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"wagate/config"
)

const (
	// maxBody is the size of the largest delivery that Meta makes.
	maxBody = 3 << 20
	// journalLimit is how long the disk may take before Meta is asked to come
	// again.
	journalLimit = 5 * time.Second
	// maxChallenge is the length of the longest number that is echoed.
	maxChallenge = 20
)

// Journaled is one event on its way to the disk.
type Journaled struct {
	Key    string
	Kind   Kind
	CallID CallID
	At     time.Time
	Body   []byte // for ParseEvent
}

// Journal makes a delivery durable before Meta is told that we have it. It
// returns for each event whether it is new. When it returns an error nothing
// may be kept, because Meta will come again.
type Journal func(ctx context.Context, events []Journaled) (fresh []bool, err error)

// Webhook is the http.Handler that Meta calls. A delivery is checked, written
// to the journal whole, answered, and its fresh events are then delivered in
// their order, one by one.
type Webhook struct {
	journal Journal
	deliver func(Event)
	metrics *Metrics
	log     *slog.Logger
	now     func() time.Time
	trust   atomic.Pointer[trust]
}

// trust is whom we believe and what concerns us: it changes as a whole.
type trust struct {
	secrets [][]byte
	verify  string
	numbers map[string]bool // by phone_number_id
}

// NewWebhook returns the handler. deliver must not block: it runs on the
// request's goroutine. Without a secret there is no webhook.
func NewWebhook(cfg config.WhatsApp, journal Journal, deliver func(Event), m *Metrics, log *slog.Logger) (*Webhook, error) {
	t, err := newTrust(cfg)
	if err != nil {
		return nil, err
	}
	w := &Webhook{journal: journal, deliver: deliver, metrics: m, log: log, now: time.Now}
	w.trust.Store(t)
	return w, nil
}

func newTrust(cfg config.WhatsApp) (*trust, error) {
	t := &trust{verify: cfg.VerifyToken.Reveal(), numbers: map[string]bool{}}
	for _, s := range cfg.AppSecrets {
		if s == "" {
			return nil, errors.New("an app secret is empty: webhooks could not be told from forgeries")
		}
		t.secrets = append(t.secrets, []byte(s.Reveal()))
	}
	if len(t.secrets) == 0 {
		return nil, errors.New("no app secret: webhooks could not be told from forgeries")
	}
	if t.verify == "" {
		return nil, errors.New("no verify token: anybody could subscribe us")
	}
	for _, n := range cfg.Numbers {
		t.numbers[n.PhoneNumberID] = true
	}
	return t, nil
}

// Reload takes new secrets, verify token and numbers, all at once. Events of
// numbers that are gone are delivered on: a call of theirs may be up. Settings
// that NewWebhook would refuse change nothing.
func (w *Webhook) Reload(cfg config.WhatsApp) {
	t, err := newTrust(cfg)
	if err != nil {
		w.log.Error("webhook keeps its old secrets", slog.Any("error", err))
		return
	}
	for id := range w.trust.Load().numbers {
		t.numbers[id] = true
	}
	w.trust.Store(t)
}

// ServeHTTP implements http.Handler. The path is the caller's to check.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	started := w.now()
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	var code int
	var events []Event
	switch r.Method {
	case http.MethodGet:
		code = w.verify(rw, r)
	case http.MethodPost:
		code, events = w.receive(rw, r)
		w.answer(rw, code)
	default:
		rw.Header().Set("Allow", "GET, POST")
		code = http.StatusMethodNotAllowed
		w.answer(rw, code)
	}
	w.metrics.answered(code, w.now().Sub(started))
	for _, ev := range events {
		w.deliver(ev)
	}
}

// answer sends the whole answer now: what follows must not keep Meta waiting.
func (w *Webhook) answer(rw http.ResponseWriter, code int) {
	var text string
	if code != http.StatusOK {
		text = http.StatusText(code) + "\n"
	}
	rw.Header().Set("Content-Length", strconv.Itoa(len(text)))
	rw.WriteHeader(code)
	_, _ = io.WriteString(rw, text) // whoever went away is told again
	_ = http.NewResponseController(rw).Flush()
}

// verify answers the question by which Meta subscribes.
func (w *Webhook) verify(rw http.ResponseWriter, r *http.Request) int {
	q := r.URL.Query()
	known := sameToken(q.Get("hub.verify_token"), w.trust.Load().verify)
	challenge := q.Get("hub.challenge")
	code := http.StatusOK
	switch {
	case q.Get("hub.mode") != "subscribe" || !known:
		code = http.StatusForbidden
	case !digits(challenge) || len(challenge) > maxChallenge:
		code = http.StatusBadRequest // echoing anything else would serve an attacker's page
	}
	if code != http.StatusOK {
		w.answer(rw, code)
		return code
	}
	rw.WriteHeader(code)
	_, _ = io.WriteString(rw, challenge)
	return code
}

// receive takes a delivery as far as the journal. Nothing of a body is looked
// at, or logged, before its signature.
func (w *Webhook) receive(rw http.ResponseWriter, r *http.Request) (code int, fresh []Event) {
	t := w.trust.Load()
	if r.ContentLength > maxBody {
		return http.StatusRequestEntityTooLarge, nil
	}
	sum, ok := readSignature(r.Header)
	if !ok {
		w.metrics.signatures.Inc()
		return http.StatusUnauthorized, nil
	}
	raw, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	if err != nil {
		var tooLong *http.MaxBytesError
		if errors.As(err, &tooLong) {
			return http.StatusRequestEntityTooLarge, nil
		}
		return http.StatusBadRequest, nil
	}
	if !signed(raw, sum, t.secrets) {
		w.metrics.signatures.Inc()
		return http.StatusUnauthorized, nil
	}
	batch, err := parse(raw, t.numbers)
	if err != nil {
		w.log.Warn("signed webhook cannot be read", slog.Any("error", err), slog.Int("bytes", len(raw)))
		return http.StatusBadRequest, nil
	}
	w.settle(&batch)
	w.report(batch)
	fresh, err = w.record(r.Context(), batch.events)
	if err != nil {
		w.log.Error("webhook not journaled", slog.Any("error", err), slog.Int("events", len(batch.events)))
		return http.StatusInternalServerError, nil
	}
	return http.StatusOK, fresh
}

// report counts what is not delivered, and the errors that Meta tells.
func (w *Webhook) report(b batch) {
	for _, drop := range b.dropped {
		w.metrics.Outcome(drop.kind, drop.outcome)
		if drop.err != nil {
			w.log.Warn("webhook item skipped", slog.String("kind", string(drop.kind)), slog.Any("error", drop.err))
		}
	}
	for _, e := range b.errors {
		w.metrics.metaError(e.Code)
		w.log.Warn("error from meta", slog.Int("code", e.Code), slog.String("title", quotable(e.Title)), slog.String("details", quotable(e.Details)))
	}
	now := w.now()
	for _, ev := range b.events {
		w.metrics.late(ev.About().At, now)
	}
}

// record journals the events and returns those that are new.
func (w *Webhook) record(ctx context.Context, events []Event) ([]Event, error) {
	if len(events) == 0 {
		return nil, nil
	}
	rows := make([]Journaled, len(events))
	for i, ev := range events {
		text, err := body(ev)
		if err != nil {
			return nil, err
		}
		m := ev.About()
		rows[i] = Journaled{Key: m.Key, Kind: ev.Kind(), CallID: m.CallID, At: m.At, Body: text}
	}
	// Meta hanging up must not leave a delivery that is on disk and with nobody.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), journalLimit)
	defer cancel()
	isNew, err := w.journal(ctx, rows)
	if err != nil {
		return nil, err
	}
	var fresh []Event
	for i, ev := range events {
		if i < len(isNew) && isNew[i] {
			fresh = append(fresh, ev)
			continue
		}
		w.metrics.Outcome(ev.Kind(), OutcomeDuplicate)
	}
	return fresh, nil
}

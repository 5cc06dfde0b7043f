package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/store"
	"wagate/whatsapp"
)

// counted reads one counter or gauge.
func counted(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	families, err := reg.Gather()
	if err != nil || len(families) != 1 {
		t.Fatal(families, err)
	}
	m := families[0].GetMetric()[0]
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() // the one that it is not is 0
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
	news []consentChange
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
	o.changed = func(n consentChange) { o.news = append(o.news, n) }
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
	if err := o.apply(context.Background(), ev, true); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) mayCallAt(at time.Time) error {
	return o.mayCall(context.Background(), worldNumber, worldUser.Callee(), at)
}

func (o *office) askAt(at time.Time) error {
	return o.ask(context.Background(), worldNumber, worldUser.Callee(), at)
}

// at is in the past of any machine's clock: a webhook of the future counts from
// its receipt.
func at(d time.Duration) time.Time {
	return time.Date(2024, 11, 21, 12, 0, 0, 0, time.UTC).Add(d)
}

func yesAt(when, expires time.Time) whatsapp.PermissionReply {
	return whatsapp.PermissionReply{
		Meta: whatsapp.Meta{Key: "yes", NumberID: worldNumber.PhoneNumberID, At: when}, User: worldUser,
		Accept: true, Expires: expires, Context: "wamid.1", MessageID: "wamid.reply",
	}
}

package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/whatsapp"
)

// asker is the Graph API of one business number, as far as it is about
// permission.
type asker interface {
	RequestPermission(
		ctx context.Context, to whatsapp.Callee, kind whatsapp.AskKind, words config.AskMessage, tag string,
	) (whatsapp.Receipt, error)
	Permissions(ctx context.Context, who whatsapp.Callee) (whatsapp.PermissionState, error)
}

// permissionLedger keeps permissions, by Meta's id of the business number.
type permissionLedger interface {
	Permission(ctx context.Context, number string, who whatsapp.Callee) (whatsapp.Permission, error)
	ApplyPermission(
		ctx context.Context, eventKey, number string, who whatsapp.Callee, seen time.Time,
		change func(whatsapp.Permission) whatsapp.Permission,
	) (was, is whatsapp.Permission, err error)
	TakeRequest(
		ctx context.Context, number string, who whatsapp.Callee,
		take func(whatsapp.Permission) (whatsapp.Permission, error),
	) (whatsapp.Permission, error)
	MoveCustomer(ctx context.Context, eventKey, number string, from, to whatsapp.Callee, seen time.Time) error
	Done(ctx context.Context, key string) error
}

var (
	_ asker            = (*whatsapp.Client)(nil)
	_ permissionLedger = (*store.DB)(nil)
)

// consentChange says that a customer's permission is another one, or that the
// customer was asked (was and is may then be the same).
type consentChange struct {
	numberID string
	who      whatsapp.Callee
	was, is  whatsapp.Consent
	asked    bool
}

// permissions decides whom we may call and whom we may ask, tells the ledger
// what happens, and learns from Meta where the ledger does not know. Its
// methods may be called from anywhere; they wait for disk, and where it says so
// for Meta.
type permissions struct {
	ledger  permissionLedger
	graph   func(number string) asker // by name; nil if there is none
	rules   func() config.Permissions
	changed func(consentChange)                        // must not block; nil if nobody listens
	granted func(numberID string, who whatsapp.Callee) // calls were allowed; the same
	metrics *permissionMetrics
	reads   *metaReads
	flights flights
	log     *slog.Logger
}

// newPermissions returns the service. graph gives the Graph API of a business
// number by its name, nil if there is none; rules gives what is configured now.
func newPermissions(
	l permissionLedger, graph func(number string) asker, rules func() config.Permissions, m *permissionMetrics, log *slog.Logger,
) *permissions {
	return &permissions{ledger: l, graph: graph, rules: rules, metrics: m, reads: newMetaReads(readEvery), log: log}
}

// mayCall says whether a customer may be called. A *whatsapp.PermissionError is
// a no; any other error means that it could not be found out. Meta is asked
// when the ledger knows nothing good and has not been told lately, which takes
// a moment.
func (p *permissions) mayCall(ctx context.Context, number config.Number, who whatsapp.Callee, now time.Time) error {
	rules := p.rules()
	known, err := p.known(ctx, number, who, now, rules)
	if err != nil {
		return err
	}
	err = known.MayCall(now, rules)
	p.metrics.denied(err)
	return err
}

// noted is mayCall by what the ledger knows just now.
func (p *permissions) noted(ctx context.Context, number config.Number, who whatsapp.Callee, now time.Time) error {
	known, err := p.ledger.Permission(ctx, number.PhoneNumberID, who)
	if err != nil {
		return fmt.Errorf("look up permission: %w", err)
	}
	return known.MayCall(now, p.rules())
}

// known returns what the ledger knows, after Meta was asked if need be.
func (p *permissions) known(
	ctx context.Context, number config.Number, who whatsapp.Callee, now time.Time, rules config.Permissions,
) (whatsapp.Permission, error) {
	known, err := p.ledger.Permission(ctx, number.PhoneNumberID, who)
	if err != nil {
		return known, fmt.Errorf("look up permission: %w", err)
	}
	if metaKnowsBetter(known, now, rules) {
		known = p.learn(ctx, number, who, known, now)
	}
	return known, nil
}

// state returns a customer's permission as the API shows it. Meta is asked as
// it is for a call.
func (p *permissions) state(
	ctx context.Context, number config.Number, who whatsapp.Callee, now time.Time,
) (permissionView, error) {
	rules := p.rules()
	known, err := p.known(ctx, number, who, now, rules)
	if err != nil {
		return permissionView{}, err
	}
	return viewPermission(known, now, rules), nil
}

// permissionView is a permission as the API shows it; times are null for never.
type permissionView struct {
	State         string   `json:"state"`
	GrantedAt     jsonTime `json:"granted_at"`
	UsableUntil   jsonTime `json:"usable_until"`    // of a temporary grant, by our window too
	MetaExpiresAt jsonTime `json:"meta_expires_at"` // of a temporary grant
	Requests24h   int      `json:"requests_24h"`
	Requests7d    int      `json:"requests_7d"`
	NextRequestAt jsonTime `json:"next_request_at"` // now, if the customer may be asked now
	Unanswered    int      `json:"unanswered"`      // calls in a row
	MayCall       bool     `json:"may_call"`
	Reason        string   `json:"reason"`        // why not
	NextCallAt    jsonTime `json:"next_call_at"`  // when Meta's limit of calls ends
	RequestError  int      `json:"request_error"` // Meta's code, if the last request could not be delivered
}

func viewPermission(p whatsapp.Permission, now time.Time, rules config.Permissions) permissionView {
	v := permissionView{
		State:         p.State(now).String(),
		Requests24h:   p.Asked24h(now),
		Requests7d:    p.Asked7d(now),
		NextRequestAt: jsonTime(p.NextAsk(now, rules)),
		Unanswered:    p.Streak(),
		MayCall:       true,
		RequestError:  p.AskLost,
	}
	switch p.State(now) {
	case whatsapp.Temporary:
		v.UsableUntil, v.MetaExpiresAt = jsonTime(p.UsableUntil(rules)), jsonTime(p.Expires)
		v.GrantedAt = jsonTime(p.GrantedAt)
	case whatsapp.Permanent:
		v.GrantedAt = jsonTime(p.GrantedAt)
	case whatsapp.NoConsent, whatsapp.Requested, whatsapp.Declined, whatsapp.Revoked:
	}
	if no := denialOf(p.MayCall(now, rules)); no != nil {
		v.MayCall, v.Reason, v.NextCallAt = false, string(no.Reason), jsonTime(no.Again)
	}
	return v
}

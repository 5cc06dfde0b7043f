package whatsapp

import (
	"slices"
	"time"

	"wagate/config"
)

// Consent is what a customer allows us.
type Consent uint8

// The consents.
const (
	NoConsent Consent = iota // never given, or over
	Requested                // we have asked, and nobody has answered
	Temporary                // until Meta's expiry
	Permanent
	Declined // the customer answered no to a request
	Revoked  // the customer, or Meta, took it back
)

var consentNames = [...]string{
	NoConsent: "none", Requested: "requested", Temporary: "temporary",
	Permanent: "permanent", Declined: "declined", Revoked: "revoked",
}

// String returns the word of the API and the metrics.
func (c Consent) String() string {
	if int(c) >= len(consentNames) {
		return consentNames[NoConsent]
	}
	return consentNames[c]
}

// Meta's rules for one business number and one customer.
const (
	day  = 24 * time.Hour
	week = 7 * day

	grantLife    = week            // of a temporary grant
	requestLife  = week            // how long a request can be answered
	serviceLife  = day             // of the customer service window
	expiryMargin = 5 * time.Minute // kept from Meta's expiry, because clocks differ
	callsPerDay  = 100             // connected calls, where Meta has not told its limit
)

// Permission is what one customer allows one business number, and what we have
// used of it. It is a value: its rules are pure, the clock is an argument, and
// whatever happens gives the next value. The zero Permission knows nothing.
//
// What is told late, twice or out of order ends in the same value as what is
// told in order. Times are Meta's where Meta tells them.
type Permission struct {
	Said      Consent   `json:"said,omitempty"`      // the last word, never Requested
	SaidAt    time.Time `json:"said_at,omitzero"`    // older words change nothing
	GrantedAt time.Time `json:"granted_at,omitzero"` // of the last grant
	Expires   time.Time `json:"expires,omitzero"`    // Meta's end of a temporary grant

	Asks    []Ask     `json:"asks,omitempty"`     // since TalkedAt, of a week at most, oldest first
	AskedAt time.Time `json:"asked_at,omitzero"`  // the last request
	AskID   string    `json:"ask_id,omitempty"`   // its message, once known
	Pending bool      `json:"pending,omitempty"`  // it has no answer
	AskLost int       `json:"ask_lost,omitempty"` // why it did not arrive: Meta's code
	AskHold Hold      `json:"ask_hold,omitzero"`

	Calls    []Mark    `json:"calls,omitempty"`    // ours that were picked up, of a day at most, oldest first
	CallMax  int       `json:"call_max,omitempty"` // Meta's limit of them, 0 if it was not told
	CallHold Hold      `json:"call_hold,omitzero"`
	Rung     []Mark    `json:"rung,omitempty"`     // ours that rang lately, oldest first
	Missed   []Mark    `json:"missed,omitempty"`   // ours that nobody took, in a row, oldest first
	FreshAt  time.Time `json:"fresh_at,omitzero"`  // missed calls up to here do not count
	TalkedAt time.Time `json:"talked_at,omitzero"` // last connected call in either direction

	SpokeAt time.Time `json:"spoke_at,omitzero"` // the customer's last message or call
	ReadAt  time.Time `json:"read_at,omitzero"`  // when Meta was last asked for all this
}

// Ask is one request for permission.
type Ask struct {
	At time.Time `json:"at"`
	ID string    `json:"id,omitempty"` // of the message, once known
}

// Mark is one call: when, and which, by a hash of Meta's id.
type Mark struct {
	At time.Time `json:"at"`
	ID uint64    `json:"id,omitempty"`
}

// Hold is a no of Meta's that ends by itself.
type Hold struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

func (h Hold) on(now time.Time) bool { return now.Before(h.Until) }

// State returns what the customer allows now, by Meta's expiry. Whether we may
// call is MayCall's to say.
func (p Permission) State(now time.Time) Consent {
	switch {
	case p.Said == Permanent, p.Said == Temporary && now.Before(p.Expires):
		return p.Said
	case p.Pending && now.Before(p.AskedAt.Add(requestLife)):
		return Requested
	case p.Said == Declined, p.Said == Revoked:
		return p.Said
	}
	return NoConsent
}

// UsableUntil returns when a temporary grant can no longer be used: at the end
// of the call window, and a little before Meta's expiry. It is zero for a
// permanent grant, and when there is none.
func (p Permission) UsableUntil(r config.Permissions) time.Time {
	if p.Said != Temporary {
		return time.Time{}
	}
	until := p.Expires.Add(-expiryMargin)
	if window := time.Duration(r.CallWindow); window > 0 {
		until = earlier(until, p.GrantedAt.Add(window))
	}
	return until
}

// Streak returns how many calls of ours rang and nobody took, since the last
// one that connected, or since a newer grant.
func (p Permission) Streak() (n int) {
	for _, m := range p.Missed {
		if slices.ContainsFunc(p.Rung, m.same) {
			n++
		}
	}
	return n
}

// MayCall says whether the customer may be called. Its error is a
// *PermissionError.
func (p Permission) MayCall(now time.Time, r config.Permissions) error {
	if reason := p.denied(now, r); reason != "" {
		return &PermissionError{Reason: reason, NextAsk: p.NextAsk(now, r), Expires: p.expiry(now), Unanswered: p.Streak()}
	}
	if again := p.nextCall(now); !again.IsZero() {
		return &PermissionError{Reason: ReasonCalls, Again: again, Expires: p.expiry(now)}
	}
	return nil
}

// denied returns why the customer's word does not allow a call, or nothing.
func (p Permission) denied(now time.Time, r config.Permissions) Reason {
	switch state := p.State(now); state {
	case Permanent:
	case Temporary:
		switch {
		case now.Before(p.UsableUntil(r)):
		case now.Before(p.Expires.Add(-expiryMargin)):
			return ReasonWindow
		default:
			return ReasonExpired
		}
	case Requested:
		return ReasonRequested
	case Declined:
		return ReasonDeclined
	case Revoked:
		return ReasonRevoked
	case NoConsent:
		if p.Said == Temporary {
			return ReasonExpired
		}
		return ReasonNone
	}
	if stop := r.StopAfterUnanswered; stop > 0 && p.Streak() >= stop {
		return ReasonUnanswered
	}
	return ""
}

// expiry returns Meta's end of a temporary grant that it still honours.
func (p Permission) expiry(now time.Time) time.Time {
	if p.State(now) == Temporary {
		return p.Expires
	}
	return time.Time{}
}

// nextCall returns when Meta's limit of connected calls allows another, zero if
// it does now.
func (p Permission) nextCall(now time.Time) time.Time {
	if p.CallHold.on(now) {
		return p.CallHold.Until
	}
	if spare := len(p.Calls) - p.MaxCalls(); spare >= 0 {
		if free := p.Calls[spare].At.Add(day); now.Before(free) {
			return free
		}
	}
	return time.Time{}
}

// MaxCalls returns how many calls of ours Meta lets connect in 24 hours.
func (p Permission) MaxCalls() int {
	if p.CallMax > 0 {
		return p.CallMax
	}
	return callsPerDay
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

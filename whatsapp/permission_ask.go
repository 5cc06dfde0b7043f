package whatsapp

import (
	"time"

	"wagate/config"
)

// MayAsk says whether the customer may be asked for permission. Its error is a
// *PermissionError.
func (p Permission) MayAsk(now time.Time, r config.Permissions) error {
	if no := p.unaskable(now, r); no != nil {
		return no
	}
	return nil
}

func (p Permission) unaskable(now time.Time, r config.Permissions) (no *PermissionError) {
	if p.Said == Permanent {
		return &PermissionError{Reason: ReasonGranted}
	}
	if p.AskHold.on(now) {
		no = &PermissionError{Reason: ReasonHeld, Again: p.AskHold.Until, NextAsk: p.AskHold.Until}
	}
	for _, limit := range []struct {
		reason Reason
		count  int
		period time.Duration
	}{
		{ReasonAskedDay, r.RequestsPer24h, day},
		{ReasonAskedWeek, r.RequestsPer7d, week},
	} {
		if limit.count <= 0 {
			return &PermissionError{Reason: limit.reason}
		}
		spare := len(p.Asks) - limit.count
		if spare < 0 {
			continue
		}
		free := p.Asks[spare].At.Add(limit.period)
		if now.Before(free) && (no == nil || free.After(no.Again)) {
			no = &PermissionError{Reason: limit.reason, Again: free, NextAsk: free}
		}
	}
	return no
}

// NextAsk returns when the customer may be asked: now, later, or never (zero),
// as long as nothing happens.
func (p Permission) NextAsk(now time.Time, r config.Permissions) time.Time {
	if no := p.unaskable(now, r); no != nil {
		return no.Again
	}
	return now
}

// Asked24h returns how many requests of the last 24 hours count.
func (p Permission) Asked24h(now time.Time) int { return p.asksSince(now.Add(-day)) }

// Asked7d returns how many requests of the last 7 days count.
func (p Permission) Asked7d(now time.Time) int { return p.asksSince(now.Add(-week)) }

func (p Permission) asksSince(start time.Time) (n int) {
	for _, a := range p.Asks {
		if a.At.After(start) {
			n++
		}
	}
	return n
}

// AskKind is the form that a request must have.
type AskKind uint8

// The two forms.
const (
	FreeForm AskKind = iota // a text of ours
	Template                // one that Meta has approved
)

// AskKind returns the form of a request sent now. A free text is for 24 hours
// after the customer wrote or called.
func (p Permission) AskKind(now time.Time) AskKind {
	if p.Spoken(now) {
		return FreeForm
	}
	return Template
}

// Spoken says whether the customer service window is open.
func (p Permission) Spoken(now time.Time) bool {
	return !p.SpokeAt.IsZero() && now.Before(p.SpokeAt.Add(serviceLife))
}

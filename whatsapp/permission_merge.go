package whatsapp

import (
	"cmp"
	"slices"
	"time"
)

// Merge puts together what was known of one customer under two names. The
// stricter word holds, everything that counts against us is added, and what
// only one of the two knows is known.
func (p Permission) Merge(o Permission) Permission {
	m := p
	switch {
	case o.SaidAt.IsZero():
	case p.SaidAt.IsZero(), strictness(o.Said) > strictness(p.Said):
		m.Said, m.GrantedAt, m.Expires = o.Said, o.GrantedAt, o.Expires
	case o.Said == Temporary && p.Said == Temporary:
		m.GrantedAt, m.Expires = earlier(p.GrantedAt, o.GrantedAt), earlier(p.Expires, o.Expires)
	}
	m.SaidAt = later(p.SaidAt, o.SaidAt)

	m.Asks = slices.Concat(p.Asks, o.Asks)
	slices.SortStableFunc(m.Asks, func(a, b Ask) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	m.Asks = newest(slices.Compact(m.Asks), maxAsks)
	if o.AskedAt.After(p.AskedAt) {
		m.AskedAt, m.AskID, m.Pending, m.AskLost = o.AskedAt, o.AskID, o.Pending, o.AskLost
	}
	m.AskHold = longer(p.AskHold, o.AskHold)
	m.CallHold = longer(p.CallHold, o.CallHold)
	if o.CallMax > 0 && (p.CallMax == 0 || o.CallMax < p.CallMax) {
		m.CallMax = o.CallMax
	}
	for _, c := range o.Calls {
		m.Calls = put(m.Calls, c, maxCalls)
	}
	for _, c := range o.Missed {
		m.Missed = put(m.Missed, c, maxMissed)
	}
	for _, c := range o.Rung {
		m.Rung = put(m.Rung, c, maxMissed)
	}
	for _, c := range m.Calls {
		m.Missed, m.Rung = without(m.Missed, c.ID), without(m.Rung, c.ID)
	}
	m.FreshAt, m.TalkedAt = later(p.FreshAt, o.FreshAt), later(p.TalkedAt, o.TalkedAt)
	m.SpokeAt = later(p.SpokeAt, o.SpokeAt)
	m.ReadAt = oldest(p.ReadAt, o.ReadAt)
	return m
}

func longer(a, b Hold) Hold {
	if b.Until.After(a.Until) {
		return b
	}
	return a
}

// oldest returns the earlier of two times, where none is the earliest.
func oldest(a, b time.Time) time.Time {
	if a.IsZero() || b.IsZero() {
		return time.Time{}
	}
	return earlier(a, b)
}

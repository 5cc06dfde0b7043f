package whatsapp

import "time"

// lateAtMost is how late Meta's word may come: it repeats a webhook for a week.
const lateAtMost = week + day

// Idle says that knowing this and knowing nothing is the same from now on,
// whatever still comes: everything that counted has run out. Only the word for
// why a call is refused may be another.
func (p Permission) Idle(now time.Time) bool {
	if p.Said == Permanent || len(p.Missed) > 0 || p.CallMax > 0 && p.CallMax < callsPerDay {
		return false // these have no end
	}
	last := later(p.SaidAt, later(p.GrantedAt, p.Expires))
	last = later(last, later(p.AskedAt, p.AskHold.Until))
	last = later(last, later(p.CallHold.Until, p.FreshAt))
	last = later(last, later(p.TalkedAt, later(p.SpokeAt, p.ReadAt)))
	for _, marks := range [][]Mark{p.Calls, p.Rung} {
		if n := len(marks); n > 0 {
			last = later(last, marks[n-1].At)
		}
	}
	if n := len(p.Asks); n > 0 {
		last = later(last, p.Asks[n-1].At)
	}
	return now.Sub(last) > lateAtMost
}

// Forgotten returns what Meta's limits and ours need of a customer whom we are
// to forget: how often we asked and called. What the customer said is gone, but
// for its time: an older word must not come to life.
func (p Permission) Forgotten() Permission {
	f := Permission{
		SaidAt:  p.SaidAt,
		AskHold: p.AskHold, CallHold: p.CallHold, CallMax: p.CallMax,
		Calls: p.Calls, Rung: p.Rung, Missed: p.Missed, FreshAt: p.FreshAt,
	}
	for _, ask := range p.Asks {
		f.Asks = append(f.Asks, Ask{At: ask.At}) // the id of a message has the number in it
	}
	return f
}

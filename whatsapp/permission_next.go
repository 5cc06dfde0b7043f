package whatsapp

import (
	"slices"
	"strconv"
	"time"
)

// How much is remembered at most, whatever anybody sends.
const (
	maxAsks   = 512
	maxCalls  = 1024
	maxMissed = 64
)

// Replied is what the customer, or Meta in the customer's place, says. Of two
// words of the same second the stricter holds. A grant, and Meta's taking one
// back, begin a new row of unanswered calls.
func (p Permission) Replied(r PermissionReply) Permission {
	at := instant(r.At)
	p = p.answered(r, at)
	if r.Accept || r.Automatic {
		p = p.fresh(at) // whether or not it is the last word
	}
	said := wordOf(r)
	if at.Before(p.SaidAt) || at.Equal(p.SaidAt) && strictness(said) <= strictness(p.Said) {
		return p
	}
	p.Said, p.SaidAt = said, at
	switch said {
	case Temporary:
		p.GrantedAt, p.Expires = at, endOf(r.Expires, at)
	case Permanent:
		p.GrantedAt, p.Expires = at, time.Time{}
	case NoConsent, Requested, Declined, Revoked:
	}
	return p
}

// wordOf reads a reply. A no that follows no request of ours takes back what
// was given.
func wordOf(r PermissionReply) Consent {
	switch {
	case r.Accept && r.Permanent:
		return Permanent
	case r.Accept:
		return Temporary
	case r.Automatic || r.Context == "":
		return Revoked
	}
	return Declined
}

// strictness orders words of the same second.
func strictness(c Consent) int {
	switch c {
	case Permanent:
		return 0
	case Temporary:
		return 1
	case NoConsent, Requested:
		return 2
	case Declined:
		return 3
	case Revoked:
		return 4
	}
	return 4
}

// endOf returns the end of a grant. Where Meta's is missing, or is none, it is
// what the rules say.
func endOf(expires, granted time.Time) time.Time {
	if expires = instant(expires); expires.After(granted) {
		return expires
	}
	return granted.Add(grantLife)
}

// answered ends the waiting for an answer, unless this one is to an earlier
// request, or older.
func (p Permission) answered(r PermissionReply, at time.Time) Permission {
	other := r.Context != p.AskID && slices.ContainsFunc(p.Asks, func(a Ask) bool { return a.ID != "" && a.ID == r.Context })
	if r.Context != "" && r.Context == p.AskID || !other && !at.Before(p.AskedAt.Truncate(time.Second)) {
		p.Pending, p.AskLost = false, 0
	}
	return p
}

// Asked takes one request of what the limits allow, before it is sent. The
// request is known by the AskedAt of the next value.
func (p Permission) Asked(at time.Time) Permission {
	at = instant(at)
	if n := len(p.Asks); n > 0 {
		at = later(at, p.Asks[n-1].At.Add(time.Millisecond)) // also when the clock went back
	}
	p.Asks = append(newest(but(p.Asks, func(a Ask) bool { return a.At.Before(at.Add(-week)) }), maxAsks-1), Ask{At: at})
	p.AskedAt, p.AskID, p.Pending, p.AskLost = at, "", true, 0
	return p
}

// AskSent names the message of the request that was made at that time.
func (p Permission) AskSent(at time.Time, id string) Permission {
	at = instant(at)
	p.Asks = slices.Clone(p.Asks)
	for i := range p.Asks {
		if p.Asks[i].At.Equal(at) {
			p.Asks[i].ID = id
		}
	}
	if p.AskedAt.Equal(at) {
		p.AskID = id
	}
	return p
}

// AskFailed gives the request of that time back: it surely did not leave, or
// Meta has refused it, and takes none until the time given, if that is set.
func (p Permission) AskFailed(at, failed, until time.Time) Permission {
	at = instant(at)
	p.Asks = but(p.Asks, func(a Ask) bool { return a.At.Equal(at) })
	if p.AskedAt.Equal(at) {
		p.Pending, p.AskedAt, p.AskID = false, time.Time{}, ""
		if n := len(p.Asks); n > 0 {
			p.AskedAt, p.AskID = p.Asks[n-1].At, p.Asks[n-1].ID
		}
	}
	if until.After(failed) {
		p.AskHold = Hold{instant(failed), instant(until)}
	}
	return p
}

// AskTag marks the message of the request that was made at that time, so that
// its fate is known even if Meta's answer is lost.
func AskTag(at time.Time) string { return "ask=" + strconv.FormatInt(at.UnixMilli(), 36) }

// AskUndelivered is Meta's word that a message did not reach the customer. If
// it was the last request, that is over; it counts nevertheless.
func (p Permission) AskUndelivered(f MessageFailed) Permission {
	if p.Pending && (f.MessageID != "" && f.MessageID == p.AskID || f.Tag == AskTag(p.AskedAt)) {
		p.Pending, p.AskLost = false, f.Code()
	}
	return p
}

// Connected is a call of ours that the customer took.
func (p Permission) Connected(id CallID, at time.Time) Permission {
	at = instant(at)
	m := Mark{at, markOf(id)}
	p.Missed, p.Rung = without(p.Missed, m.ID), without(p.Rung, m.ID)
	p.Calls = put(p.Calls, m, maxCalls)
	last := p.Calls[len(p.Calls)-1].At
	p.Calls = but(p.Calls, func(c Mark) bool { return c.At.Before(last.Add(-day)) })
	return p.talked(at).fresh(at)
}

// Answered is a call of the customer's that we took. Calls of ours that nobody
// took stay in a row: Meta counts those alone.
func (p Permission) Answered(at time.Time) Permission { return p.talked(instant(at)) }

// talked forgets the requests that a connected call sets to zero.
func (p Permission) talked(at time.Time) Permission {
	p = p.Spoke(at)
	p.TalkedAt = later(p.TalkedAt, at)
	p.Asks = but(p.Asks, func(a Ask) bool { return a.At.Before(p.TalkedAt) })
	if at.After(p.AskHold.Since) {
		p.AskHold = Hold{}
	}
	return p
}

// fresh starts the row of missed calls anew.
func (p Permission) fresh(at time.Time) Permission {
	p.FreshAt = later(p.FreshAt, at)
	p.Missed = but(p.Missed, func(m Mark) bool { return !m.At.After(p.FreshAt) })
	return p
}

// Rang is a call of ours that rings at the customer. Only such a call can be
// missed.
func (p Permission) Rang(id CallID, at time.Time) Permission {
	p.Rung = put(p.Rung, Mark{instant(at), markOf(id)}, maxMissed)
	last := p.Rung[len(p.Rung)-1].At
	p.Rung = but(p.Rung, func(m Mark) bool {
		return m.At.Before(last.Add(-week)) && !slices.ContainsFunc(p.Missed, m.same)
	})
	return p
}

// Over is a call of ours that ended before anybody took it, whoever gave up.
func (p Permission) Over(id CallID, at time.Time) Permission {
	m := Mark{instant(at), markOf(id)}
	if !m.At.After(p.FreshAt) || m.ID != 0 && slices.ContainsFunc(p.Calls, m.same) {
		return p
	}
	p.Missed = put(p.Missed, m, maxMissed)
	return p
}

// Unanswered is a call of ours that rang and that nobody took.
func (p Permission) Unanswered(id CallID, at time.Time) Permission {
	return p.Rang(id, at).Over(id, at)
}

// Rejected is a call of ours that the customer refused. Meta counts it as it
// counts an unanswered one.
func (p Permission) Rejected(id CallID, at time.Time) Permission { return p.Unanswered(id, at) }

// Spoke is a message or a call of the customer's.
func (p Permission) Spoke(at time.Time) Permission {
	p.SpokeAt = later(p.SpokeAt, instant(at))
	return p
}

// CallsHeld is Meta's refusal, at a time, of all calls until another.
func (p Permission) CallsHeld(at, until time.Time) Permission {
	if until.After(at) {
		p.CallHold = Hold{instant(at), instant(until)}
	}
	return p
}

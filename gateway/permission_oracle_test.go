package gateway

import (
	"slices"
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

// oracle says what the rules allow, from all that the gateway was told, each
// time anew. It shares no code with what it judges: it keeps every fact and goes
// through all of them in the order of Meta's time.
type oracle struct {
	rules    config.Permissions
	words    []word      // by Meta's time
	slots    []time.Time // requests that left, or may have
	talks    []time.Time // connected calls in either direction
	anew     []time.Time // from which no older missed call counts
	spoke    []time.Time
	picked   map[whatsapp.CallID]time.Time // calls of ours that were picked up
	over     map[whatsapp.CallID]time.Time // and that ended before that
	rang     map[whatsapp.CallID]bool
	max      int
	noCall   time.Time // until when Meta allows none
	noAsk    time.Time
	noAskSet time.Time
}

// word is something that bears on the grant.
type word struct {
	at      time.Time
	read    bool // Meta's answer to a question
	says    whatsapp.Consent
	expires time.Time
}

func newOracle(rules config.Permissions) *oracle {
	return &oracle{
		rules: rules, picked: map[whatsapp.CallID]time.Time{}, over: map[whatsapp.CallID]time.Time{}, rang: map[whatsapp.CallID]bool{}, max: 100,
	}
}

const oneDay, oneWeek = 24 * time.Hour, 7 * 24 * time.Hour

// heard takes an event that was delivered.
func (o *oracle) heard(ev whatsapp.Event) {
	switch ev := ev.(type) {
	case whatsapp.PermissionReply:
		w := word{at: ev.At, says: whatsapp.Declined}
		switch {
		case ev.Accept && ev.Permanent:
			w.says = whatsapp.Permanent
		case ev.Accept:
			w.says, w.expires = whatsapp.Temporary, ev.Expires
		}
		if ev.Accept || ev.Automatic {
			o.anew = append(o.anew, ev.At)
		}
		o.word(w)
	case whatsapp.Spoke:
		o.spoke = append(o.spoke, ev.At)
	case whatsapp.Offer:
		o.spoke = append(o.spoke, ev.At)
	case whatsapp.Status:
		switch ev.State {
		case whatsapp.Ringing:
			o.rang[ev.CallID] = true
		case whatsapp.Accepted:
			o.taken(ev.CallID, ev.At)
		case whatsapp.Rejected:
			o.rang[ev.CallID] = true
			o.over[ev.CallID] = ev.At
		}
	case whatsapp.Terminate:
		switch {
		case ev.Direction == whatsapp.UserInitiated && !ev.Start.IsZero():
			o.talk(ev.Start)
		case ev.Direction == whatsapp.UserInitiated, ev.Failed:
		case !ev.Start.IsZero():
			o.taken(ev.CallID, ev.Start)
		default:
			o.over[ev.CallID] = ev.At
		}
	case whatsapp.MessageFailed, whatsapp.Answer, whatsapp.UserMoved:
	}
}

func (o *oracle) taken(id whatsapp.CallID, at time.Time) {
	o.picked[id] = at
	o.anew = append(o.anew, at)
	o.talk(at)
}

func (o *oracle) talk(at time.Time) {
	o.talks = append(o.talks, at)
	o.spoke = append(o.spoke, at)
	if at.After(o.noAskSet) {
		o.noAsk = time.Time{}
	}
}

// word keeps the words in the order of Meta's time.
func (o *oracle) word(w word) {
	i := len(o.words)
	for i > 0 && w.at.Before(o.words[i-1].at) {
		i--
	}
	o.words = slices.Insert(o.words, i, w)
}

// slot is a request that left, or may have; no two at the same instant.
func (o *oracle) slot(at time.Time) {
	if n := len(o.slots); n > 0 && !at.After(o.slots[n-1]) {
		at = o.slots[n-1].Add(time.Millisecond)
	}
	o.slots = append(o.slots, at)
}

// read takes an answer of Meta's.
func (o *oracle) read(at time.Time, s whatsapp.PermissionState) {
	o.word(word{at: at, read: true, says: s.Status, expires: s.Expires})
	o.noAsk = time.Time{}
	if s.Call.Told {
		o.noCall = time.Time{}
	}
	for _, l := range s.Call.Limits {
		o.max = l.Max
		if !s.Call.Allowed && l.Used >= l.Max {
			o.noCall = l.Until
		}
	}
	for _, l := range s.Ask.Limits {
		if !s.Ask.Allowed && l.Until.After(o.noAsk) {
			o.noAsk, o.noAskSet = l.Until, at
		}
	}
}

// grant is what is allowed, since when and until when.
func (o *oracle) grant() (says whatsapp.Consent, since, until time.Time, anew []time.Time) {
	for _, w := range o.words {
		switch {
		case !w.read:
			says, since, until = w.says, w.at, w.expires
		case w.says == whatsapp.Temporary && says == whatsapp.Temporary && w.expires.Equal(until): // we know
		case w.says == whatsapp.Temporary:
			says, since, until = w.says, w.expires.Add(-oneWeek), w.expires
			anew = append(anew, since)
		case w.says == whatsapp.Permanent && says != whatsapp.Permanent:
			says, since = w.says, w.at
		case w.says == whatsapp.NoConsent && (says == whatsapp.Permanent || says == whatsapp.Temporary && w.at.Add(metaClock).Before(until)):
			says = whatsapp.Revoked
		}
	}
	return says, since, until, anew
}

func (o *oracle) mayCall(now time.Time) bool {
	says, since, until, anew := o.grant()
	switch says {
	case whatsapp.Permanent:
	case whatsapp.Temporary:
		window := time.Duration(o.rules.CallWindow)
		if window > 0 && !now.Before(since.Add(window)) || !now.Before(until.Add(-5*time.Minute)) {
			return false
		}
	case whatsapp.NoConsent, whatsapp.Requested, whatsapp.Declined, whatsapp.Revoked:
		return false
	}
	var start time.Time
	for _, at := range append(anew, o.anew...) {
		if at.After(start) {
			start = at
		}
	}
	streak, connected := 0, 0
	for id, at := range o.over {
		if _, picked := o.picked[id]; !picked && o.rang[id] && at.After(start) {
			streak++
		}
	}
	for _, at := range o.picked {
		if now.Sub(at) < oneDay {
			connected++
		}
	}
	return streak < 3 && connected < o.max && !now.Before(o.noCall)
}

func (o *oracle) mayAsk(now time.Time) bool {
	if says, _, _, _ := o.grant(); says == whatsapp.Permanent || now.Before(o.noAsk) {
		return false
	}
	var talked time.Time
	for _, at := range o.talks {
		if at.After(talked) {
			talked = at
		}
	}
	inDay, inWeek := 0, 0
	for _, at := range o.slots {
		if at.Before(talked) {
			continue
		}
		if now.Sub(at) < oneDay {
			inDay++
		}
		if now.Sub(at) < oneWeek {
			inWeek++
		}
	}
	return inDay < o.rules.RequestsPer24h && inWeek < o.rules.RequestsPer7d
}

func (o *oracle) window(now time.Time) bool {
	return slices.ContainsFunc(o.spoke, func(at time.Time) bool { return now.Sub(at) < oneDay })
}

// edges are the instants at which an answer changes.
func (o *oracle) edges() (at []time.Time) {
	says, since, until, _ := o.grant()
	if says == whatsapp.Temporary {
		at = append(at, since.Add(time.Duration(o.rules.CallWindow)), until.Add(-5*time.Minute), until)
	}
	if n := len(o.slots); n > 0 {
		at = append(at, o.slots[max(n-o.rules.RequestsPer24h, 0)].Add(oneDay), o.slots[max(n-o.rules.RequestsPer7d, 0)].Add(oneWeek))
	}
	if n := len(o.spoke); n > 0 {
		at = append(at, o.spoke[n-1].Add(oneDay))
	}
	return append(at, o.noAsk, o.noCall)
}

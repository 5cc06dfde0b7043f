package fakemeta

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	day        = 24 * time.Hour
	week       = 7 * day
	grantLife  = week // of a temporary permission
	askLife    = week // of a request, from delivery or from the user's last answer
	windowLife = day  // of the customer service window
)

// PermissionState is what a user allows a business number.
type PermissionState uint8

// The states. Of the last three and the first, none allows a call; they tell
// how it came to that.
const (
	NotPermitted PermissionState = iota // never granted, or a temporary grant is over
	Temporary
	Permanent
	Declined // a request
	Revoked  // in the profile, or by Meta
)

// String is the state in lower case.
func (s PermissionState) String() string {
	return [...]string{"none", "temporary", "permanent", "declined", "revoked"}[s]
}

// Answer is what a user does with a call permission request.
type Answer uint8

// The answers.
const (
	Ignore Answer = iota
	GrantTemporary
	GrantPermanent
	Decline
)

// Ask is a call permission request that Meta has taken.
type Ask struct {
	ID         string // wamid
	At         time.Time
	Template   string // "": free-form
	Text       string // of a free-form request
	Tag        string
	Delivered  time.Time // zero: never
	Failed     int       // code of the failed status
	Answered   time.Time // last; zero: never
	Answer     Answer
	Superseded bool // the user has answered a newer one
}

// Expires is when the user can no longer answer; zero where it never could.
func (a *Ask) Expires() time.Time {
	switch {
	case !a.Answered.IsZero():
		return a.Answered.Add(askLife)
	case !a.Delivered.IsZero():
		return a.Delivered.Add(askLife)
	}
	return time.Time{}
}

func (a *Ask) open(now time.Time) bool { return !a.Superseded && now.Before(a.Expires()) }

// pair is what Meta keeps about a business number and a user. The ledger's
// lock guards all but the lane.
type pair struct {
	number *Number
	user   User
	lane   lane // of the webhooks about messages

	ruled     bool // permission counts; otherwise every call is allowed
	state     PermissionState
	granted   time.Time
	expires   time.Time // of a temporary grant, full seconds
	asks      []*Ask
	counted   []time.Time // requests since the last connected call
	connected []time.Time // calls of the business that were answered
	streak    int         // calls of the business in a row that were not
	nudges    int
	revoked   int       // by Meta
	window    time.Time // end of the customer service window
	dialled   int
	up        int // calls, both directions
}

// within counts the times of the last period.
func within(at []time.Time, now time.Time, period time.Duration) int {
	n := 0
	for _, t := range at {
		if now.Sub(t) < period {
			n++
		}
	}
	return n
}

// free is when one more is allowed; zero: now.
func free(at []time.Time, now time.Time, period time.Duration, most int) time.Time {
	if within(at, now, period) < most {
		return time.Time{}
	}
	return at[len(at)-most].Add(period)
}

// current is the state now: a temporary permission ends without a word.
func (p *pair) current(now time.Time) PermissionState {
	switch {
	case !p.ruled:
		return Permanent
	case p.state == Temporary && !now.Before(p.expires):
		return NotPermitted
	}
	return p.state
}

func (p *pair) permitted(now time.Time) bool {
	s := p.current(now)
	return s == Temporary || s == Permanent
}

// mayCall is whether the business may call the user.
func (p *pair) mayCall(now time.Time, f figures) *graphError {
	if !p.ruled {
		return nil
	}
	if !p.permitted(now) {
		return errNoPermission()
	}
	if at := free(p.connected, now, day, f.connected); !at.IsZero() {
		return &graphError{
			status: http.StatusBadRequest, code: 138012, message: "(#138012) Limit of connected calls reached",
			details: fmt.Sprintf("The limit of %d connected calls in 24 hours is reached. The next call is allowed at %d.", f.connected, ceil(at)),
		}
	}
	return nil
}

// mayAsk is whether the business may send a request.
func (p *pair) mayAsk(now time.Time, f figures) *graphError {
	if p.current(now) == Permanent {
		return &graphError{
			status: http.StatusBadRequest, code: 138017, message: "(#138017) Permanent call permission exists",
			details: "The user has given a permanent call permission already",
		}
	}
	if !p.nextAsk(now, f).IsZero() {
		return &graphError{
			status: http.StatusBadRequest, code: 138009, message: "(#138009) Call permission request limit hit",
			details: fmt.Sprintf("No more than %d requests in 24 hours and %d in 7 days may be sent to this user", f.day, f.week),
		}
	}
	return nil
}

// nextAsk is when a request is within the limits again; zero: now.
func (p *pair) nextAsk(now time.Time, f figures) time.Time {
	return later(free(p.counted, now, day, f.day), free(p.counted, now, week, f.week))
}

// grant is a permission from now on.
func (p *pair) grant(now time.Time, permanent bool, r Rules) {
	p.ruled, p.granted, p.state, p.expires = true, now, Permanent, time.Time{}
	if !permanent {
		p.state, p.expires = Temporary, now.Truncate(time.Second).Add(grantLife)
	}
	if !r.KeepStreak {
		p.streak = 0
	}
}

// forbid is the end of a permission.
func (p *pair) forbid(s PermissionState) {
	p.ruled, p.state, p.granted, p.expires = true, s, time.Time{}, time.Time{}
}

// reply is the user's answer to a request; older ones are void by it.
func (p *pair) reply(a *Ask, answer Answer, now time.Time, r Rules) {
	for _, old := range p.asks {
		if old == a {
			break
		}
		old.Superseded = true
	}
	a.Answered, a.Answer = now, answer
	switch answer {
	case GrantTemporary, GrantPermanent:
		p.grant(now, answer == GrantPermanent, r)
	case Decline:
		p.forbid(Declined)
	case Ignore: // no answer
	}
}

// answered is a call that was picked up.
func (p *pair) answered(now time.Time, byBusiness bool) {
	p.counted = nil
	if byBusiness {
		p.streak = 0
		p.connected = slices.DeleteFunc(append(p.connected, now), func(t time.Time) bool { return now.Sub(t) >= day })
	}
}

// missed is a call of the business that rang in vain, or was declined. It
// reports whether the permission is lost by it.
func (p *pair) missed(now time.Time, f figures) bool {
	if !p.ruled {
		return false
	}
	p.streak++
	if p.streak == f.nudge {
		p.nudges++
	}
	if p.streak < f.revoke || !p.permitted(now) {
		return false
	}
	p.forbid(Revoked)
	p.streak = 0
	p.revoked++
	return true
}

// ceil is a time in full seconds, not before it.
func ceil(t time.Time) int64 { return t.Add(time.Second - time.Nanosecond).Unix() }

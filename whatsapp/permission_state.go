package whatsapp

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// PermissionState is what Meta says when it is asked for a customer's
// permission.
type PermissionState struct {
	// It was so at some moment between the two, by Meta's clock.
	From, To time.Time
	Status   Consent   // NoConsent, Temporary or Permanent
	Expires  time.Time // of a temporary grant
	Call     Allowance
	Ask      Allowance
}

// Allowance is whether we may do something now. The zero Allowance means that
// Meta did not say.
type Allowance struct {
	Told    bool
	Allowed bool
	Limits  []Limit
}

// Limit is how often something may be done.
type Limit struct {
	Period time.Duration
	Max    int
	Used   int
	Until  time.Time // when a limit that is reached ends; zero if it was not told
}

func (l Limit) reached(at time.Time) bool { return l.Until.After(at) || l.Max > 0 && l.Used >= l.Max }

const (
	// clockSlack is how far Meta's clock may be from ours.
	clockSlack = 5 * time.Second
	// sameExpiry is how far two ends of one grant may be apart.
	sameExpiry = 2 * time.Second
	// unsaidHold is how long a no of Meta's holds that tells no end.
	unsaidHold = 15 * time.Minute
	// settling is how long Meta's counters may lag behind.
	settling = time.Minute
)

// Learned takes over what Meta says. Where it disagrees Meta is right, but for
// the number of our requests: of those ours are never forgotten.
func (p Permission) Learned(s PermissionState) Permission {
	s.From, s.To = instant(s.From), instant(s.To)
	if !s.To.Before(p.SaidAt) {
		p = p.corrected(s)
	}
	if s.Call.Told {
		p = p.callsTold(s)
	}
	if s.Ask.Told {
		p.AskHold = Hold{}
		if !s.Ask.Allowed && s.Status != Permanent {
			p.AskHold = holdOf(s.Ask, s)
		}
	}
	p.ReadAt = later(p.ReadAt, s.To)
	return p
}

// corrected takes over the grant. News of the same moment, which may be in it
// or not, still count.
func (p Permission) corrected(s PermissionState) Permission {
	p.SaidAt = later(p.SaidAt, s.From.Add(-time.Millisecond))
	switch s.Status {
	case Temporary:
		expires := endOf(s.Expires, s.From)
		if p.Said == Temporary && !expires.After(p.Expires.Add(sameExpiry)) {
			p.Expires = expires // of the grant that we know
			return p
		}
		p.Said, p.Expires = Temporary, expires
		p.GrantedAt = later(p.GrantedAt, earlier(expires.Add(-grantLife), s.To))
		if p.GrantedAt.After(p.AskedAt) {
			p.Pending = false
		}
		return p.fresh(p.GrantedAt)
	case Permanent:
		if p.Said == Permanent {
			return p
		}
		p.Said, p.GrantedAt, p.Expires = Permanent, s.From, time.Time{}
		p.Pending = false
	case NoConsent, Requested, Declined, Revoked:
		if p.Said == Permanent || p.Said == Temporary && s.To.Before(p.Expires) {
			p.Said = Revoked
		}
	}
	return p
}

// callsTold takes over Meta's limit of connected calls and its count. A call of
// the last minute may not be in that yet.
func (p Permission) callsTold(s PermissionState) Permission {
	p.CallHold = Hold{}
	for _, l := range s.Call.Limits {
		if l.Period != day {
			continue
		}
		if l.Max > 0 {
			p.CallMax = l.Max
		}
		if s.Call.Allowed {
			seen := 0
			for _, c := range p.Calls {
				if c.At.Before(s.From.Add(-settling)) {
					seen++
				}
			}
			p.Calls = but(p.Calls[max(seen-max(l.Used, 0), 0):], func(Mark) bool { return false })
		}
	}
	// Without consent calls are not allowed either, and nothing holds them.
	for _, l := range s.Call.Limits {
		if !s.Call.Allowed && l.reached(s.To) {
			p.CallHold = holdOf(s.Call, s)
		}
	}
	return p
}

// holdOf returns until when Meta says no.
func holdOf(a Allowance, s PermissionState) Hold {
	h := Hold{Since: s.From}
	for _, l := range a.Limits {
		if l.reached(s.To) {
			h.Until = later(h.Until, instant(l.Until))
		}
	}
	if h.Until.IsZero() {
		h.Until = s.To.Add(unsaidHold)
	}
	return h
}

// parsePermissionState reads the answer to a question that was open between two
// moments of our clock.
func parsePermissionState(body []byte, asked, told time.Time) (PermissionState, error) {
	var in struct {
		Permission struct {
			Status  text   `json:"status"`
			Time    number `json:"expiration_time"`
			Expires number `json:"expiration"`
		} `json:"permission"`
		Actions []json.RawMessage `json:"actions"`
	}
	s := PermissionState{From: asked.Add(-clockSlack), To: told.Add(clockSlack)}
	if err := read(body, &in); err != nil {
		return s, fmt.Errorf("decode call permission: %w", err)
	}
	switch strings.ToLower(string(in.Permission.Status)) {
	case "no_permission":
	case "temporary":
		s.Status = Temporary
		s.Expires = in.Permission.Time.time()
		if s.Expires.IsZero() {
			s.Expires = in.Permission.Expires.time()
		}
	case "permanent":
		s.Status = Permanent
	default:
		return s, fmt.Errorf("decode call permission: unknown status %.32q", string(in.Permission.Status))
	}
	for _, a := range readAll[hookAllowance](in.Actions) {
		switch a.Name {
		case "start_call":
			s.Call = a.allowance()
		case "send_call_permission_request":
			s.Ask = a.allowance()
		}
	}
	return s, nil
}

type hookAllowance struct {
	Name   text              `json:"action_name"`
	Can    truth             `json:"can_perform_action"`
	Limits []json.RawMessage `json:"limits"`
}

func (a hookAllowance) allowance() Allowance {
	out := Allowance{Told: true, Allowed: bool(a.Can)}
	type hookLimit struct {
		Period text   `json:"time_period"`
		Max    number `json:"max_allowed"`
		Used   number `json:"current_usage"`
		Until  number `json:"limit_expiration_time"`
	}
	for _, l := range readAll[hookLimit](a.Limits) {
		out.Limits = append(out.Limits, Limit{periodOf(string(l.Period)), count(l.Max), count(l.Used), l.Until.time()})
	}
	return out
}

// count bounds nonsense.
func count(n number) int { return int(min(max(n, 0), 1<<20)) }

// periodOf reads the periods that Meta uses; other ones are 0.
func periodOf(iso string) time.Duration {
	switch strings.ToUpper(iso) {
	case "PT24H", "P1D":
		return day
	case "P7D", "P1W", "PT168H":
		return week
	}
	return 0
}

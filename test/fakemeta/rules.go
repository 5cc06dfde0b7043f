package fakemeta

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Rules say how the platform is set up beyond a single user.
type Rules struct {
	Sandbox  bool       // the relaxed limits of a sandbox or public test number
	Allowed  []string   // numbers that a test number may reach; none: every number
	Callback bool       // a user who calls gives a temporary permission by that
	Known    []Template // templates that Meta has approved; default ask_to_call in en

	NewCalls   int // calls of a business number in 24 h; default 10,000
	Concurrent int // calls of a business number at once; default 1,000
	Reads      int // of call_permissions in a second; default 5

	// LateWindow lets a free-form request outside the customer service window
	// be taken and fail afterwards, by a status webhook. The pages do not say
	// which of the two Meta does.
	LateWindow bool
	// TableKeys writes the expiry of call_permissions as Meta's table names it,
	// "expiration", and not as its sample does, "expiration_time".
	TableKeys bool
	// KeepStreak lets unanswered calls count on after the user has granted
	// anew. The pages say "consecutive" and no more.
	KeepStreak bool
}

// Template is a message template.
type Template struct {
	Name     string
	Language string
	Params   int  // of its body
	Plain    bool // it has no call permission request
}

// The reasons for which Meta refuses all calls of a number, for Refuse.
const (
	CallingOff    = 138000 // not enabled in the settings
	TooManyCalls  = 138002 // at once
	TooManyNew    = 138005 // in 24 h
	CountryClosed = 138013 // no calls by businesses of this country
	LowQuality    = 138014 // switched off by Meta for a week
)

// figures are the limits of a pair of business number and user.
type figures struct {
	day, week     int // requests
	nudge, revoke int // calls in a row that nobody answered
	connected     int // calls by the business in 24 h that the user answered
}

func (r Rules) figures() figures {
	if r.Sandbox {
		return figures{day: 25, week: 100, nudge: 5, revoke: 10, connected: 100}
	}
	return figures{day: 1, week: 2, nudge: 2, revoke: 4, connected: 100}
}

func (r Rules) withDefaults() Rules {
	def(&r.NewCalls, 10_000)
	def(&r.Concurrent, 1000)
	def(&r.Reads, 5)
	if r.Known == nil {
		r.Known = []Template{{Name: "ask_to_call", Language: "en"}}
	}
	return r
}

func (r Rules) allows(number string) bool {
	for _, a := range r.Allowed {
		if strings.TrimPrefix(a, "+") == number {
			return true
		}
	}
	return len(r.Allowed) == 0
}

// desk is what Meta counts for a business number.
type desk struct {
	refuse int         // code of all refusals; 0: none
	begun  []time.Time // calls of the business, oldest first
	reads  []time.Time // of call_permissions, on the machine's own clock
	up     int         // calls, both directions
}

// Refuse makes Meta refuse the calls of a number with that code, and where the
// reason holds for them too, its requests. "" is the first number, 0 ends it.
func (s *Server) Refuse(numberID string, code int) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	s.ledger.desk(cmp.Or(numberID, s.opts.PhoneNumberID)).refuse = code
}

// mayCall is what holds for a number whomever it calls.
func (d *desk) mayCall(now time.Time, r Rules) *graphError {
	switch {
	case d.refuse != 0:
		return refusal(d.refuse)
	case d.up >= r.Concurrent:
		return refusal(TooManyCalls)
	case within(d.begun, now, day) >= r.NewCalls:
		return refusal(TooManyNew)
	}
	return nil
}

func (d *desk) mayAsk() *graphError {
	switch d.refuse {
	case CallingOff, CountryClosed, LowQuality:
		return refusal(d.refuse)
	}
	return nil
}

// mayRead counts a read of call_permissions.
func (d *desk) mayRead(now time.Time, r Rules) *graphError {
	if within(d.reads, now, time.Second) >= r.Reads {
		return &graphError{
			status: http.StatusTooManyRequests, code: 613, message: "(#613) Calls to this api have exceeded the rate limit.",
		}
	}
	d.reads = append(d.reads[max(0, len(d.reads)-r.Reads):], now)
	return nil
}

// refusal is a reason that the gateway could not know.
func refusal(code int) *graphError {
	status, text := http.StatusBadRequest, "Calling is not possible"
	switch code {
	case CallingOff:
		status, text = http.StatusUnauthorized, "Calling is not enabled for this phone number"
	case TooManyCalls:
		status, text = http.StatusTooManyRequests, "Maximum number of concurrent calls reached"
	case TooManyNew:
		status, text = http.StatusTooManyRequests, "Limit of new calls of this phone number reached"
	case CountryClosed:
		text = "Business-initiated calling is not available for this phone number"
	case LowQuality:
		text = "Calling is temporarily disabled for this phone number because of low quality"
	}
	return &graphError{status: status, code: code, message: fmt.Sprintf("(#%d) %s", code, text), details: text, race: true}
}

package whatsapp

import (
	"fmt"
	"time"
)

// Reason says why a call or a request is refused before Meta is asked. The
// words are metric labels.
type Reason string

// The reasons: the first eight are about calls, the others about requests.
const (
	ReasonNone       Reason = "none"
	ReasonRequested  Reason = "requested"
	ReasonDeclined   Reason = "declined"
	ReasonRevoked    Reason = "revoked"
	ReasonExpired    Reason = "expired" // Meta's expiry
	ReasonWindow     Reason = "window"  // our call window
	ReasonUnanswered Reason = "unanswered"
	ReasonCalls      Reason = "calls_24h" // Meta's limit of connected calls

	ReasonGranted   Reason = "granted" // permanently
	ReasonAskedDay  Reason = "requests_24h"
	ReasonAskedWeek Reason = "requests_7d"
	ReasonHeld      Reason = "held" // Meta said so
)

// CallReasons are the reasons for which a call is refused.
func CallReasons() []Reason {
	return []Reason{
		ReasonNone, ReasonRequested, ReasonDeclined, ReasonRevoked, ReasonExpired, ReasonWindow, ReasonUnanswered, ReasonCalls,
	}
}

var reasonTexts = map[Reason]string{
	ReasonNone:      "the customer has not allowed calls",
	ReasonRequested: "permission is requested, the customer has not answered",
	ReasonDeclined:  "the customer declined",
	ReasonRevoked:   "permission was taken back",
	ReasonExpired:   "permission has expired",
	ReasonWindow:    "permission is older than the call window",
	ReasonCalls:     "limit of connected calls in 24 hours is reached",
	ReasonGranted:   "the customer has given permanent permission",
	ReasonAskedDay:  "limit of requests in 24 hours is reached",
	ReasonAskedWeek: "limit of requests in 7 days is reached",
	ReasonHeld:      "Meta takes no request now",
}

// PermissionError says why the customer may not be called, or asked.
type PermissionError struct {
	Reason     Reason
	Again      time.Time // when the same may be tried again; zero: waiting alone does not help
	NextAsk    time.Time // when the customer may be asked; zero: never, or never needed
	Expires    time.Time // Meta's end of the grant, if there is one
	Unanswered int       // calls in a row
}

// Error returns a sentence for people.
func (e *PermissionError) Error() string {
	if e.Reason == ReasonUnanswered {
		return fmt.Sprintf("%d unanswered", e.Unanswered)
	}
	return reasonTexts[e.Reason]
}

// Limited says that the customer allows it and a limit of Meta's does not.
func (e *PermissionError) Limited() bool { return e.Reason == ReasonCalls }

// Askable says that a grant is what is missing: the customer may be asked, as
// far as the limits of requests allow.
func (e *PermissionError) Askable() bool {
	switch e.Reason {
	case ReasonNone, ReasonRequested, ReasonDeclined, ReasonRevoked, ReasonExpired, ReasonWindow:
		return true
	case ReasonUnanswered, ReasonCalls, ReasonGranted, ReasonAskedDay, ReasonAskedWeek, ReasonHeld:
	}
	return false
}

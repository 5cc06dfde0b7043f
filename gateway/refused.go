package gateway

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"
)

// refusal is the word for why an operator's wish is not carried out. The set is
// closed. Where the reason is a Cause, the word is the cause's.
type refusal string

const (
	refuseUnknownNumber refusal = "unknown_number" // no business number has this name
	refuseUnknownTrunk  refusal = "unknown_trunk"  // no trunk has this name
	refusePermitted     refusal = "permitted"      // we may call already, so the customer is not asked
	refuseUnanswered    refusal = "unanswered"     // too many calls in a row were not answered; the customer is left in peace
	refuseLimited       refusal = "limited"        // Meta's or our limit
	refuseNoPermission  refusal = "no_permission"  // the customer does not allow calls, or no longer
	refuseNotAllowed    refusal = "not_allowed"    // a rule of ours forbids it
	refuseNoRoute       refusal = "no_route"       // no route is for this call
	refuseNotFound      refusal = "not_found"      // the customer is not on WhatsApp, or cannot be called
	refuseBadNumber     refusal = "bad_number"     // not a customer's number or id
	refuseBusy          refusal = "busy"           // a call with this customer is up or on its way
	refuseOverloaded    refusal = "overloaded"     // a limit of this node
	refuseDraining      refusal = "draining"       // this node is ending
	refuseStoreFailed   refusal = "store_failed"   // what must be on disk first could not be written
	refuseAPIDown       refusal = "api_down"       // Meta does not answer, or fails
	refuseAPITimeout    refusal = "api_timeout"    // Meta gave no answer in time
	refuseAPIError      refusal = "api_error"      // Meta refuses for a fault of the set-up
	refuseUnreachable   refusal = "unreachable"    // no target of the trunk answers
	refuseInternal      refusal = "internal"       // our own fault
)

// status is the HTTP status of a refusal. The states of the customer are 409
// where a question was asked, but 403 where a call was.
func (r refusal) status() int {
	switch r {
	case refuseBadNumber:
		return http.StatusBadRequest
	case refuseNoPermission, refuseNotAllowed:
		return http.StatusForbidden
	case refuseUnknownNumber, refuseUnknownTrunk, refuseNoRoute, refuseNotFound:
		return http.StatusNotFound
	case refusePermitted, refuseUnanswered, refuseBusy:
		return http.StatusConflict
	case refuseLimited:
		return http.StatusTooManyRequests
	case refuseAPIDown, refuseAPIError, refuseUnreachable:
		return http.StatusBadGateway
	case refuseOverloaded, refuseDraining, refuseStoreFailed:
		return http.StatusServiceUnavailable
	case refuseAPITimeout:
		return http.StatusGatewayTimeout
	case refuseInternal:
	}
	return http.StatusInternalServerError
}

// timed reports whether the answer tells when things change: a permission's
// end, and when the customer may be asked.
func (r refusal) timed() bool {
	switch r {
	case refuseNoPermission, refusePermitted, refuseUnanswered, refuseLimited:
		return true
	case refuseUnknownNumber, refuseUnknownTrunk, refuseNotAllowed, refuseNoRoute, refuseNotFound, refuseBadNumber,
		refuseBusy, refuseOverloaded, refuseDraining, refuseStoreFailed, refuseAPIDown, refuseAPITimeout,
		refuseAPIError, refuseUnreachable, refuseInternal:
	}
	return false
}

// refusedError says why the gateway does not do what an operator asks for.
type refusedError struct {
	why        refusal
	reason     string        // a sentence for people, without the times below
	next       time.Time     // when the customer may be asked; zero: nobody knows, or never
	expires    time.Time     // when the permission ends or ended; zero: there is none, or it has no end
	retryAfter time.Duration // when the same wish may succeed; 0 says nothing
}

func (e *refusedError) Error() string { return cmp.Or(e.reason, string(e.why)) }

// refusedFor is the refusal for the reason that would have ended a call.
func refusedFor(why Cause, reason string) *refusedError {
	return &refusedError{why: refusal(why.String()), reason: reason}
}

// refusedBody is the body of a refusal; the times are there when they have a
// meaning, and null when there is none to tell.
type refusedBody struct {
	Error struct {
		Code          string    `json:"code"`
		Message       string    `json:"message"`
		NextRequestAt *jsonTime `json:"next_request_at,omitempty"`
		ExpiresAt     *jsonTime `json:"expires_at,omitempty"`
	} `json:"error"`
}

// refuse answers with the reason of err. What is not a refusal is a fault of
// ours, and its text is for the log.
func (a *admin) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var refused *refusedError
	if !errors.As(err, &refused) {
		if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
			return // the client has gone
		}
		a.deps.log.Error("request to the API failed", slog.String("request", r.Pattern), slog.Any("error", err))
		refused = &refusedError{why: refuseInternal, reason: "this failed inside the gateway; its log has the reason"}
	}
	var body refusedBody
	body.Error.Code, body.Error.Message = string(refused.why), refused.Error()
	if refused.why.timed() {
		body.Error.NextRequestAt, body.Error.ExpiresAt = new(jsonTime(refused.next)), new(jsonTime(refused.expires))
		if !refused.next.IsZero() {
			body.Error.Message += "; the customer may be asked from " + jsonTime(refused.next).String()
		}
	}
	if refused.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.retryAfter.Seconds()))))
	}
	reply(w, refused.why.status(), body)
}

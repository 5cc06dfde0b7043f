package gateway

// Cause says why a call ended. The set is closed; its words are metric labels,
// record fields and the X-WA-Error of every refusal. This file and
// cause_meta.go hold the only translations from and to the codes of SIP and Meta.
type Cause uint8

const (
	// NoCause means the call has not ended.
	NoCause Cause = iota
	// Hangup means the normal end by either side.
	Hangup
	// Cancelled means the caller gave up before the answer.
	Cancelled
	// Declined means the callee does not want the call.
	Declined
	// Busy means the callee is in another call.
	Busy
	// NoAnswer means it rang, and nobody came.
	NoAnswer
	// Unreachable means the trunk failed, or said nothing.
	Unreachable
	// APIDown means the Graph API refuses connections or fails.
	APIDown
	// APITimeout means the Graph API gave no answer in time.
	APITimeout
	// NotFound means nobody has this number.
	NotFound
	// NoRoute means no route is for this call.
	NoRoute
	// BadNumber means what was dialled is not a telephone number.
	BadNumber
	// NotAllowed means a rule of ours forbids the call.
	NotAllowed
	// StoreFailed means what must be on disk first could not be written.
	StoreFailed
	// NoPermission means the customer has not allowed us to call.
	NoPermission
	// Limited means a limit of Meta's is reached.
	Limited
	// Overloaded means a limit of ours is reached.
	Overloaded
	// Draining means this process is about to end.
	Draining
	// NoCodec means the sides have no codec in common.
	NoCodec
	// AnswerFailed means the callee answered, but the caller could not be connected.
	AnswerFailed
	// MediaFailed means audio never came up.
	MediaFailed
	// MediaLost means audio came up and went away.
	MediaLost
	// MaxDuration means the longest time for a call is over.
	MaxDuration
	// TrunkAuth means the trunk does not take our credentials.
	TrunkAuth
	// APIError means Meta refuses for a fault of the set-up: token, payment, settings.
	APIError
	// Internal means our own fault.
	Internal

	numCauses
)

// retry says what may be tried after a callee ended with a cause.
type retry uint8

const (
	retryNever  retry = iota
	retryHop          // the next place of the route
	retryTarget       // the next address of the trunk, then the next place
	retryPlain        // the same address once more with plain G.711, then the next place
)

// causeRow is what one cause means elsewhere.
type causeRow struct {
	name string
	// A SIP caller that waits for an answer gets this status.
	status int
	// The Q.850 cause of that refusal, and of a CANCEL or BYE. 0: none is sent.
	q850, release int
	retry         retry
}

var causes = [numCauses]causeRow{
	NoCause:      {"none", 500, 41, 16, retryNever},
	Hangup:       {"hangup", 480, 16, 16, retryNever},
	Cancelled:    {"cancelled", 487, 0, 16, retryNever},
	Declined:     {"declined", 603, 21, 21, retryNever},
	Busy:         {"busy", 486, 17, 17, retryHop},
	NoAnswer:     {"no_answer", 480, 19, 19, retryHop},
	Unreachable:  {"unreachable", 502, 38, 41, retryTarget},
	APIDown:      {"api_down", 502, 38, 41, retryNever},
	APITimeout:   {"api_timeout", 504, 102, 41, retryNever},
	NotFound:     {"not_found", 404, 1, 16, retryNever},
	NoRoute:      {"no_route", 404, 3, 16, retryNever},
	BadNumber:    {"bad_number", 484, 28, 16, retryNever},
	NotAllowed:   {"not_allowed", 403, 21, 16, retryNever},
	StoreFailed:  {"store_failed", 503, 41, 41, retryNever},
	NoPermission: {"no_permission", 403, 21, 16, retryNever},
	Limited:      {"limited", 480, 42, 16, retryNever},
	Overloaded:   {"overloaded", 503, 42, 31, retryHop},
	Draining:     {"draining", 503, 42, 31, retryHop},
	NoCodec:      {"no_codec", 488, 65, 65, retryPlain},
	AnswerFailed: {"answer_failed", 480, 41, 41, retryNever},
	MediaFailed:  {"media_failed", 480, 47, 41, retryNever},
	MediaLost:    {"media_lost", 480, 41, 41, retryNever},
	MaxDuration:  {"max_duration", 480, 31, 31, retryNever},
	TrunkAuth:    {"trunk_auth", 500, 41, 41, retryNever},
	APIError:     {"api_error", 500, 41, 41, retryNever},
	Internal:     {"internal", 500, 41, 41, retryNever},
}

func (c Cause) row() causeRow {
	if c >= numCauses {
		return causes[Internal]
	}
	return causes[c]
}

// String returns the word for logs, labels and records.
func (c Cause) String() string { return c.row().name }

// retry returns what may be tried next when a callee ends like this.
func (c Cause) retry() retry { return c.row().retry }

// farSide reports whether a side that ends like this did so itself. In the
// other cases it was not asked, or we gave it up, or Meta did.
func (c Cause) farSide() bool {
	switch c {
	case Hangup, Cancelled, Declined, Busy, NoAnswer, Unreachable, NotFound, NoCodec, TrunkAuth:
		return true
	case NoCause, APIDown, APITimeout, NoRoute, BadNumber, NotAllowed, StoreFailed, NoPermission, Limited,
		Overloaded, Draining, AnswerFailed, MediaFailed, MediaLost, MaxDuration, APIError, Internal, numCauses:
	}
	return false
}

// sipStatus returns how a SIP caller that waits for an answer is refused, and
// the Q.850 cause of the Reason header; 0 means that none is sent. After it has
// rung only codes are used at which no PBX tries elsewhere by itself, for that
// would ring twice.
func (c Cause) sipStatus(rung bool) (code, q850 int) {
	r := c.row()
	if rung && r.status != 486 && r.status != 487 && r.status != 603 {
		return 480, r.q850
	}
	return r.status, r.q850
}

// releaseQ850 returns the Q.850 cause of a CANCEL or a BYE.
func (c Cause) releaseQ850() int { return c.row().release }

// causeOfSIP returns why a trunk ended an INVITE of ours: its final status, and
// the Q.850 cause of its Reason header, 0 if there was none. Status 0 stands for
// no response at all.
func causeOfSIP(status, q850 int) Cause {
	c, fixed := statusCause(status)
	if !fixed {
		if better := q850Cause(q850); better != NoCause {
			return better // the Reason header knows more than the status (RFC 6432)
		}
	}
	return c
}

// statusCause translates a final status. Fixed means that the status says what
// to do next, whatever a Reason header adds.
func statusCause(status int) (c Cause, fixed bool) {
	switch status {
	case 0:
		return Unreachable, true
	case 401, 407:
		return TrunkAuth, true
	case 415, 420, 488, 606:
		return NoCodec, true
	case 404, 410, 484, 485:
		return NotFound, false
	case 604:
		return NotFound, true
	case 408, 480, 487:
		return NoAnswer, false
	case 486:
		return Busy, false
	case 600:
		return Busy, true
	case 403, 607, 608:
		return Declined, true
	}
	switch {
	case status < 300:
		return NoCause, true
	case status < 400: // a redirection to where we may not go
		return NoAnswer, true
	case status >= 500 && status < 600:
		return Unreachable, false
	case status >= 600:
		return Declined, true
	}
	return Declined, false
}

// q850Cause translates a cause of the telephone network, as far as it decides
// anything.
func q850Cause(q850 int) Cause {
	switch q850 {
	case 1, 2, 3, 22, 23, 26, 28:
		return NotFound
	case 17:
		return Busy
	case 18, 19, 20:
		return NoAnswer
	case 21, 55, 57, 87:
		return Declined
	case 27, 34, 38, 41, 42, 47, 58, 102:
		return Unreachable
	}
	return NoCause
}

// q850OfSIP returns the Q.850 cause that goes on record for the end of an INVITE
// of ours: the one of its Reason header, else the one that its status stands
// for (RFC 3398 section 8.2.6, with 480 and 408 as our PBXs mean them).
func q850OfSIP(status, q850 int) int {
	if q850 != 0 {
		return q850
	}
	switch status {
	case 404, 485, 604:
		return 1
	case 486, 600:
		return 17
	case 408:
		return 18
	case 480:
		return 19
	case 401, 402, 403, 407, 603, 607, 608:
		return 21
	case 410:
		return 22
	case 482, 483:
		return 25
	case 484:
		return 28
	case 502:
		return 38
	case 405:
		return 63
	case 488, 606:
		return 65
	case 406, 415, 501:
		return 79
	case 0, 504:
		return 102
	case 413, 414, 416, 420, 421, 423, 505, 513:
		return 127
	}
	switch {
	case status >= 300 && status < 400: // as no answer
		return 19
	case status == 400, status == 481, status >= 500 && status < 600:
		return 41
	}
	return 31
}

// sipAlarm reports whether a final status means that somebody must mend the
// set-up: the number plan, the credentials, the codecs.
func sipAlarm(status int) bool {
	switch status {
	case 401, 404, 407, 410, 415, 420, 484, 488, 604, 606:
		return true
	}
	return false
}

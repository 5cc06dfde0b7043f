package gateway

import (
	"net/http"

	"wagate/whatsapp"
)

// causeOfMeta returns the cause for an error code of the Graph API or of a
// terminate webhook. Codes that nobody has explained count as a fault of the
// set-up, so that somebody looks.
func causeOfMeta(code int) Cause {
	if c := metaCause(code); c != NoCause {
		return c
	}
	return APIError
}

// causeOfAPI returns the cause for a refusal of the Graph API. Of a code that
// nobody has explained the HTTP status says whose fault it is.
func causeOfAPI(e *whatsapp.APIError) Cause {
	switch c := metaCause(e.Code); {
	case e.BadNumber():
		return BadNumber
	case c != NoCause:
		return c
	case e.Status >= http.StatusInternalServerError:
		return APIDown
	case e.Status == http.StatusTooManyRequests:
		return Limited
	}
	return APIError
}

// causeOfBarred returns the cause of a request that was not even made.
func causeOfBarred(e *whatsapp.BarredError) Cause {
	if e.Why == whatsapp.BarredThrottled {
		return Limited
	}
	return APIDown
}

// metaCause is the table of Meta's codes; NoCause for those that are not in it.
func metaCause(code int) Cause {
	switch code {
	case 1, 2, 131000, 131016, 133004, 138004:
		return APIDown
	case 138007:
		return APITimeout
	case 4, 613, 80007, 130429, 138002, 138005, 138012:
		return Limited
	case 138001, 131026:
		return NotFound
	case 138003:
		return Busy
	case 138006:
		return NoPermission
	case 138019, 138020, 138021, 138022, 138023:
		return MediaFailed
	case codeInvalid, codeBadSDP:
		return APIError
	}
	if standing(code) {
		return APIError
	}
	return NoCause
}

// standing means that Meta refuses every call of the number with this code,
// until somebody mends the set-up or Meta lifts what it has imposed: the token,
// the permissions of the app, the settings, the payment, the account.
func standing(code int) bool {
	switch code {
	case 3, 10, 33, 190, 368, 131031, 131042, 131044, 131055, 138000, 138013, 138014, 138015, 138018, 138024, 138025:
		return true
	}
	return code >= 200 && code <= 299
}

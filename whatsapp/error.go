package whatsapp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrNotSent means that no byte of the request has left: asking again
	// cannot do anything twice.
	ErrNotSent = errors.New("request was not sent")
	// ErrUnknown means that the request left and no usable answer came: it may
	// have had its effect.
	ErrUnknown = errors.New("effect of the request is unknown")
)

// Sent says whether a request that returned err may have reached Meta. It did
// when err is nil.
func Sent(err error) bool { return !errors.Is(err, ErrNotSent) }

// APIError is a refusal by the Graph API.
type APIError struct {
	Status     int // HTTP
	Code       int // Meta's, 0 when the answer had none
	Subcode    int
	Message    string
	Details    string
	TraceID    string        // fbtrace_id, for Meta's support
	RetryAfter time.Duration // 0: not said
}

// Error returns code, status and Meta's words, which are unstable, without the
// numbers in them.
func (e *APIError) Error() string {
	text := e.Details
	if text == "" {
		text = e.Message
	}
	return fmt.Sprintf("graph error %d, HTTP %d: %.200q, trace %.64q", e.Code, e.Status, quotable(text), e.TraceID)
}

// Is makes a server error that did not come from the API itself, but from
// something before it, an ErrUnknown: the request may have passed.
func (e *APIError) Is(target error) bool {
	return target == ErrUnknown && e.Status >= http.StatusInternalServerError && e.Code == 0
}

// Gone says that the call is over already. For a request to end it that is a
// success.
func (e *APIError) Gone() bool {
	return e.Code == codeInvalid && !e.InProgress() && mentions(e.Details, goneTexts)
}

// InProgress says that the call is up already. For a repeated accept that is a
// success.
func (e *APIError) InProgress() bool {
	return e.Code == codeInvalid && mentions(e.Details, progressTexts)
}

// BadNumber says that what was to be called is no telephone number.
func (e *APIError) BadNumber() bool { return e.Code == codeInvalid && mentions(e.Details, numberTexts) }

// Temporary says that the same request may succeed a little later, after
// RetryAfter if that is set.
func (e *APIError) Temporary() bool {
	switch {
	case slices.Contains(temporaryCodes, e.Code):
		return true
	case e.Code != 0 && known(e.Code):
		return false
	}
	return e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests
}

const (
	codeInvalid = 100
	codeNoToken = 190
)

// temporaryCodes pass by themselves: trouble at Meta's side, and throttles.
var temporaryCodes = []int{1, 2, 4, 613, 80007, 130429, 131000, 131016, 133004, 138002, 138004}

// knownCodes are the codes that Meta documents for what we do. They are also
// the label values of the error counter.
var knownCodes = []int{
	1, 2, 3, 4, 10, 33, codeInvalid, codeNoToken, 200, 368, 613, 80007, 130429,
	131000, 131009, 131016, 131026, 131030, 131031, 131042, 131044, 131047, 131048, 131055, 131056, 133004,
	138000, 138001, 138002, 138003, 138004, 138005, 138006, 138007, 138008, 138009, 138010, 138011, 138012,
	138013, 138014, 138015, 138016, 138017, 138018, 138019, 138020, 138021, 138022, 138023, 138024, 138025,
}

func known(code int) bool { return slices.Contains(knownCodes, code) }

// Code 100 has no number for the state of a call, nor for what is wrong with a
// request, only a text. This is the one place where we read it; what is not here
// is a refusal.
var (
	goneTexts = []string{
		"already ended", "already been ended", "already terminated", "already been terminated",
		"already completed", "already been completed", "already rejected", "already been rejected", "already failed",
		"call has ended", "call was ended", "call ended", "call is over", "call has been terminated",
		"call is not active", "no longer active", "not an active call", "no active call",
		"call does not exist", "call id does not exist", "call id is invalid", "invalid call id",
		"call not found", "call id not found", "unknown call",
		"reject is in progress", "reject in progress", "terminate is in progress", "terminate in progress",
	}
	progressTexts = []string{
		"already in progress", "call is in progress", "call in progress", "already accepted",
		"already been accepted", "already active", "already connected", "accept is in progress", "accept in progress",
	}
	numberTexts = []string{
		"not a phone number", "not a valid phone number", "invalid phone number", "phone number is invalid",
		"phone number is not valid", "not a valid whatsapp number",
	}
)

func mentions(text string, phrases []string) bool {
	text = strings.ToLower(strings.NewReplacer("_", " ", "-", " ").Replace(text))
	return slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(text, p) })
}

// parseError reads a refusal. An answer without Meta's envelope keeps only its
// status.
func parseError(status int, header http.Header, body []byte, now time.Time) *APIError {
	e := &APIError{Status: status, RetryAfter: max(retryAfter(header.Get("Retry-After"), now), usageWait(header.Get(usageHeader)))}
	var envelope struct {
		Error struct {
			Message   text   `json:"message"`
			Code      number `json:"code"`
			Subcode   number `json:"error_subcode"`
			TraceID   text   `json:"fbtrace_id"`
			ErrorData struct {
				Details text `json:"details"`
			} `json:"error_data"`
		} `json:"error"`
	}
	// A field of a wrong type leaves the others readable.
	_ = json.Unmarshal(body, &envelope)
	in := envelope.Error
	e.Message, e.Details, e.TraceID = string(in.Message), string(in.ErrorData.Details), string(in.TraceID)
	e.Code, e.Subcode = int(in.Code), int(in.Subcode)
	return e
}

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads seconds or a date (RFC 9110, section 10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	var wait time.Duration
	if s, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// usageHeader tells an account what it has used of its share.
const usageHeader = "X-Business-Use-Case-Usage"

// usageWait is how long the shares that are used up stay so: the header has
// them by account, with minutes.
func usageWait(value string) time.Duration {
	if value == "" || len(value) > maxAnswer {
		return 0
	}
	var accounts map[string][]struct {
		Minutes number `json:"estimated_time_to_regain_access"`
	}
	_ = json.Unmarshal([]byte(value), &accounts) // what is of a wrong type says nothing
	var longest time.Duration
	for _, uses := range accounts {
		for _, use := range uses {
			longest = max(longest, time.Duration(min(max(use.Minutes, 0), number(maxRetryAfter/time.Minute)))*time.Minute)
		}
	}
	return longest
}

package fakemeta

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// graphError is a refusal as the Graph API words it.
type graphError struct {
	status, code, subcode int
	message, details      string
	after                 time.Duration // Retry-After; 0: none
	race                  bool          // the gateway could not know: no violation
	repeat                bool          // the request had its effect before
}

func (e *graphError) text() string {
	if e.details != "" {
		return e.details
	}
	return e.message
}

// write sends the error envelope.
func (e *graphError) write(w http.ResponseWriter) {
	type data struct {
		Product string `json:"messaging_product"`
		Details string `json:"details"`
	}
	type body struct {
		Message string `json:"message"`
		Type    string `json:"type"`
		Code    int    `json:"code"`
		Data    *data  `json:"error_data,omitempty"`
		Subcode int    `json:"error_subcode,omitempty"`
		Trace   string `json:"fbtrace_id"`
	}
	b := body{Message: e.message, Type: "OAuthException", Code: e.code, Subcode: e.subcode, Trace: "A" + random(22)}
	if e.details != "" {
		b.Data = &data{"whatsapp", e.details}
	}
	if e.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.after.Seconds()+0.999)))
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]body{"error": b})
}

// invalid is error 100 with the reason in the details.
func invalid(details string) *graphError {
	return &graphError{status: http.StatusBadRequest, code: 100, message: "(#100) Invalid parameter", details: details}
}

// badSDP is what the field has seen for descriptions that a browser makes.
func badSDP(details string) *graphError {
	return &graphError{
		status: http.StatusBadRequest, code: 138008, message: "(#138008) SDP Validation error",
		details: "SDP Validation error: " + details,
	}
}

func errPath(path string) *graphError {
	return &graphError{status: http.StatusBadRequest, code: 2500, message: fmt.Sprintf("Unknown path components: %q", path)}
}

func errMethod(method, path string) *graphError {
	return &graphError{
		status: http.StatusBadRequest, code: 100,
		message: fmt.Sprintf("Unsupported %s request for %q", method, path),
	}
}

// The refusals of actions on a call that is not in the right state. The
// gateway may lose such a race; for a call that is up already it may not tell
// its own repetition from a mistake.
func errEnded() *graphError {
	e := invalid("Call is already ended")
	e.race = true
	return e
}

func errInProgress() *graphError {
	e := invalid("Call is already in progress")
	e.race, e.repeat = true, true
	return e
}

func errUnknownCall() *graphError { return invalid("Call ID is invalid or does not exist") }

func errNoPermission() *graphError {
	return &graphError{
		status: http.StatusUnauthorized, code: 138006, message: "(#138006) No approved call permission found",
		details: "No approved call permission from the recipient", subcode: 2494010,
	}
}

func errNoWindow() *graphError {
	return &graphError{
		status: http.StatusBadRequest, code: codeNoWindow, message: "(#131047) Re-engagement message",
		details: "More than 24 hours have passed since the user last replied to this number",
	}
}

func errBusyPair() *graphError {
	return &graphError{
		status: http.StatusBadRequest, code: 138003, message: "(#138003) Duplicate call",
		details: "A call with this user is already ongoing",
	}
}

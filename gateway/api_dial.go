package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode"

	"wagate/whatsapp"
)

// dialer places calls for operators: it rings the agent's phone at the PBX, and
// then the customer.
type dialer interface {
	// dial returns once the agent's phone is being called; what becomes of the
	// call is seen where all calls are. It fails with a *refusedError where
	// there is a reason to tell.
	dial(ctx context.Context, d dialRequest) (callView, error)
}

// dialRequest is a call that an operator asks for.
type dialRequest struct {
	Number string        // name of the business number that calls
	To     string        // the customer: E.164 with its plus, or a user id
	User   whatsapp.User // the same
	Trunk  string        // where the agent's phone is
	Agent  string        // what is dialled there
}

// agentPattern is a SIP user part of characters that no PBX takes for anything
// else, as in a route's to.
var agentPattern = regexp.MustCompile(`^([A-Za-z0-9._+*!~-]|%[0-9A-Fa-f]{2}){1,128}$`)

func (a *admin) dialCall(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Number string `json:"number"`
		To     string `json:"to"`
		Trunk  string `json:"trunk"`
		Agent  string `json:"agent"`
	}
	if !onlyParams(w, r) || !readJSON(w, r, &body, false) {
		return
	}
	d := dialRequest{Number: body.Number, Trunk: body.Trunk, Agent: plainUser(body.Agent)}
	user, ok := customer(body.To)
	switch {
	case d.Number == "":
		fail(w, http.StatusBadRequest, "bad_request", "number is missing: name one of whatsapp.numbers")
		return
	case d.Trunk == "":
		fail(w, http.StatusBadRequest, "bad_request", "trunk is missing: name one of trunks")
		return
	case !agentPattern.MatchString(body.Agent) || strings.ContainsFunc(d.Agent, unicode.IsControl):
		fail(w, http.StatusBadRequest, "bad_request", "agent is the extension to ring, like 201: letters, digits and . _ + * ! ~ -, others as %23")
		return
	case !ok:
		badCustomer(w)
		return
	}
	d.User, d.To = user, user.UserID
	if user.Number != "" {
		d.To = "+" + user.Number
	}
	call, err := a.deps.dialer.dial(r.Context(), d)
	if err != nil {
		a.refuse(w, r, err)
		return
	}
	w.Header().Set("Location", "/api/v1/calls/"+url.PathEscape(call.ID))
	reply(w, http.StatusCreated, call)
}

// readJSON reads a body of one JSON object with no other fields than into has.
// Optional bodies may be empty.
func readJSON(w http.ResponseWriter, r *http.Request, into any, optional bool) bool {
	in := json.NewDecoder(r.Body)
	in.DisallowUnknownFields()
	err := in.Decode(into)
	if optional && errors.Is(err, io.EOF) {
		return true
	}
	if err == nil {
		switch _, more := in.Token(); {
		case more == nil:
			err = errors.New("something follows the object")
		case !errors.Is(more, io.EOF):
			err = more
		}
	}
	var tooLong *http.MaxBytesError
	switch {
	case err == nil:
		return true
	case errors.As(err, &tooLong):
		fail(w, http.StatusRequestEntityTooLarge, "too_large", "the body is too long")
	default:
		fail(w, http.StatusBadRequest, "bad_request", "the body is not the JSON object that is asked for: "+strings.TrimPrefix(err.Error(), "json: "))
	}
	return false
}

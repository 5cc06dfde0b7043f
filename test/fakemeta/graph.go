package fakemeta

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const maxBody = 1 << 20 // bytes of a request

var versionForm = regexp.MustCompile(`^v\d{1,3}\.\d$`)

// serve answers the Graph API: POST /{version}/{number}/calls and …/messages,
// GET /{version}/{number} and …/call_permissions.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.wg.Add(1)
	s.mu.Unlock()
	defer s.wg.Done()

	row := Request{At: time.Now(), Method: r.Method, Path: r.URL.Path}
	do, fail := s.route(r, &row)
	f := s.faults.take(&row)
	row.Fault = f.Kind
	if f.Kind == Slow {
		s.pause(r.Context(), f.Delay)
	}
	var out outcome
	if fail == nil && f.effective() {
		out, fail = do()
		row.Done = fail == nil
		row.CallID, row.MessageID = cmp.Or(row.CallID, out.callID), out.messageID
	}
	if f.Kind == Drip && out.sent != nil {
		out.sent() // its head leaves at once
	}
	if f.Kind == NoFault || !s.disturb(w, r, f, &row, out, fail) {
		if f.Kind == Fail {
			out, fail = outcome{}, f.refusal()
		}
		s.reply(w, &row, out, fail)
	}
	row.Took = time.Since(row.At)
	s.requests.add(row)
}

// outcome is what a request brought about.
type outcome struct {
	body      any
	callID    string // of a new call
	messageID string
	sent      func() // the reply is about to leave; nil: nobody cares
}

// route checks what is the same for every request and finds out what it asks.
func (s *Server) route(r *http.Request, row *Request) (do func() (outcome, *graphError), fail *graphError) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 2 || !versionForm.MatchString(parts[0]) {
		return nil, errPath(r.URL.Path)
	}
	row.NumberID = parts[1]
	number := s.number(parts[1])
	switch {
	case len(parts) == 2 && r.Method == http.MethodGet:
		if fail := s.authorise(r, number, parts[1]); fail != nil {
			return nil, fail
		}
		return func() (outcome, *graphError) { return outcome{body: number.card()}, nil }, nil
	case len(parts) == 3 && parts[2] == "calls" && r.Method == http.MethodPost:
		return s.routeCall(r, row, number)
	case len(parts) == 3 && parts[2] == "messages" && r.Method == http.MethodPost:
		return s.routeMessage(r, row, number)
	case len(parts) == 3 && parts[2] == "call_permissions" && r.Method == http.MethodGet:
		q := r.URL.Query()
		row.Action, row.To = parts[2], cmp.Or(q.Get("user_wa_id"), q.Get("recipient"))
		if fail := s.authorise(r, number, parts[1]); fail != nil {
			return nil, fail
		}
		return func() (outcome, *graphError) { return s.readPermission(number, q) }, nil
	}
	return nil, errMethod(r.Method, r.URL.Path)
}

// routeCall reads the body of POST …/calls. The action is known for the books
// and the faults even when the request is going to be refused.
func (s *Server) routeCall(r *http.Request, row *Request, number *Number) (func() (outcome, *graphError), *graphError) {
	var req callRequest
	bad := readBody(r, row, &req)
	row.Action, row.CallID, row.SDP, row.Tag = req.Action, req.CallID, req.Session.SDP, req.Tag
	row.To = cmp.Or(req.To, req.Recipient)
	if fail := s.admit(r, row, number, bad, req.Product); fail != nil {
		return nil, fail
	}
	return func() (outcome, *graphError) { return s.act(number, req) }, nil
}

// routeMessage reads the body of POST …/messages.
func (s *Server) routeMessage(r *http.Request, row *Request, number *Number) (func() (outcome, *graphError), *graphError) {
	var req messageRequest
	bad := readBody(r, row, &req)
	row.Action, row.Tag, row.To = "messages", req.Tag, cmp.Or(req.To, req.Recipient)
	if fail := s.admit(r, row, number, bad, req.Product); fail != nil {
		return nil, fail
	}
	return func() (outcome, *graphError) { return s.postMessage(number, req) }, nil
}

// readBody reads as much as is there. What is wrong with it is said after the
// token was looked at.
func readBody(r *http.Request, row *Request, req any) *graphError {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	row.Body = body
	if err != nil {
		return invalid("The request body could not be read or is too large")
	}
	if err := json.Unmarshal(body, req); err != nil {
		return invalid("The request body is not valid JSON: " + jsonFault(err))
	}
	return nil
}

// admit checks what is the same for every request with a body.
func (s *Server) admit(r *http.Request, row *Request, number *Number, bad *graphError, product string) *graphError {
	if fail := s.authorise(r, number, row.NumberID); fail != nil {
		return fail
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return invalid("Content-Type must be application/json")
	}
	if bad != nil {
		return bad
	}
	if product != "whatsapp" {
		return invalid("messaging_product is missing or is not whatsapp")
	}
	return nil
}

// authorise checks the bearer token, then that the number exists and is the
// token's.
func (s *Server) authorise(r *http.Request, number *Number, id string) *graphError {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return &graphError{status: http.StatusUnauthorized, code: 0, message: "An access token is required to request this resource."}
	}
	known := false
	for i := range s.opts.Numbers {
		known = known || s.opens(token, &s.opts.Numbers[i])
	}
	switch {
	case !known:
		return &graphError{status: http.StatusUnauthorized, code: 190, message: "Invalid OAuth access token - Cannot parse access token"}
	case number == nil:
		return &graphError{
			status: http.StatusBadRequest, code: 100, subcode: 33,
			message: "Unsupported post request. Object with ID '" + id + "' does not exist, cannot be loaded due to missing permissions, or does not support this operation",
		}
	case !s.opens(token, number):
		return &graphError{status: http.StatusForbidden, code: 10, message: "(#10) Application does not have permission for this action"}
	}
	return nil
}

// card is what a read of the number shows.
func (n *Number) card() any {
	return map[string]any{
		"id": n.ID, "display_phone_number": "+" + n.Display, "verified_name": "Example Business",
		"status": "CONNECTED", "quality_rating": "GREEN", "platform_type": "CLOUD_API",
	}
}

// callRequest is the body of POST …/calls.
type callRequest struct {
	Product   string `json:"messaging_product"`
	Action    string `json:"action"`
	CallID    string `json:"call_id"`
	To        string `json:"to"`
	Recipient string `json:"recipient"`
	Session   struct {
		Type string `json:"sdp_type"`
		SDP  string `json:"sdp"`
	} `json:"session"`
	Tag string `json:"biz_opaque_callback_data"`
}

func (s *Server) reply(w http.ResponseWriter, row *Request, out outcome, fail *graphError) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if fail != nil {
		row.Status, row.Code, row.Details = fail.status, fail.code, fail.text()
		if !fail.race && row.Fault == NoFault {
			s.blame(RefusedRequest, row.CallID, row.Action+": "+fail.text())
		}
		if fail.repeat && out.sent != nil {
			out.sent()
		}
		fail.write(w)
		return
	}
	row.Status = http.StatusOK
	if out.sent != nil {
		out.sent()
	}
	_ = json.NewEncoder(w).Encode(out.body)
}

func jsonFault(err error) string {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return kind.Field + " must be a " + kind.Type.String()
	}
	return "syntax"
}

package fakemeta

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxText       = 1024 // characters of an interactive message's body
	askType       = "call_permission_request"
	codeOldApp    = 131026 // undeliverable
	codeNoWindow  = 131047 // free-form, outside the customer service window
	codeNoAccount = 138001
)

// messageRequest is the body of POST …/messages.
type messageRequest struct {
	Product     string           `json:"messaging_product"`
	Recipients  string           `json:"recipient_type"`
	To          string           `json:"to"`
	Recipient   string           `json:"recipient"`
	Type        string           `json:"type"`
	Tag         string           `json:"biz_opaque_callback_data"`
	Interactive *freeForm        `json:"interactive"`
	Template    *templateRequest `json:"template"`
}

// freeForm is a request in the business's own words.
type freeForm struct {
	Type   string          `json:"type"`
	Header json.RawMessage `json:"header"`
	Footer json.RawMessage `json:"footer"`
	Body   *struct {
		Text string `json:"text"`
	} `json:"body"`
	Action *struct {
		Name string `json:"name"`
	} `json:"action"`
}

// templateRequest is a message after a template.
type templateRequest struct {
	Name     string `json:"name"`
	Language struct {
		Code string `json:"code"`
	} `json:"language"`
	Components []struct {
		Type       string `json:"type"`
		Parameters []struct {
			Type string `json:"type"`
			Text string `json:"text"`
		} `json:"parameters"`
	} `json:"components"`
}

// message is one that Meta has taken.
type message struct {
	id       string
	tag      string
	fail     int // code with which it fails afterwards
	byNumber bool
}

// postMessage carries out POST …/messages.
func (s *Server) postMessage(n *Number, req messageRequest) (outcome, *graphError) {
	who := strings.TrimPrefix(req.To, "+")
	if fail := checkCallee(who, req.Recipient); fail != nil {
		return outcome{}, fail
	}
	if req.Recipients != "" && req.Recipients != "individual" {
		return outcome{}, invalid("recipient_type must be individual")
	}
	if utf8.RuneCountInString(req.Tag) > maxTag {
		return outcome{}, invalid("biz_opaque_callback_data is longer than 512 characters")
	}
	ask := &Ask{ID: newMessageID(), Tag: req.Tag}
	switch req.Type {
	case "interactive":
		if fail := req.Interactive.check(); fail != nil {
			return outcome{}, fail
		}
		if b := req.Interactive.Body; b != nil {
			ask.Text = b.Text
		}
	case "template":
		t, fail := req.Template.find(s.opts.Rules.Known)
		if fail != nil {
			return outcome{}, fail
		}
		if ask.Template = t.Name; t.Plain {
			return s.enqueue(n, who, req, nil, ask.ID)
		}
	default:
		return outcome{}, invalid(fmt.Sprintf("type must be interactive or template here, not %q", req.Type))
	}
	return s.enqueue(n, who, req, ask, ask.ID)
}

// check is what Meta wants of a free-form request.
func (f *freeForm) check() *graphError {
	switch {
	case f == nil:
		return invalid("interactive is missing")
	case f.Type != askType:
		return invalid(fmt.Sprintf("interactive.type must be %s here, not %q", askType, f.Type))
	case present(f.Header):
		return invalid("interactive.header is not allowed with " + askType)
	case present(f.Footer):
		return invalid("interactive.footer is not allowed with " + askType)
	case f.Action == nil || f.Action.Name != askType:
		return invalid("interactive.action.name must be " + askType)
	case f.Body != nil && strings.TrimSpace(f.Body.Text) == "":
		return invalid("interactive.body.text is missing")
	case f.Body != nil && utf8.RuneCountInString(f.Body.Text) > maxText:
		return invalid("interactive.body.text is longer than 1024 characters")
	}
	return nil
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// find looks for the template and checks what is sent with it.
func (t *templateRequest) find(known []Template) (Template, *graphError) {
	switch {
	case t == nil || t.Name == "":
		return Template{}, invalid("template.name is missing")
	case t.Language.Code == "":
		return Template{}, invalid("template.language.code is missing")
	}
	params := 0
	for _, c := range t.Components {
		switch strings.ToLower(c.Type) {
		case askType:
			return Template{}, invalid("nothing is sent for the component " + askType)
		case "body":
			params += len(c.Parameters)
			for _, p := range c.Parameters {
				if p.Type != "text" || p.Text == "" {
					return Template{}, invalid("the parameters of the body must be of type text, and not empty")
				}
			}
		case "header": // may have parameters of its own
		default:
			return Template{}, invalid(fmt.Sprintf("component %q cannot be combined with %s", c.Type, askType))
		}
	}
	for _, k := range known {
		if k.Name != t.Name || k.Language != t.Language.Code {
			continue
		}
		if k.Params != params {
			return Template{}, &graphError{
				status: http.StatusBadRequest, code: 132000, message: "(#132000) Number of parameters does not match the expected number of params",
				details: fmt.Sprintf("body: number of localizable_params (%d) does not match the expected number of params (%d)", params, k.Params),
			}
		}
		return k, nil
	}
	return Template{}, &graphError{
		status: http.StatusNotFound, code: 132001, message: "(#132001) Template name does not exist in the translation",
		details: fmt.Sprintf("template name (%s) does not exist in %s", t.Name, t.Language.Code),
	}
}

// enqueue takes a message to a user: a call permission request, unless ask is
// nil.
func (s *Server) enqueue(n *Number, who string, req messageRequest, ask *Ask, id string) (outcome, *graphError) {
	s.mu.Lock()
	to := s.people.person(who, req.Recipient)
	consent, ok := s.people.consents[to.User.Number]
	if !ok {
		consent = s.people.consents[""]
	}
	s.mu.Unlock()
	if fail := s.reachable(to); fail != nil {
		return outcome{}, fail
	}
	m := message{id: id, tag: req.Tag, byNumber: who != ""}
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	p, now := s.pair(n, to.User), s.now()
	if ask != nil {
		if fail := s.mayAsk(p, now, ask, &m); fail != nil {
			return outcome{}, fail
		}
		if consent.OldApp {
			m.fail = codeOldApp
		}
		ask.At, ask.Failed = now, m.fail
		p.asks, p.counted = append(p.asks, ask), append(p.counted, now)
	}
	s.receive(p, m, ask, consent, now)
	return outcome{messageID: id, body: replyTo(req, who, to.User, id)}, nil
}

// mayAsk is everything that may stand against a request. The ledger's lock is
// held.
func (s *Server) mayAsk(p *pair, now time.Time, ask *Ask, m *message) *graphError {
	if fail := s.ledger.desk(p.number.ID).mayAsk(); fail != nil {
		return fail
	}
	if fail := p.mayAsk(now, s.opts.Rules.figures()); fail != nil {
		return fail
	}
	if ask.Template == "" && !now.Before(p.window) {
		if !s.opts.Rules.LateWindow {
			return errNoWindow()
		}
		m.fail = codeNoWindow
	}
	return nil
}

// replyTo is what Meta answers to a message.
func replyTo(req messageRequest, who string, u User, id string) any {
	type contact struct {
		Input    string `json:"input"`
		WaID     string `json:"wa_id,omitempty"`
		UserID   string `json:"user_id,omitempty"`
		ParentID string `json:"parent_user_id,omitempty"`
	}
	type message struct {
		ID string `json:"id"`
	}
	c := contact{req.To, u.Number, u.UserID, u.ParentID}
	if who == "" {
		c.Input, c.WaID = req.Recipient, ""
	}
	return struct {
		Product  string    `json:"messaging_product"`
		Contacts []contact `json:"contacts"`
		Messages []message `json:"messages"`
	}{"whatsapp", []contact{c}, []message{{id}}}
}

// newMessageID has the form of a wamid.
func newMessageID() string {
	b := make([]byte, 31)
	_, _ = rand.Read(b) // never fails
	return "wamid." + base64.StdEncoding.EncodeToString(b)
}

package fakemeta

import (
	"time"
)

// The webhooks about messages, in Meta's order of keys.
type (
	messageEvent struct {
		From        string         `json:"from,omitempty"`
		FromID      string         `json:"from_user_id,omitempty"`
		FromParent  string         `json:"from_parent_user_id,omitempty"`
		ID          string         `json:"id"`
		Timestamp   string         `json:"timestamp"`
		Type        string         `json:"type"`
		Context     *contextOf     `json:"context,omitempty"`
		Text        *textOf        `json:"text,omitempty"`
		Interactive *interactiveOf `json:"interactive,omitempty"`
	}
	contextOf struct {
		From string `json:"from"`
		ID   string `json:"id"`
	}
	textOf struct {
		Body string `json:"body"`
	}
	interactiveOf struct {
		Type  Kind        `json:"type"`
		Reply replyFields `json:"call_permission_reply"`
	}
	replyFields struct {
		Response  string `json:"response"`
		Permanent *bool  `json:"is_permanent,omitempty"`
		Expires   string `json:"expiration_timestamp,omitempty"`
		Source    string `json:"response_source"`
	}
)

// value is the envelope of what concerns the pair.
func (p *pair) value() value {
	return value{Product: "whatsapp", Metadata: metadata{p.number.Display, p.number.ID}, Contacts: []contact{p.user.contact()}}
}

// event is a message of the user.
func (p *pair) event(now time.Time, id, kind string) messageEvent {
	e := messageEvent{
		From: p.user.Number, FromID: p.user.UserID, FromParent: p.user.ParentID,
		ID: id, Timestamp: seconds(now), Type: kind,
	}
	if p.user.Private {
		e.From = ""
	}
	return e
}

func (p *pair) textHook(now time.Time, id, text string) hook {
	e := p.event(now, id, "text")
	e.Text = &textOf{text}
	v := p.value()
	v.Messages = []messageEvent{e}
	return hook{KindText, id, fieldMessages, v}
}

// replyHook says what is allowed from now on. The context is the message or the
// call that brought it about; "": none did.
func (p *pair) replyHook(now time.Time, a Answer, context string, automatic bool) hook {
	r := replyFields{Response: "reject", Source: "user_action"}
	if a != Decline {
		permanent := a == GrantPermanent
		r.Response, r.Permanent = "accept", &permanent
		if !permanent {
			r.Expires = seconds(p.expires)
		}
	}
	if automatic {
		r.Source = "automatic"
	}
	id := newMessageID()
	e := p.event(now, id, "interactive")
	e.Interactive = &interactiveOf{KindPermission, r}
	if context != "" {
		e.Context = &contextOf{p.number.Display, context}
	}
	v := p.value()
	v.Messages = []messageEvent{e}
	return hook{KindPermission, id, fieldMessages, v}
}

// statusHook says what became of a message of the business.
func (p *pair) statusHook(now time.Time, m message, kind Kind) hook {
	st := callStatus{
		ID: m.id, Status: kind, Timestamp: seconds(now),
		Recipient: p.user.Number, RecipientID: p.user.UserID, RecipientParent: p.user.ParentID, Tag: m.tag,
	}
	v := p.value()
	if p.user.Private && !m.byNumber {
		st.Recipient = ""
	}
	if kind == KindFailed {
		v.Contacts, st.Errors = nil, []hookError{failure(m.fail)}
		if m.byNumber {
			st.RecipientID, st.RecipientParent = "", ""
		}
	}
	v.Statuses = []callStatus{st}
	return hook{kind, m.id, fieldMessages, v}
}

package fakemeta

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf16"
)

// Kind is a kind of webhook event.
type Kind string

// The kinds.
const (
	KindConnect   Kind = "connect"
	KindTerminate Kind = "terminate"
	KindRinging   Kind = "RINGING"
	KindAccepted  Kind = "ACCEPTED"
	KindRejected  Kind = "REJECTED"

	// Those about messages.
	KindSent       Kind = "sent"
	KindDelivered  Kind = "delivered"
	KindFailed     Kind = "failed"
	KindText       Kind = "text"
	KindPermission Kind = "call_permission_reply"
)

// The fields of webhooks.
const (
	fieldCalls    = "calls"
	fieldMessages = "messages"
)

// The envelope of webhooks, in Meta's order of keys.
type (
	envelope struct {
		Object string  `json:"object"`
		Entry  []entry `json:"entry"`
	}
	entry struct {
		ID      string   `json:"id"`
		Changes []change `json:"changes"`
	}
	change struct {
		Value value  `json:"value"`
		Field string `json:"field"`
	}
	value struct {
		Product  string         `json:"messaging_product"`
		Metadata metadata       `json:"metadata"`
		Contacts []contact      `json:"contacts,omitempty"`
		Calls    []callEvent    `json:"calls,omitempty"`
		Messages []messageEvent `json:"messages,omitempty"`
		Statuses []callStatus   `json:"statuses,omitempty"`
		Errors   []hookError    `json:"errors,omitempty"`
	}
	metadata struct {
		Display string `json:"display_phone_number"`
		ID      string `json:"phone_number_id"`
	}
	contact struct {
		Profile  profile `json:"profile"`
		WaID     string  `json:"wa_id,omitempty"`
		UserID   string  `json:"user_id,omitempty"`
		ParentID string  `json:"parent_user_id,omitempty"`
	}
	profile struct {
		Name     string `json:"name,omitempty"`
		Username string `json:"username,omitempty"`
	}
	callEvent struct {
		ID         string      `json:"id"`
		From       string      `json:"from,omitempty"`
		FromID     string      `json:"from_user_id,omitempty"`
		FromParent string      `json:"from_parent_user_id,omitempty"`
		To         string      `json:"to,omitempty"`
		ToID       string      `json:"to_user_id,omitempty"`
		ToParent   string      `json:"to_parent_user_id,omitempty"`
		Event      Kind        `json:"event"`
		Timestamp  string      `json:"timestamp"`
		Direction  string      `json:"direction"`
		Status     string      `json:"status,omitempty"`
		Start      string      `json:"start_time,omitempty"`
		End        string      `json:"end_time,omitempty"`
		Duration   *int        `json:"duration,omitempty"`
		Payload    string      `json:"cta_payload,omitempty"`
		DeepLink   string      `json:"deeplink_payload,omitempty"`
		Tag        string      `json:"biz_opaque_callback_data,omitempty"`
		Session    *session    `json:"session,omitempty"`
		Connection *connection `json:"connection,omitempty"`
		Errors     []hookError `json:"errors,omitempty"`
	}
	session struct {
		Type string `json:"sdp_type"`
		SDP  string `json:"sdp"`
	}
	connection struct {
		WebRTC struct {
			SDP string `json:"sdp"`
		} `json:"webrtc"`
	}
	callStatus struct {
		ID              string      `json:"id"`
		Type            string      `json:"type,omitempty"`
		Status          Kind        `json:"status"`
		Timestamp       string      `json:"timestamp"`
		Recipient       string      `json:"recipient_id,omitempty"`
		RecipientID     string      `json:"recipient_user_id,omitempty"`
		RecipientParent string      `json:"recipient_parent_user_id,omitempty"`
		Tag             string      `json:"biz_opaque_callback_data,omitempty"`
		Errors          []hookError `json:"errors,omitempty"`
	}
	hookError struct {
		Code    int       `json:"code"`
		Title   string    `json:"title"`
		Message string    `json:"message"`
		Href    string    `json:"href"`
		Data    errorData `json:"error_data"`
	}
	errorData struct {
		Details string `json:"details"`
	}
)

// hook is one event on its way.
type hook struct {
	kind  Kind
	id    string // of the call or the message
	field string
	value value
}

// seconds is a time as webhooks write it.
func seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func (c *Customer) value() value {
	return value{Product: "whatsapp", Metadata: metadata{c.number.Display, c.number.ID}, Contacts: []contact{c.user.contact()}}
}

func (u User) contact() contact {
	who := contact{Profile: profile{u.Name, u.Username}, WaID: u.Number, UserID: u.UserID, ParentID: u.ParentID}
	if u.Private {
		who.WaID = ""
	}
	return who
}

// event has what connect and terminate have in common.
func (c *Customer) event(kind Kind, at time.Time) callEvent {
	u := c.user
	if u.Private {
		u.Number = ""
	}
	e := callEvent{ID: c.id, Event: kind, Timestamp: seconds(at)}
	if c.outbound {
		e.From, e.To, e.ToID, e.ToParent = c.number.Display, u.Number, u.UserID, u.ParentID
		e.Direction = "BUSINESS_INITIATED"
	} else {
		e.From, e.FromID, e.FromParent, e.To = u.Number, u.UserID, u.ParentID, c.number.Display
		e.Direction = "USER_INITIATED"
		e.Payload, e.DeepLink = c.opts.Payload, c.opts.DeepLink
	}
	return e
}

// connectHook carries the session description, and in calls of the business
// its outdated second form.
func (c *Customer) connectHook(kind, sdp string) hook {
	e := c.event(KindConnect, c.wall.placed.Add(-c.opts.Age))
	e.Session = &session{kind, sdp}
	if c.outbound {
		e.Tag = c.tag
		e.Connection = &connection{}
		old, _ := json.Marshal(map[string]string{"sdp": sdp, "type": kind}) // strings only
		e.Connection.WebRTC.SDP = string(old)
	}
	v := c.value()
	v.Calls = []callEvent{e}
	return hook{KindConnect, c.id, fieldCalls, v}
}

// terminateHook tells the end. Errors are in both places, as in the field.
func (c *Customer) terminateHook() hook {
	c.mu.Lock()
	end, wall, tag := c.end, c.wall, c.tag
	c.mu.Unlock()
	e := c.event(KindTerminate, wall.end)
	e.Status, e.Tag = end.Status, tag
	if !wall.connected.IsZero() {
		n := int(end.Talked.Seconds() + 0.5)
		e.Start, e.End, e.Duration = seconds(wall.connected), seconds(wall.end), &n
	}
	v := c.value()
	if end.Code != 0 {
		v.Errors = []hookError{failure(end.Code)}
		e.Errors = v.Errors
	}
	v.Calls = []callEvent{e}
	return hook{KindTerminate, c.id, fieldCalls, v}
}

func failure(code int) hookError {
	text := map[int]string{
		138019:       "WhatsApp client failed to set up the call",
		138020:       "WhatsApp client could not connect to the relay",
		codeNoMedia:  "WhatsApp client did not receive any media for a long time",
		codeNoSpeech: "WhatsApp client did not transmit any media for a long time",
		138023:       "The call was accepted and ended without media signals",
		codeOldApp:   "Message undeliverable",
		codeNoWindow: "Re-engagement message",
	}[code]
	return hookError{
		Code: code, Title: text, Message: text, Data: errorData{text},
		Href: "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
	}
}

// statusHook is for calls of the business only.
func (c *Customer) statusHook(kind Kind) hook {
	u := c.user
	if u.Private {
		u.Number = ""
	}
	v := c.value()
	v.Statuses = []callStatus{{
		ID: c.id, Type: "call", Status: kind, Timestamp: seconds(c.s.now()),
		Recipient: u.Number, RecipientID: u.UserID, RecipientParent: u.ParentID, Tag: c.tag,
	}}
	return hook{kind, c.id, fieldCalls, v}
}

// perEntry is how many changes an entry of a batch has.
const perEntry = 2

// body writes events as one POST, in batches with several entries.
func (s *Server) body(hooks []hook) []byte {
	e := envelope{Object: "whatsapp_business_account"}
	for some := range slices.Chunk(hooks, perEntry) {
		in := entry{ID: s.opts.AccountID}
		for _, h := range some {
			in.Changes = append(in.Changes, change{h.value, h.field})
		}
		e.Entry = append(e.Entry, in)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil // strings and numbers only: cannot be
	}
	return escape(b)
}

// escape writes JSON as Meta does: pure ASCII, and slashes escaped.
func escape(b []byte) []byte {
	out := make([]byte, 0, len(b)+len(b)/16)
	for _, r := range string(b) {
		switch {
		case r == '/':
			out = append(out, '\\', '/')
		case r < 0x80:
			out = append(out, byte(r))
		case r >= 0x10000:
			hi, lo := utf16.EncodeRune(r)
			out = appendHex(appendHex(out, hi), lo)
		default:
			out = appendHex(out, r)
		}
	}
	return out
}

func appendHex(b []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(b, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

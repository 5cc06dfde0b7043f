package whatsapp

import (
	"encoding/json"
	"fmt"
	"time"
)

// CallID is Meta's id of a call ("wacid…"). It is compared as it is.
type CallID string

// Event is something that happened to a call at Meta's side. Only fresh events
// are delivered: a repeated webhook is not.
//
//sumtype:decl
type Event interface {
	event()
	// About returns what every event has.
	About() Meta
	// Kind returns the event's kind.
	Kind() Kind
}

// Meta is what every event has.
type Meta struct {
	Key      string    // the same for every delivery of this event
	NumberID string    // phone_number_id of the business number
	CallID   CallID    // empty where the event is about no call
	Tag      string    // biz_opaque_callback_data of the request that it follows
	At       time.Time // Meta's clock, full seconds
}

// About implements Event.
func (m Meta) About() Meta { return m }

// User is the customer. A number is digits without a plus, and may be missing
// when the user hides it; UserID is then the only key.
type User struct {
	Number       string
	UserID       string // business-scoped
	ParentUserID string
	Name         string // as the profile says: for display only
	Username     string
}

// Callee returns the names by which the user can be called or asked.
func (u User) Callee() Callee { return Callee{Number: u.Number, UserID: u.UserID} }

// Direction says who called.
type Direction uint8

// The two directions.
const (
	UserInitiated Direction = iota
	BusinessInitiated
)

// Offer is a customer's call.
type Offer struct {
	Meta
	User     User
	To       string // the business number, digits
	Payload  string // of the call button
	DeepLink string // payload of the wa.me link
	SDP      string // empty when read back from a journal
}

// Answer is Meta's session description for a call that we placed. The customer
// has not picked up yet.
type Answer struct {
	Meta
	User User
	SDP  string // empty when read back from a journal
}

// StatusState is how far a call that we placed has come.
type StatusState uint8

// The states of a Status.
const (
	Ringing StatusState = iota
	Accepted
	Rejected
)

// String returns Meta's word for the state.
func (s StatusState) String() string { return stateNames[s] }

var stateNames = [...]string{Ringing: "RINGING", Accepted: "ACCEPTED", Rejected: "REJECTED"}

// Status reports how far a call that we placed has come.
type Status struct {
	Meta
	User  User
	State StatusState
}

// Terminate says that a call is over, whoever ended it.
type Terminate struct {
	Meta
	User      User
	Direction Direction
	Failed    bool // Meta's status; an unanswered call has not failed
	Start     time.Time
	End       time.Time     // both zero unless it was picked up
	Duration  time.Duration // what Meta bills, full seconds
	Errors    []HookError
}

// HookError is an error that came in a webhook.
type HookError struct {
	Code    int
	Title   string
	Message string
	Details string
}

// PermissionReply says what the customer allows.
type PermissionReply struct {
	Meta
	User      User
	Accept    bool
	Permanent bool
	Automatic bool      // Meta decided, not the customer
	Expires   time.Time // of a temporary grant
	Context   string    // id of our request, or of the call that it follows
	MessageID string
}

// Spoke is a message of the customer's. What it says is nothing to us: it opens
// the customer service window.
type Spoke struct {
	Meta
	User      User // without names
	MessageID string
}

// MessageFailed says that a message of the business number did not reach the
// customer. It need not be one of ours.
type MessageFailed struct {
	Meta
	User      User // may be empty
	MessageID string
	Errors    []HookError
}

// Code returns Meta's code for the failure, 0 if none came.
func (f MessageFailed) Code() int {
	if len(f.Errors) == 0 {
		return 0
	}
	return f.Errors[0].Code
}

// UserMoved says that a customer has a new number or id. Either side may lack
// one of the two.
type UserMoved struct {
	Meta
	Old, New User // without names
}

func (Offer) event()           {}
func (Answer) event()          {}
func (Status) event()          {}
func (Terminate) event()       {}
func (PermissionReply) event() {}
func (Spoke) event()           {}
func (MessageFailed) event()   {}
func (UserMoved) event()       {}

// Kind implements Event.
func (Offer) Kind() Kind { return KindOffer }

// Kind implements Event.
func (Answer) Kind() Kind { return KindAnswer }

// Kind implements Event.
func (Status) Kind() Kind { return KindStatus }

// Kind implements Event.
func (Terminate) Kind() Kind { return KindTerminate }

// Kind implements Event.
func (PermissionReply) Kind() Kind { return KindPermission }

// Kind implements Event.
func (Spoke) Kind() Kind { return KindMessage }

// Kind implements Event.
func (MessageFailed) Kind() Kind { return KindMessageFailed }

// Kind implements Event.
func (UserMoved) Kind() Kind { return KindUserMoved }

// Kind is the kind of an event, in metrics and journals.
type Kind string

// The kinds of events. KindOther is what we have no use for.
const (
	KindOffer         Kind = "offer"
	KindAnswer        Kind = "answer"
	KindStatus        Kind = "status"
	KindTerminate     Kind = "terminate"
	KindPermission    Kind = "permission"
	KindMessage       Kind = "message"
	KindMessageFailed Kind = "message_failed"
	KindUserMoved     Kind = "user_moved"
	KindOther         Kind = "other"
)

// kinds are the values of the metric label.
var kinds = []Kind{
	KindOffer, KindAnswer, KindStatus, KindTerminate, KindPermission, KindMessage, KindMessageFailed, KindUserMoved, KindOther,
}

// journaled is how an event is kept: its kind and its fields.
type journaled struct {
	Kind  Kind            `json:"kind"`
	Event json.RawMessage `json:"event"`
}

// body returns the event's durable form. Session descriptions carry keys and
// serve nobody after a crash, so they are left out.
func body(ev Event) ([]byte, error) {
	switch e := ev.(type) {
	case Offer:
		e.SDP = ""
		ev = e
	case Answer:
		e.SDP = ""
		ev = e
	case Status, Terminate, PermissionReply, Spoke, MessageFailed, UserMoved:
	}
	fields, err := json.Marshal(ev)
	if err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return json.Marshal(journaled{ev.Kind(), fields})
}

// ParseEvent reads the body of a Journaled event back, without its SDP.
func ParseEvent(body []byte) (Event, error) {
	var j journaled
	if err := json.Unmarshal(body, &j); err != nil {
		return nil, fmt.Errorf("decode journaled event: %w", err)
	}
	switch j.Kind {
	case KindOffer:
		return decode[Offer](j.Event)
	case KindAnswer:
		return decode[Answer](j.Event)
	case KindStatus:
		s, err := decode[Status](j.Event)
		if err == nil && int(s.(Status).State) >= len(stateNames) {
			return nil, fmt.Errorf("decode journaled event: no state %d", s.(Status).State)
		}
		return s, err
	case KindTerminate:
		return decode[Terminate](j.Event)
	case KindPermission:
		return decode[PermissionReply](j.Event)
	case KindMessage:
		return decode[Spoke](j.Event)
	case KindMessageFailed:
		return decode[MessageFailed](j.Event)
	case KindUserMoved:
		return decode[UserMoved](j.Event)
	case KindOther:
	}
	return nil, fmt.Errorf("decode journaled event: unknown kind %q", j.Kind)
}

func decode[E Event](fields []byte) (Event, error) {
	var e E
	if err := json.Unmarshal(fields, &e); err != nil {
		return nil, fmt.Errorf("decode journaled event: %w", err)
	}
	return e, nil
}

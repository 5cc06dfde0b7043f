package whatsapp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// batch is what one delivery holds.
type batch struct {
	events  []Event
	errors  []HookError // all of them, also those of events
	dropped []dropped
}

// dropped is an item that is not delivered, err telling why it could not be
// read.
type dropped struct {
	kind    Kind
	outcome Outcome
	err     error
}

func (b *batch) drop(kind Kind, o Outcome, err error) {
	b.dropped = append(b.dropped, dropped{kind, o, err})
}

// The shapes of a delivery. Each list is read item by item, so that one bad
// item does not lose the others.
type (
	hookDelivery struct {
		Object text              `json:"object"`
		Entry  []json.RawMessage `json:"entry"`
	}
	hookEntry struct {
		Changes []json.RawMessage `json:"changes"`
	}
	hookChange struct {
		Field text            `json:"field"`
		Value json.RawMessage `json:"value"`
	}
	hookValue struct {
		Metadata struct {
			Display  text `json:"display_phone_number"`
			NumberID text `json:"phone_number_id"`
		} `json:"metadata"`
		Contacts []json.RawMessage `json:"contacts"`
		Calls    []json.RawMessage `json:"calls"`
		Statuses []json.RawMessage `json:"statuses"`
		Messages []json.RawMessage `json:"messages"`
		Errors   []json.RawMessage `json:"errors"`
		Moves    []json.RawMessage `json:"user_id_update"`
	}
	hookContact struct {
		Profile struct {
			Name     text `json:"name"`
			Username text `json:"username"`
		} `json:"profile"`
		Number   text `json:"wa_id"`
		UserID   text `json:"user_id"`
		ParentID text `json:"parent_user_id"`
	}
	hookCall struct {
		ID         text   `json:"id"`
		Event      text   `json:"event"`
		Direction  text   `json:"direction"`
		Status     text   `json:"status"`
		From       text   `json:"from"`
		FromID     text   `json:"from_user_id"`
		FromParent text   `json:"from_parent_user_id"`
		To         text   `json:"to"`
		ToID       text   `json:"to_user_id"`
		ToParent   text   `json:"to_parent_user_id"`
		At         number `json:"timestamp"`
		Start      number `json:"start_time"`
		End        number `json:"end_time"`
		Duration   number `json:"duration"`
		Payload    text   `json:"cta_payload"`
		DeepLink   text   `json:"deeplink_payload"`
		Tag        text   `json:"biz_opaque_callback_data"`
		Session    struct {
			Type text `json:"sdp_type"`
			SDP  text `json:"sdp"`
		} `json:"session"`
		Errors []json.RawMessage `json:"errors"`
	}
	hookStatus struct {
		ID        text              `json:"id"`
		Type      text              `json:"type"`
		Status    text              `json:"status"`
		At        number            `json:"timestamp"`
		Recipient text              `json:"recipient_id"`
		UserID    text              `json:"recipient_user_id"`
		ParentID  text              `json:"recipient_parent_user_id"`
		Tag       text              `json:"biz_opaque_callback_data"`
		Errors    []json.RawMessage `json:"errors"`
	}
	hookError struct {
		Code    number `json:"code"`
		Title   text   `json:"title"`
		Message text   `json:"message"`
		Data    struct {
			Details text `json:"details"`
		} `json:"error_data"`
	}
)

// parse reads a delivery and keeps what concerns our numbers. Its error means
// that the delivery as a whole has another shape.
func parse(raw []byte, numbers map[string]bool) (batch, error) {
	var b batch
	if err := checkDepth(raw); err != nil {
		return b, err
	}
	var d hookDelivery
	if err := read(raw, &d); err != nil {
		return b, fmt.Errorf("decode delivery: %w", err)
	}
	if d.Object != "whatsapp_business_account" {
		b.drop(KindOther, OutcomeUnknown, nil)
		return b, nil
	}
	for _, rawEntry := range d.Entry {
		var e hookEntry
		if err := read(rawEntry, &e); err != nil {
			b.drop(KindOther, OutcomeMalformed, err)
			continue
		}
		for _, rawChange := range e.Changes {
			b.change(rawChange, numbers)
		}
	}
	return b, nil
}

// read decodes JSON; a field of another type than expected stays empty and does
// not lose the rest.
func read(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return nil
	}
	return err
}

func (b *batch) change(raw []byte, numbers map[string]bool) {
	var c hookChange
	var v hookValue
	err := read(raw, &c)
	switch {
	case err != nil:
		b.drop(KindOther, OutcomeMalformed, err)
		return
	case c.Field != "calls" && c.Field != "messages" && c.Field != "user_id_update":
		b.drop(KindOther, OutcomeUnknown, nil)
		return
	}
	if err := read(c.Value, &v); err != nil {
		b.drop(KindOther, OutcomeMalformed, err)
		return
	}
	if !numbers[string(v.Metadata.NumberID)] {
		b.drop(KindOther, OutcomeUnknown, nil)
		return
	}
	s := scope{
		batch:    b,
		numberID: string(v.Metadata.NumberID),
		display:  phone(v.Metadata.Display),
		contacts: readAll[hookContact](v.Contacts),
	}
	if c.Field != "calls" {
		each(b, v.Messages, KindOther, s.message)
		each(b, v.Statuses, KindMessageFailed, s.fate)
		each(b, v.Moves, KindUserMoved, s.move)
		return
	}
	s.errors = hookErrors(v.Errors)
	b.errors = append(b.errors, s.errors...)
	each(b, v.Calls, KindOther, s.call)
	each(b, v.Statuses, KindStatus, s.status)
}

// scope is what the items of one change have in common.
type scope struct {
	*batch
	numberID string
	display  string // our number, digits
	contacts []hookContact
	errors   []HookError
}

// each hands the items to take and drops those that it cannot use.
func each[T any](b *batch, items []json.RawMessage, kind Kind, take func(T) error) {
	for _, raw := range items {
		var item T
		err := read(raw, &item)
		if err == nil {
			err = take(item)
		}
		if err != nil {
			b.drop(kind, OutcomeMalformed, err)
		}
	}
}

func readAll[T any](items []json.RawMessage) []T {
	var all []T
	for _, raw := range items {
		var item T
		if read(raw, &item) == nil {
			all = append(all, item)
		}
	}
	return all
}

func (s scope) call(c hookCall) error {
	id, err := callID(c.ID)
	if err != nil {
		return err
	}
	switch strings.ToLower(string(c.Event)) {
	case "connect":
		return s.connect(id, c)
	case "terminate":
		s.terminate(id, c)
	default: // call_created, recordings and what is still to come
		s.drop(KindOther, OutcomeUnknown, nil)
	}
	return nil
}

func (s scope) connect(id CallID, c hookCall) error {
	direction, ok := s.direction(c)
	if !ok {
		return errors.New("connect tells neither direction nor session")
	}
	m := s.meta(id, c.At, c.Tag, "connect", "")
	if direction == BusinessInitiated {
		s.events = append(s.events, Answer{Meta: m, User: s.callee(c), SDP: string(c.Session.SDP)})
		return nil
	}
	s.events = append(s.events, Offer{
		Meta: m, User: s.caller(c), To: phone(c.To),
		Payload: clean(c.Payload), DeepLink: clean(c.DeepLink), SDP: string(c.Session.SDP),
	})
	return nil
}

func (s scope) terminate(id CallID, c hookCall) {
	status := strings.ToUpper(string(c.Status))
	t := Terminate{
		Meta:     s.meta(id, c.At, c.Tag, "terminate", status),
		Failed:   status == "FAILED",
		Start:    c.Start.time(),
		End:      c.End.time(),
		Duration: time.Duration(min(max(c.Duration, 0), maxDuration)) * time.Second,
	}
	t.Direction, _ = s.direction(c)
	t.User = s.caller(c)
	if t.Direction == BusinessInitiated {
		t.User = s.callee(c)
	}
	// Meta tells errors beside the calls, inside them, or at both places.
	t.Errors = slices.Clone(s.errors)
	for _, e := range hookErrors(c.Errors) {
		if !slices.ContainsFunc(s.errors, func(o HookError) bool { return o.Code == e.Code }) {
			t.Errors = append(t.Errors, e)
			s.batch.errors = append(s.batch.errors, e)
		}
	}
	s.events = append(s.events, t)
}

// maxDuration is a bound on nonsense, in seconds.
const maxDuration = 7 * 24 * 3600

// direction goes by the session first: it says what we have to do. What tells
// nothing is taken for the customer's call; ok is then false.
func (s scope) direction(c hookCall) (d Direction, ok bool) {
	switch strings.ToLower(string(c.Session.Type)) {
	case "offer":
		return UserInitiated, true
	case "answer":
		return BusinessInitiated, true
	}
	switch strings.ToUpper(string(c.Direction)) {
	case "USER_INITIATED":
		return UserInitiated, true
	case "BUSINESS_INITIATED":
		return BusinessInitiated, true
	}
	if s.display != "" && phone(c.From) == s.display || c.ToID != "" && c.FromID == "" {
		return BusinessInitiated, false
	}
	return UserInitiated, false
}

func (s scope) status(st hookStatus) error {
	if st.Type != "" && st.Type != "call" {
		s.drop(KindOther, OutcomeUnknown, nil)
		return nil
	}
	id, err := callID(st.ID)
	if err != nil {
		return err
	}
	word := strings.ToUpper(string(st.Status))
	state := slices.Index(stateNames[:], word)
	if state < 0 {
		s.drop(KindStatus, OutcomeUnknown, nil)
		return nil
	}
	s.events = append(s.events, Status{
		Meta:  s.meta(id, st.At, st.Tag, "status", word),
		User:  s.user(st.Recipient, st.UserID, st.ParentID),
		State: StatusState(state),
	})
	return nil
}

func (s scope) meta(id CallID, at number, tag text, event, status string) Meta {
	return Meta{
		Key:      key(s.numberID, string(id), event, status, strconv.FormatInt(int64(at), 10)),
		NumberID: s.numberID,
		CallID:   id,
		Tag:      clean(tag),
		At:       at.time(),
	}
}

// key names an event. Meta gives a delivery no id.
func key(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func hookErrors(raw []json.RawMessage) []HookError {
	var all []HookError
	for _, e := range readAll[hookError](raw) {
		all = append(all, HookError{
			Code: int(e.Code), Title: clean(e.Title), Message: clean(e.Message), Details: clean(e.Data.Details),
		})
	}
	return all
}

package whatsapp

import (
	"errors"
	"strconv"
	"strings"
)

// The shapes of what comes in the field of messages.
type (
	hookMessage struct {
		ID         text   `json:"id"`
		Type       text   `json:"type"`
		At         number `json:"timestamp"`
		From       text   `json:"from"`
		FromID     text   `json:"from_user_id"`
		FromParent text   `json:"from_parent_user_id"`
		GroupID    text   `json:"group_id"`
		Context    struct {
			ID text `json:"id"`
		} `json:"context"`
		Interactive struct {
			Type  text `json:"type"`
			Reply struct {
				Response  text   `json:"response"`
				Permanent truth  `json:"is_permanent"`
				Expires   number `json:"expiration_timestamp"`
				Source    text   `json:"response_source"`
			} `json:"call_permission_reply"`
		} `json:"interactive"`
		System struct {
			Type     text `json:"type"`
			Number   text `json:"wa_id"`
			OlderKey text `json:"new_wa_id"` // of wa_id, in earlier versions
			UserID   text `json:"user_id"`
			ParentID text `json:"parent_user_id"`
			Previous text `json:"previous_user_id"`
		} `json:"system"`
	}
	hookMove struct {
		At     number `json:"timestamp"`
		Number text   `json:"wa_id"`
		UserID struct {
			Previous text `json:"previous"`
			Current  text `json:"current"`
		} `json:"user_id"`
	}
)

func (s scope) message(m hookMessage) error {
	switch {
	case m.ID == "":
		return errors.New("message has no id")
	case m.Type == "interactive" && m.Interactive.Type == "call_permission_reply":
		return s.reply(m)
	case m.Type == "system":
		return s.system(m)
	case m.GroupID != "": // of several people, so of nobody
		s.drop(KindOther, OutcomeUnknown, nil)
		return nil
	}
	u := s.user(m.From, m.FromID, m.FromParent)
	if u.Number == "" && u.UserID == "" {
		return errors.New("message has no sender")
	}
	u.Name, u.Username = "", ""
	s.events = append(s.events, Spoke{
		Meta: s.messageMeta(m.At, "", m.ID, "message", ""), User: u, MessageID: clean(m.ID),
	})
	return nil
}

func (s scope) reply(m hookMessage) error {
	reply := m.Interactive.Reply
	response := strings.ToLower(string(reply.Response))
	if response != "accept" && response != "reject" {
		return errors.New("permission reply without response")
	}
	s.events = append(s.events, PermissionReply{
		Meta:      s.messageMeta(m.At, "", m.ID, "permission", response),
		User:      s.user(m.From, m.FromID, m.FromParent),
		Accept:    response == "accept",
		Permanent: bool(reply.Permanent),
		Automatic: strings.EqualFold(string(reply.Source), "automatic"),
		Expires:   reply.Expires.time(),
		Context:   clean(m.Context.ID),
		MessageID: clean(m.ID),
	})
	return nil
}

// system is Meta's word that the customer changed the number, and with it the
// id, or the id alone.
func (s scope) system(m hookMessage) error {
	in := m.System
	if in.Type != "user_changed_number" && in.Type != "user_changed_user_id" {
		s.drop(KindOther, OutcomeUnknown, nil)
		return nil
	}
	now := User{Number: phone(in.Number), UserID: scopedID(in.UserID), ParentUserID: scopedID(in.ParentID)}
	if now.Number == "" {
		now.Number = phone(in.OlderKey)
	}
	return s.moved(s.messageMeta(m.At, "", m.ID, "moved", ""), User{Number: phone(m.From), UserID: scopedID(in.Previous)}, now)
}

// move is the same in the form of a list.
func (s scope) move(m hookMove) error {
	before, now := scopedID(m.UserID.Previous), scopedID(m.UserID.Current)
	return s.moved(s.messageMeta(m.At, "", m.UserID.Previous, "moved", now), User{UserID: before}, User{Number: phone(m.Number), UserID: now})
}

func (s scope) moved(m Meta, before, now User) error {
	if before.Number == "" && before.UserID == "" || now.Number == "" && now.UserID == "" {
		return errors.New("a customer moved from or to nowhere")
	}
	s.events = append(s.events, UserMoved{Meta: m, Old: before, New: now})
	return nil
}

// fate is what became of a message of the business number. Only failures
// concern us.
func (s scope) fate(st hookStatus) error {
	if !strings.EqualFold(string(st.Status), "failed") {
		return nil
	}
	if st.ID == "" {
		return errors.New("failed message has no id")
	}
	failed := MessageFailed{
		Meta:      s.messageMeta(st.At, st.Tag, st.ID, "message", "failed"),
		User:      s.user(st.Recipient, st.UserID, st.ParentID),
		MessageID: clean(st.ID),
		Errors:    hookErrors(st.Errors),
	}
	failed.User.Name, failed.User.Username = "", ""
	s.batch.errors = append(s.batch.errors, failed.Errors...)
	s.events = append(s.events, failed)
	return nil
}

// messageMeta is meta of an event that is about a message.
func (s scope) messageMeta(at number, tag, id text, event, status string) Meta {
	return Meta{
		Key:      key(s.numberID, string(id), event, status, strconv.FormatInt(int64(at), 10)),
		NumberID: s.numberID,
		Tag:      clean(tag),
		At:       at.time(),
	}
}

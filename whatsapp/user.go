package whatsapp

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxID    = 512 // bytes of a call id or business-scoped id
	maxText  = 512 // characters of a name or payload
	maxPhone = 20  // digits
)

func (s scope) caller(c hookCall) User { return s.user(c.From, c.FromID, c.FromParent) }
func (s scope) callee(c hookCall) User { return s.user(c.To, c.ToID, c.ToParent) }

// user puts together what the item and its contact say. The contact that is
// meant is the one with the same id or number, or the only one.
func (s scope) user(number, id, parent text) User {
	u := User{Number: phone(number), UserID: scopedID(id), ParentUserID: scopedID(parent)}
	for _, c := range s.contacts {
		same := u.UserID != "" && scopedID(c.UserID) == u.UserID || u.Number != "" && phone(c.Number) == u.Number
		if !same && len(s.contacts) > 1 {
			continue
		}
		if u.Number == "" {
			u.Number = phone(c.Number)
		}
		if u.UserID == "" {
			u.UserID = scopedID(c.UserID)
		}
		if u.ParentUserID == "" {
			u.ParentUserID = scopedID(c.ParentID)
		}
		u.Name, u.Username = clean(c.Profile.Name), clean(c.Profile.Username)
		break
	}
	return u
}

// callID checks that an id can be stored and sent back; it is not changed.
func callID(id text) (CallID, error) {
	if id == "" {
		return "", errors.New("call has no id")
	}
	if !printable(string(id)) {
		return "", errors.New("call id is not printable ASCII of a sane length")
	}
	return CallID(id), nil
}

// scopedID returns a business-scoped id, or nothing if it is none.
func scopedID(id text) string {
	if !printable(string(id)) {
		return ""
	}
	return string(id)
}

func printable(s string) bool {
	return len(s) <= maxID && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// phone returns a number's digits, or nothing if it is none.
func phone(n text) string {
	bare := strings.TrimPrefix(string(n), "+")
	if !digits(bare) || len(bare) > maxPhone {
		return ""
	}
	return bare
}

// digits says whether s is digits, one at least.
func digits(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// clean makes text from outside harmless for a header or a log line: no control
// or formatting characters, no broken encoding, no endless length.
func clean(t text) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r == '\u200c', r == '\u200d': // joiners are part of names and emoji
			return r
		case r == utf8.RuneError, unicode.Is(unicode.Cf, r):
			return -1
		case unicode.IsControl(r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
			return ' '
		}
		return r
	}, string(t))
	if utf8.RuneCountInString(s) > maxText {
		s = string([]rune(s)[:maxText])
	}
	return strings.TrimSpace(s)
}

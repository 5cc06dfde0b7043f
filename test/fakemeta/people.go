package fakemeta

import (
	"fmt"
	"strings"
)

// ownPrefix begins the user ids that are made here; the number follows.
const ownPrefix = "ES.20"

// people knows who users are and how they behave. The server's lock guards it.
type people struct {
	callees  map[string]Callee  // by number; "": everybody else
	consents map[string]Consent // the same for requests
	numbers  map[string]string  // by user id and parent id
	users    map[string]User    // by number, where there is more than a number
	next     int                // number of the next user without one
}

func newPeople() people {
	return people{
		callees: map[string]Callee{}, consents: map[string]Consent{},
		numbers: map[string]string{}, users: map[string]User{},
	}
}

func isNumber(who string) bool { return who != "" && strings.Trim(who, "0123456789") == "" }

// numberOf finds the number of a user id or parent id; "" where nobody has it.
func (d *people) numberOf(id string) string {
	if digits, ok := strings.CutPrefix(id, ownPrefix); ok && isNumber(digits) {
		return digits
	}
	return d.numbers[id]
}

// fill gives a user what it needs to be shown.
func (d *people) fill(u User) User {
	if u.Number == "" {
		u.Number = d.numberOf(u.UserID)
	}
	if u.Number == "" {
		d.next++
		u.Number = fmt.Sprintf("346%08d", d.next)
	}
	if known, ok := d.users[u.Number]; ok {
		def(&u.UserID, known.UserID)
		def(&u.ParentID, known.ParentID)
		def(&u.Username, known.Username)
		def(&u.Name, known.Name)
	}
	def(&u.Name, "Customer")
	def(&u.UserID, ownPrefix+u.Number)
	if u.UserID != ownPrefix+u.Number || u.ParentID != "" || u.Username != "" {
		d.users[u.Number], d.numbers[u.UserID] = u, u.Number
		if u.ParentID != "" {
			d.numbers[u.ParentID] = u.Number
		}
	}
	return u
}

// person finds the user with that number or else that id, and how it behaves.
// There is nobody whom it does not find.
func (d *people) person(number, id string) Callee {
	if number == "" {
		number = d.numberOf(id)
	}
	c, ok := d.callees[number]
	if !ok || number == "" {
		c = d.callees[""]
		c.User.UserID, c.User.ParentID = "", ""
		if known, ok := d.users[number]; ok {
			c.User = known
		}
	}
	c.User.Number = number
	if number == "" {
		c.User.UserID = id
	}
	c.User = d.fill(c.User)
	return c
}

// named finds a user by the number or id that a test uses.
func (d *people) named(who string) Callee {
	if who = strings.TrimPrefix(who, "+"); isNumber(who) {
		return d.person(who, "")
	}
	return d.person("", who)
}

func (s *Server) fill(u User) User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.people.fill(u)
}

func (s *Server) named(who string) User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.people.named(who).User
}

// Callee says how the user with that number or user id behaves from now on; ""
// stands for everybody else.
func (s *Server) Callee(who string, c Callee) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if who == "" {
		s.people.callees[""] = c
		return
	}
	if who = strings.TrimPrefix(who, "+"); isNumber(who) {
		c.User.Number = who
	} else {
		def(&c.User.UserID, who)
	}
	c.User = s.people.fill(c.User)
	s.people.callees[c.User.Number] = c
}

// Consent says what the user with that number or user id does with requests
// from now on; "" stands for everybody else. Without it they are ignored.
func (s *Server) Consent(who string, c Consent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if who != "" {
		who = s.people.named(who).User.Number
	}
	s.people.consents[who] = c
}

package fakemeta

import (
	"net/url"
	"strings"
	"time"
)

// permissionReply is what GET …/call_permissions answers.
type permissionReply struct {
	Product    string             `json:"messaging_product"`
	Permission permissionFields   `json:"permission"`
	Actions    []permissionAction `json:"actions"`
}

type permissionFields struct {
	Status string `json:"status"`
	Time   int64  `json:"expiration_time,omitempty"`
	Table  int64  `json:"expiration,omitempty"` // the same under the name of Meta's table
}

type permissionAction struct {
	Name   string            `json:"action_name"`
	Can    bool              `json:"can_perform_action"`
	Limits []permissionLimit `json:"limits"`
}

type permissionLimit struct {
	Period  string `json:"time_period"`
	Most    int    `json:"max_allowed"`
	Usage   int    `json:"current_usage"`
	Expires int64  `json:"limit_expiration_time,omitempty"` // when it is reached
}

// readPermission carries out GET …/call_permissions.
func (s *Server) readPermission(n *Number, q url.Values) (outcome, *graphError) {
	s.ledger.mu.Lock()
	fail := s.ledger.desk(n.ID).mayRead(time.Now(), s.opts.Rules)
	s.ledger.mu.Unlock()
	if fail != nil {
		return outcome{}, fail
	}
	number, id := strings.TrimPrefix(q.Get("user_wa_id"), "+"), q.Get("recipient")
	switch {
	case number == "" && id == "":
		return outcome{}, invalid("user_wa_id or recipient is missing")
	case number != "" && !isNumber(number):
		return outcome{}, invalid("user_wa_id is not a phone number")
	}
	s.mu.Lock()
	to := s.people.person(number, id)
	s.mu.Unlock()
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	p := s.pair(n, to.User)
	if to.Absent { // for privacy, like everybody who never granted
		p = &pair{number: n, user: to.User, ruled: true}
	}
	return outcome{body: s.show(p, s.now())}, nil
}

// show writes what holds for the pair now. The ledger's lock is held.
func (s *Server) show(p *pair, now time.Time) permissionReply {
	f, d := s.opts.Rules.figures(), s.ledger.desk(p.number.ID)
	r := permissionReply{Product: "whatsapp", Permission: permissionFields{Status: "no_permission"}}
	switch p.current(now) {
	case Permanent:
		r.Permission.Status = "permanent"
	case Temporary:
		r.Permission.Status = "temporary"
		if s.opts.Rules.TableKeys {
			r.Permission.Table = p.expires.Unix()
		} else {
			r.Permission.Time = p.expires.Unix()
		}
	case NotPermitted, Declined, Revoked:
	}
	r.Actions = []permissionAction{
		{
			Name: "send_call_permission_request", Can: d.mayAsk() == nil && p.mayAsk(now, f) == nil,
			Limits: []permissionLimit{
				limit("PT24H", p.counted, now, day, f.day), limit("P7D", p.counted, now, week, f.week),
			},
		},
		{
			Name: "start_call", Can: d.mayCall(now, s.opts.Rules) == nil && p.mayCall(now, f) == nil,
			Limits: []permissionLimit{limit("PT24H", p.connected, now, day, f.connected)},
		},
	}
	return r
}

func limit(name string, at []time.Time, now time.Time, period time.Duration, most int) permissionLimit {
	l := permissionLimit{Period: name, Most: most, Usage: within(at, now, period)}
	if again := free(at, now, period, most); !again.IsZero() {
		l.Expires = ceil(again)
	}
	return l
}

package fakemeta

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// ledger is what Meta keeps about business numbers and users. Its lock may be
// taken while a call's is held, and the server's, a lane's and the upsets' while
// its own is: never the other way round.
type ledger struct {
	mu    sync.Mutex
	pairs map[pairKey]*pair
	desks map[string]*desk
	prune int // look for pairs to forget when there are so many
}

type pairKey struct{ numberID, user string } // the user's number

func newLedger(keep int) *ledger {
	return &ledger{pairs: map[pairKey]*pair{}, desks: map[string]*desk{}, prune: keep}
}

func (l *ledger) desk(numberID string) *desk {
	d := l.desks[numberID]
	if d == nil {
		d = &desk{}
		l.desks[numberID] = d
	}
	return d
}

// pair finds the row of a business number and a user. The lock is held.
func (s *Server) pair(n *Number, u User) *pair {
	l, key := s.ledger, pairKey{n.ID, u.Number}
	p := l.pairs[key]
	if p == nil {
		if len(l.pairs) >= l.prune {
			l.forget()
			l.prune = max(s.opts.Keep, 2*len(l.pairs))
		}
		p = &pair{number: n, ruled: s.opts.StrictPermissions}
		l.pairs[key] = p
	}
	p.user = u
	return p
}

// forget drops the pairs about which nothing matters.
func (l *ledger) forget() {
	for k, p := range l.pairs {
		if !p.ruled && p.up == 0 && len(p.asks) == 0 {
			delete(l.pairs, k)
		}
	}
}

// PermissionBook is what Meta believes about the permission of a business
// number to call a user.
type PermissionBook struct {
	Number  Number
	User    User
	State   PermissionState
	Free    bool // permitted without any rule: what everybody is without Options.StrictPermissions
	Granted time.Time
	Expires time.Time // of a temporary permission
	Window  time.Time // end of the customer service window; zero: it was never open

	Asks        []Ask     // taken requests, oldest first
	AsksDay     int       // that count in 24 h
	AsksWeek    int       // in 7 days
	NextAsk     time.Time // zero: the limits allow one now
	Connected   int       // calls of the business in 24 h that the user answered
	NextCall    time.Time // zero: the limit allows one now
	Unanswered  int       // calls of the business in a row that the user did not answer
	Nudges      int       // how often the user was asked whether to go on
	AutoRevoked int       // how often Meta took the permission away
	Dialled     int       // calls of the business that Meta took
	Open        int       // calls that are up, both directions
}

// Permission is the row of the first business number and that user.
func (s *Server) Permission(who string) PermissionBook { return s.PermissionOf(who, "") }

// PermissionOf is the row of that business number and that user.
func (s *Server) PermissionOf(who, numberID string) PermissionBook {
	n := s.number(cmp.Or(numberID, s.opts.PhoneNumberID))
	if n == nil {
		return PermissionBook{}
	}
	u := s.named(who)
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	return s.pair(n, u).book(s.now(), s.opts.Rules.figures())
}

func (p *pair) book(now time.Time, f figures) PermissionBook {
	b := PermissionBook{
		Number: *p.number, User: p.user, State: p.current(now), Free: !p.ruled, Window: p.window,
		AsksDay: within(p.counted, now, day), AsksWeek: within(p.counted, now, week), NextAsk: p.nextAsk(now, f),
		Connected: within(p.connected, now, day), NextCall: free(p.connected, now, day, f.connected),
		Unanswered: p.streak, Nudges: p.nudges, AutoRevoked: p.revoked, Dialled: p.dialled, Open: p.up,
	}
	if p.permitted(now) {
		b.Granted, b.Expires = p.granted, p.expires
	}
	for _, a := range p.asks {
		b.Asks = append(b.Asks, *a)
	}
	return b
}

// begin puts a call into the ledger, for enter. It refuses a call of the
// business that Meta's rules forbid; the check and the entry are one step.
func (s *Server) begin(n *Number, u User, byBusiness bool) (*pair, *graphError) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	now, d, p := s.now(), s.ledger.desk(n.ID), s.pair(n, u)
	if byBusiness {
		if fail := d.mayCall(now, s.opts.Rules); fail != nil {
			return nil, fail
		}
		if fail := p.mayCall(now, s.opts.Rules.figures()); fail != nil {
			return nil, fail
		}
		if p.up > 0 {
			return nil, errBusyPair()
		}
		d.begun = slices.DeleteFunc(append(d.begun, now), func(t time.Time) bool { return now.Sub(t) >= day })
		p.dialled++
	} else {
		p.window = now.Add(windowLife)
	}
	d.up++
	p.up++
	return p, nil
}

// picked notes that a call is connected. A user who picks up opens the customer
// service window. The call's lock is held.
func (s *Server) picked(c *Customer) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	now := s.now()
	c.pair.answered(now, c.outbound)
	if c.outbound {
		c.pair.window = now.Add(windowLife)
	}
}

// leave takes a call out of the ledger that never came to be.
func (s *Server) leave(n *Number, p *pair) {
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	s.ledger.desk(n.ID).up--
	p.up--
}

// settle draws the conclusions from a call that is over. The webhook that it
// returns, if any, is to be sent after the call's own. The call's lock is held.
func (s *Server) settle(c *Customer) *hook {
	s.leave(c.number, c.pair)
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	now, p := s.now(), c.pair
	var h hook
	switch {
	case c.outbound:
		if c.rang.IsZero() || !c.connected.IsZero() || c.end.Code != 0 || !p.missed(now, s.opts.Rules.figures()) {
			return nil
		}
		h = p.replyHook(now, Decline, "", true)
	case s.opts.Rules.Callback && !c.opts.Companion && p.current(now) != Permanent:
		p.grant(now, false, s.opts.Rules)
		h = p.replyHook(now, GrantTemporary, c.id, true)
	default:
		return nil
	}
	return &h
}

// tell sends a webhook about messages.
func (s *Server) tell(p *pair, h hook) { s.deliver(&p.lane, h) }

package fakemeta

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Request is a Graph request as it came and how it was answered.
type Request struct {
	At        time.Time
	Method    string
	Path      string
	NumberID  string
	Action    string // of POST …/calls, or the edges messages and call_permissions
	CallID    string
	MessageID string // of a message that was taken
	To        string // number, or else user id, of a request that names a user
	SDP       string
	Tag       string // biz_opaque_callback_data
	Body      []byte
	Status    int           // of the reply; 0: none was sent
	Code      int           // error code of the reply; 0: no error
	Details   string        // of the error
	Fault     FaultKind     // that was put in its way
	Done      bool          // it had its effect, whatever the reply said
	Took      time.Duration // until the reply was written
}

// Delivery is one attempt to deliver webhook events.
type Delivery struct {
	At      time.Time
	Kinds   []Kind
	CallIDs []string // of each event: the call's, or the message's
	Attempt int      // from 1
	Forged  bool     // with a wrong signature
	Status  int      // 0: no answer, see Err
	Err     error
	Took    time.Duration
}

// Has says whether the delivery carried that kind of event for that call; an
// empty id stands for every call.
func (d Delivery) Has(kind Kind, id string) bool {
	for i, k := range d.Kinds {
		if k == kind && (id == "" || d.CallIDs[i] == id) {
			return true
		}
	}
	return false
}

// Rule names what a gateway must keep to.
type Rule string

// The rules.
const (
	RefusedRequest Rule = "refused request" // a request that Meta refuses
	EarlyMedia     Rule = "early media"     // RTP before the 200 of accept
	SecondSSRC     Rule = "second ssrc"     // more than one source in a call
	RoleConflict   Rule = "ice role"        // controlled towards a lite agent
	NobodyShakes   Rule = "dtls role"       // passive in an answer: the handshake never begins
	NoHandshake    Rule = "dtls handshake"  // it failed, by the certificate or otherwise
	SharedPair     Rule = "shared pair"     // two calls between the same two ports
	UnknownPayload Rule = "payload type"    // RTP of a type that was not agreed
)

// Violation is something that a gateway must not do.
type Violation struct {
	At     time.Time
	Rule   Rule
	CallID string
	Detail string
}

// book is a growing list that can be waited on. It keeps the newest rows.
type book[T any] struct {
	mu   sync.Mutex
	keep int
	base int // index of rows[0]
	rows []T
	more chan struct{} // closed and replaced with every row
}

func newBook[T any](keep int) *book[T] {
	return &book[T]{keep: keep, more: make(chan struct{})}
}

func (b *book[T]) add(row T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rows) >= 2*b.keep {
		n := len(b.rows) - b.keep
		b.rows, b.base = slices.Clone(b.rows[n:]), b.base+n
	}
	b.rows = append(b.rows, row)
	close(b.more)
	b.more = make(chan struct{})
}

func (b *book[T]) all() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rows)
}

// since returns the rows from index i on, the next index, and a channel that
// is closed when there is more.
func (b *book[T]) since(i int) ([]T, int, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.base + len(b.rows)
	return slices.Clone(b.rows[min(max(i-b.base, 0), len(b.rows)):]), next, b.more
}

// wait returns the first row that matches, be it old or still to come.
func (b *book[T]) wait(ctx context.Context, what string, match func(T) bool) (T, error) {
	for i := 0; ; {
		rows, next, more := b.since(i)
		for _, r := range rows {
			if match(r) {
				return r, nil
			}
		}
		i = next
		select {
		case <-more:
		case <-ctx.Done():
			var none T
			return none, fmt.Errorf("wait for a %s: none of %d fits: %w", what, next, ctx.Err())
		}
	}
}

// Requests lists the Graph requests in the order of their replies.
func (s *Server) Requests() []Request { return s.requests.all() }

// WaitRequest returns the first request that matches, answered already or yet
// to come.
func (s *Server) WaitRequest(ctx context.Context, match func(Request) bool) (Request, error) {
	return s.requests.wait(ctx, "request", match)
}

// Deliveries lists the attempts to deliver webhooks in the order of their ends.
func (s *Server) Deliveries() []Delivery { return s.deliveries.all() }

// WaitDelivery returns the first attempt that matches, past or future.
func (s *Server) WaitDelivery(ctx context.Context, match func(Delivery) bool) (Delivery, error) {
	return s.deliveries.wait(ctx, "delivery", match)
}

// Violations lists what the gateway did and must not do.
func (s *Server) Violations() []Violation { return s.violations.all() }

// WaitViolation returns the first violation of that rule, past or future.
func (s *Server) WaitViolation(ctx context.Context, r Rule) (Violation, error) {
	return s.violations.wait(ctx, "violation", func(v Violation) bool { return v.Rule == r })
}

func (s *Server) blame(r Rule, id, detail string) {
	s.violations.add(Violation{At: time.Now(), Rule: r, CallID: id, Detail: detail})
}

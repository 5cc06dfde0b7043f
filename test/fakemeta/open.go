package fakemeta

import (
	"context"
	"fmt"
	"time"
)

// Book is what Meta believes about a call: the judge of calls that nobody
// ended.
type Book struct {
	ID        string
	Number    Number
	User      User
	Outbound  bool
	State     State
	Placed    time.Time
	Connected time.Time     // zero: never accepted
	Open      time.Duration // from the beginning to the end or now
	Talked    time.Duration // from accept to the end or now: what is paid
	End       End
}

// Books lists the calls, oldest first.
func (s *Server) Books() []Book {
	s.mu.Lock()
	calls := make([]*Customer, 0, len(s.order))
	for _, id := range s.order {
		calls = append(calls, s.calls[id])
	}
	s.mu.Unlock()
	books := make([]Book, 0, len(calls))
	for _, c := range calls {
		books = append(books, c.Book())
	}
	return books
}

// Open lists the calls that are up or being set up, oldest first.
func (s *Server) Open() []Book {
	var open []Book
	for _, b := range s.Books() {
		if b.State != Ended {
			open = append(open, b)
		}
	}
	return open
}

// Book is the call's row in the books.
func (c *Customer) Book() Book {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := Book{
		ID: c.id, Number: *c.number, User: c.user, Outbound: c.outbound, State: c.state,
		Placed: c.placed, Connected: c.connected, End: c.end,
	}
	end := c.end.At
	if end.IsZero() {
		end = time.Now()
	}
	b.Open = end.Sub(c.placed)
	if !c.connected.IsZero() {
		b.Talked = end.Sub(c.connected)
	}
	return b
}

// WaitQuiet returns when no call is open, or with those that are.
func (s *Server) WaitQuiet(ctx context.Context) error {
	for {
		s.mu.Lock()
		quiet := s.quiet
		s.mu.Unlock()
		open := s.Open()
		if len(open) == 0 {
			return nil
		}
		select {
		case <-quiet:
		case <-ctx.Done():
			return fmt.Errorf("wait for the end of all calls: %d open, the oldest %v for %v: %w",
				len(open), open[0].State, open[0].Open.Round(time.Millisecond), ctx.Err())
		}
	}
}

// Customer is the call with that id; nil where there is none.
func (s *Server) Customer(id string) *Customer { return s.call(id) }

package gateway

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wagate/store"
	"wagate/test/faketrunk"
)

const (
	// fixed is when the one side acts, counted from the call's beginning. The
	// other one acts at each millisecond from so long before it to so long after.
	fixed  = 600 * time.Millisecond
	around = 250 * time.Millisecond
	// fewer is how many milliseconds are one for -short and the race detector.
	fewer = 20
	// settledAfter is when the last to stay hangs up, where nobody else does.
	settledAfter = 3 * time.Second
	// together is how many calls are up at a time, and eachLasts how long.
	together  = 250
	eachLasts = 5 * time.Second
)

// ending is what a record has to say.
type ending struct {
	cause     Cause
	by        string
	transfers int
}

func (e ending) on(r store.Record) bool {
	return r.Cause == e.cause.String() && r.EndedBy == e.by && r.Transfers == e.transfers
}

// bout is two sides of a call that act at about the same moment. play begins the call
// and says who does what; ends says by the books of both far ends what the
// record must say. Where two things reach the gateway at the same moment either
// may come first.
type bout struct {
	name  string
	phone faketrunk.Script // of those that ring
	play  func(c *swept)
	ends  func(c *swept) []ending
}

func only(e ending) func(*swept) []ending { return func(*swept) []ending { return []ending{e} } }

var (
	customerHungUp = ending{Hangup, "customer", 0}
	phoneHungUp    = ending{Hangup, "pbx", 0}
)

// gaveUp is the end of a call by its customer, who may have been connected.
func (c *swept) gaveUp() ending {
	if c.customer.start.IsZero() {
		return ending{Cancelled, "customer", 0}
	}
	return customerHungUp
}

// first says which of two ends the gateway learns of first: the customer's, or
// the BYE of a phone.
func (c *swept) first(customer, phone ending) []ending {
	bye, left := c.heard(c.phone, "BYE"), c.customer.over.Add(metaWay)
	switch {
	case bye.IsZero() || c.customer.left && left.Before(bye):
		return []ending{customer}
	case c.customer.left && left.Equal(bye):
		return []ending{customer, phone}
	}
	return []ending{phone}
}

func bouts() []bout {
	up := faketrunk.Answer(0)
	return []bout{
		{"answer and the customer's giving up", faketrunk.NoAnswer(), func(c *swept) {
			c.calls()
			c.then(fixed, c.phoneAnswers)
			c.then(c.at, c.customerLeaves)
		}, func(c *swept) []ending { return []ending{c.gaveUp()} }},
		{"CANCEL and the customer's answer", up, func(c *swept) {
			c.dials()
			c.then(fixed, func() { c.meta.pickUp(c.customer) })
			c.then(c.at, c.phoneLeaves)
		}, func(c *swept) []ending {
			if c.phone.Status() == 487 {
				return []ending{{Cancelled, "pbx", 0}}
			}
			return []ending{phoneHungUp}
		}},
		{"answer, its BYE and the customer's giving up", faketrunk.NoAnswer(), func(c *swept) {
			c.calls()
			c.then(fixed, func() { c.phoneAnswers(); c.phoneLeaves() })
			c.then(c.at, c.customerLeaves)
		}, func(c *swept) []ending { return c.first(c.gaveUp(), phoneHungUp) }},
		{"both hang up, a customer's call", up, func(c *swept) {
			c.calls()
			c.then(fixed, c.phoneLeaves)
			c.then(c.at, c.customerLeaves)
		}, func(c *swept) []ending { return c.first(customerHungUp, phoneHungUp) }},
		{"both hang up, a call to a customer", up, func(c *swept) {
			c.dials()
			c.then(200*time.Millisecond, func() { c.meta.pickUp(c.customer) })
			c.then(fixed, c.phoneLeaves)
			c.then(c.at, c.customerLeaves)
		}, func(c *swept) []ending { return c.first(customerHungUp, phoneHungUp) }},
		{"re-INVITE and our BYE", up, func(c *swept) {
			c.calls()
			c.then(fixed, c.phoneHolds)
			c.then(c.at, c.customerLeaves)
		}, only(customerHungUp)},
		{"re-INVITE and their BYE", up, func(c *swept) {
			c.calls()
			c.then(fixed, c.phoneHolds)
			c.then(c.at, c.phoneLeaves)
		}, only(phoneHungUp)},
		{"hold, REFER and their BYE", up, func(c *swept) {
			c.calls()
			c.then(fixed-200*time.Millisecond, c.phoneHolds)
			c.then(fixed, c.phoneRefers)
			c.then(c.at, c.phoneLeaves)
			c.then(settledAfter, c.customerLeaves)
		}, func(c *swept) []ending {
			if c.referred == 202 {
				return []ending{{Hangup, "customer", 1}}
			}
			return []ending{phoneHungUp}
		}},
		{"hold, REFER and our BYE", up, func(c *swept) {
			c.calls()
			c.then(fixed-200*time.Millisecond, c.phoneHolds)
			c.then(fixed-100*time.Millisecond, c.phoneRefers)
			c.then(c.at, c.customerLeaves)
		}, func(c *swept) []ending {
			up, left := c.heard(c.next, "200"), c.customer.over.Add(metaWay)
			done := ending{Hangup, "customer", 1}
			switch {
			case up.IsZero() || left.Before(up):
				return []ending{customerHungUp}
			case left.Equal(up):
				return []ending{customerHungUp, done}
			}
			return []ending{done}
		}},
		{"REFER and the BYE of the new phone", up, func(c *swept) {
			c.calls()
			c.then(fixed-100*time.Millisecond, c.phoneRefers)
			c.then(c.at, func() {
				c.next = await(c, c.line)
				_ = c.next.Hangup(c.ctx)
			})
			c.then(settledAfter, c.customerLeaves)
		}, func(c *swept) []ending {
			if c.next.Status() == 603 { // before it was up
				return []ending{customerHungUp}
			}
			return []ending{{Hangup, "pbx", 1}}
		}},
		{"INVITE with Replaces and their BYE", up, func(c *swept) {
			c.calls()
			c.then(fixed, func() {
				c.next = c.dial("sip:wagate@"+sweptGateway, faketrunk.Header{Name: "Replaces", Value: c.phone.Replaces()})
			})
			c.then(c.at, c.phoneLeaves)
			c.then(settledAfter, c.customerLeaves)
		}, func(c *swept) []ending {
			if c.next.Status() == 200 {
				return []ending{{Hangup, "customer", 1}}
			}
			return []ending{phoneHungUp}
		}},
	}
}

// TestRacesToTheMillisecond plays every race with a gateway, its store and real
// SIP, at each millisecond: no call is stuck, each has one record, and that says
// what happened.
func TestRacesToTheMillisecond(t *testing.T) {
	for _, b := range bouts() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, b.sweep)
		})
	}
}

func (b bout) sweep(t *testing.T) {
	s, end := newSweep(t, nil)
	defer end()
	s.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return b.phone })
	step := time.Millisecond
	if testing.Short() || raceDetector {
		step *= fewer
	}
	var calls []*swept
	for offset := -around; offset < around; offset += step {
		c := &swept{sweep: s, at: fixed + offset}
		s.expect(c.user())
		calls = append(calls, c)
	}
	s.work.Go(s.connect)
	for batch := range slices.Chunk(calls, together) {
		for _, c := range batch {
			c.began = time.Now()
			s.work.Go(func() { b.play(c) })
		}
		time.Sleep(eachLasts)
	}
	time.Sleep(3 * time.Minute)
	s.nothingIsLeft(calls)
	s.log = map[string][]*faketrunk.Message{}
	for _, m := range s.pbx.Messages() {
		s.log[m.CallID()] = append(s.log[m.CallID()], m)
	}
	records := s.records()
	for _, c := range calls {
		select {
		case c.next = <-s.line[c.user()]: // rang, and nobody asked for it
		default:
		}
		if rs := records[c.user()]; len(rs) != 1 {
			t.Errorf("%v: %d records", c.at-fixed, len(rs))
		} else if r := rs[0]; r.Abandoned || !slices.ContainsFunc(b.ends(c), func(e ending) bool { return e.on(r) }) {
			t.Errorf("%v: the record says %s by %s, %d transfers, abandoned %v; want one of %v",
				c.at-fixed, r.Cause, r.EndedBy, r.Transfers, r.Abandoned, b.ends(c))
		}
	}
}

// records are all there are, by the customer's number.
func (s *sweep) records() map[string][]store.Record {
	s.t.Helper()
	by := map[string][]store.Record{}
	rs, _, err := s.g.store.Records(s.t.Context(), store.Query{Limit: 1000})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range rs {
		by[r.User] = append(by[r.User], r)
	}
	return by
}

// nothingIsLeft looks at every book there is.
func (s *sweep) nothingIsLeft(calls []*swept) {
	s.t.Helper()
	if n := s.g.registry.count(); n != 0 {
		s.t.Errorf("%d calls are stuck", n)
	}
	if n := len(s.meta.calls); n != len(calls) {
		s.t.Errorf("%d calls at Meta, want %d", n, len(calls))
	}
	for id, c := range s.meta.calls {
		if c.over.IsZero() {
			s.t.Errorf("%s lives on at Meta", id)
		}
	}
	lost, err := s.g.store.Unfinished(s.t.Context())
	if err != nil || len(lost) != 0 {
		s.t.Errorf("%d calls are not finished in the store, %v", len(lost), err)
	}
	debts, err := s.g.store.Debts(s.t.Context())
	if err != nil || len(debts) != 0 {
		s.t.Errorf("owed is %v, %v", debts, err)
	}
	for _, what := range [][]string{s.meta.faults, s.pbx.Faults(), s.pbx.Verdicts()} {
		for _, fault := range what {
			s.t.Error(fault)
		}
	}
	for _, d := range s.pbx.Open() {
		s.t.Errorf("left at the PBX: %s", fmt.Sprint(d))
	}
}

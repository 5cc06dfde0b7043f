package gateway

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/sip"
	"wagate/whatsapp"
)

// rehearseSummoned runs a story about a call that begins at the agent's phone.
func rehearseSummoned(t *testing.T, trunk string, story func(s *rehearsal)) {
	t.Helper()
	rehearse(t, nil, func(s *rehearsal) {
		s.call = newCall(s.env, "call", order{
			direction: outbound, summoned: true, number: config.Number{Name: "support"},
			user: whatsapp.User{Number: "34600111222"}, ring: 45 * time.Second, route: "out", trunk: trunk,
			dialed: "+34600111222", agent: "201", tag: "tag",
		})
		story(s)
	})
}

// summon begins the call and returns the agent's phone.
func (s *rehearsal) summon() *fakeSession {
	s.t.Helper()
	s.start()
	phone := s.dialled()
	s.saw("the agent's phone is called, and its dialog on disk before", "save "+phone.out.Target, "INVITE "+phone.out.Target+" 201")
	s.phase(Summoning)
	return phone
}

// join lets the agent pick up, and goes on to the phase.
func (s *rehearsal) join(phone *fakeSession, until Phase) {
	s.t.Helper()
	phone.notify(sip.Ringing{Status: 180})
	if until == Summoning {
		synctest.Wait()
		return
	}
	phone.answer()
	s.phase(Dialing)
	if until == Dialing {
		return
	}
	s.sdpAnswer()
	s.status(whatsapp.Ringing)
	s.phase(Ringing)
	if until == Active {
		s.status(whatsapp.Accepted)
		s.phase(Active)
	}
}

func TestAgentIsCalledBeforeTheCustomer(t *testing.T) {
	rehearseSummoned(t, "pbx", func(s *rehearsal) {
		phone := s.summon()
		if why := <-s.call.placed; why != NoCause {
			t.Errorf("who waits is told %v", why)
		}
		if phone.out.Caller != (sip.Party{Number: "+34600111222"}) {
			t.Errorf("the agent sees %+v, want the customer", phone.out.Caller)
		}
		if !slices.Contains(phone.out.Headers, sip.Header{Name: "X-WA-Call", Value: "call"}) ||
			!slices.Contains(phone.out.Headers, sip.Header{Name: "X-WA-Number", Value: "support"}) {
			t.Errorf("headers are %v", phone.out.Headers)
		}
		phone.notify(sip.Ringing{Status: 180})
		s.saw("the customer is left alone")
		phone.answer()
		s.saw("until the agent is there", "open sip", "connect:tag")
		s.sdpAnswer()
		s.status(whatsapp.Ringing)
		s.saw("the agent hears that it rings", "ringback")
		s.status(whatsapp.Accepted)
		s.saw("and then the customer", "ringback off", "open whatsapp")
		s.phase(Active)
		time.Sleep(time.Minute)
		phone.notify(sip.Hungup{Q850: 16})
		s.saw("the end is sent to Meta", "terminate")
		r := s.ended(Hangup, "pbx")
		if r.DurationS != 60 || r.SIPStatus != 200 || r.WACID != "wacid.B" || r.Direction != outbound || r.To != "+34600111222" ||
			r.Trunk != "pbx" || !slices.Equal(r.Agents, []string{"201"}) {
			t.Errorf("record is %+v", r)
		}
		if s.used() != 0 {
			t.Error("the trunk's place is still held")
		}
	})
}

func TestCustomerOfASummonedCallHangsUp(t *testing.T) {
	rehearseSummoned(t, "pbx", func(s *rehearsal) {
		phone := s.summon()
		s.join(phone, Active)
		s.seen.take()
		s.metaEnds(0)
		s.saw("the agent's phone is hung up", "BYE sip:10.0.0.1")
		phone.notify(sip.ByeDone{})
		s.ended(Hangup, "customer")
	})
}

// TestAgentHangsUpInEveryPhase: whatever there is of the customer's side ends
// with it.
func TestAgentHangsUpInEveryPhase(t *testing.T) {
	for _, row := range []struct {
		at    Phase
		cause Cause
		news  sip.Event
		then  []string
	}{
		{Summoning, Busy, sip.Refused{Status: 486}, nil},
		{Dialing, Cancelled, sip.Hungup{}, []string{"terminate"}},
		{Ringing, Cancelled, sip.Hungup{}, []string{"ringback off", "terminate"}},
		{Active, Hangup, sip.Hungup{}, []string{"terminate"}},
	} {
		t.Run(row.at.String(), func(t *testing.T) {
			rehearseSummoned(t, "pbx", func(s *rehearsal) {
				phone := s.summon()
				s.join(phone, row.at)
				s.seen.take()
				phone.notify(row.news)
				s.saw("nothing is left", row.then...)
				s.ended(row.cause, "pbx")
				if s.used() != 0 {
					t.Error("the trunk's place is still held")
				}
			})
		})
	}
}

func TestAgentsPhoneThatDoesNotCome(t *testing.T) {
	for _, row := range []struct {
		status int
		cause  Cause
	}{{486, Busy}, {480, NoAnswer}, {404, NotFound}, {603, Declined}, {503, Unreachable}} {
		t.Run(row.cause.String(), func(t *testing.T) {
			rehearseSummoned(t, "pbx", func(s *rehearsal) {
				s.summon().notify(sip.Refused{Status: row.status})
				s.saw("the customer never knows")
				if r := s.ended(row.cause, "pbx"); r.SIPStatus != row.status {
					t.Errorf("sip_status is %d, want %d", r.SIPStatus, row.status)
				}
			})
		})
	}
}

func TestNobodyIsAtTheAgentsPhone(t *testing.T) {
	rehearseSummoned(t, "pbx", func(s *rehearsal) {
		phone := s.summon()
		s.join(phone, Summoning)
		time.Sleep(summonLimit - time.Millisecond)
		s.saw("it rings all its time")
		time.Sleep(time.Millisecond)
		s.saw("and no longer", "CANCEL sip:10.0.0.1")
		phone.answer() // crossed
		s.saw("a late answer is hung up", "BYE sip:10.0.0.1")
		phone.notify(sip.ByeDone{})
		s.ended(NoAnswer, "pbx")
	})
}

func TestAgentsTrunkHasASecondAddress(t *testing.T) {
	rehearseSummoned(t, "two", func(s *rehearsal) {
		s.summon().notify(sip.Failed{Err: sip.ErrSilent})
		second := s.dialled()
		s.saw("the next address is tried", "save sip:10.0.0.3", "INVITE sip:10.0.0.3 201")
		s.join(second, Active)
		second.notify(sip.Hungup{})
		s.ended(Hangup, "pbx")
		if use := s.call.env.limits.trunks["two"]; use.calls != 0 {
			t.Errorf("the trunk still counts %d calls", use.calls)
		}
	})
}

// TestSummonedCallOfNoUse: the customer cannot be reached, for whatever reason,
// when the agent is on the phone.
func TestSummonedCallOfNoUse(t *testing.T) {
	for _, row := range []struct {
		name   string
		set    func(s *rehearsal)
		cause  Cause
		reason sip.Reason
	}{
		{
			"permission is gone", func(s *rehearsal) { s.denied = &deniedError{cause: NoPermission, reason: "revoked"} },
			NoPermission,
			sip.Reason{Q850: 16, Text: "revoked", WAError: "no_permission"},
		},
		{"Meta says so first", func(s *rehearsal) {
			s.graph.results["connect:tag"] = []error{&whatsapp.APIError{Status: 400, Code: 138006}}
		}, NoPermission, sip.Reason{Q850: 16, Text: "no_permission", WAError: "no_permission;meta=138006"}},
		{"Meta is down", func(s *rehearsal) {
			s.graph.results["connect:tag"] = []error{&whatsapp.APIError{Status: 500, Code: 131016}}
		}, APIDown, sip.Reason{Q850: 41, Text: "api_down", WAError: "api_down;meta=131016"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			rehearseSummoned(t, "pbx", func(s *rehearsal) {
				row.set(s)
				phone := s.summon()
				phone.answer()
				synctest.Wait()
				if len(phone.reasons) != 1 || phone.reasons[0] != row.reason {
					t.Errorf("BYE says %+v, want %+v", phone.reasons, row.reason)
				}
				phone.notify(sip.ByeDone{})
				s.ended(row.cause, "gateway")
			})
		})
	}
}

func TestCustomerOfASummonedCallDeclines(t *testing.T) {
	rehearseSummoned(t, "pbx", func(s *rehearsal) {
		phone := s.summon()
		s.join(phone, Ringing)
		s.seen.take()
		s.status(whatsapp.Rejected)
		s.saw("the agent hears no tone any more", "ringback off", "BYE sip:10.0.0.1")
		phone.notify(sip.ByeDone{})
		s.ended(Declined, "customer")
	})
}

func TestSummonedCallIsStopped(t *testing.T) {
	for _, at := range []Phase{Summoning, Dialing, Ringing, Active} {
		t.Run(at.String(), func(t *testing.T) {
			rehearseSummoned(t, "pbx", func(s *rehearsal) {
				phone := s.summon()
				s.join(phone, at)
				s.call.post(stopWanted{Hangup})
				synctest.Wait()
				if at == Summoning {
					phone.notify(sip.Refused{Status: 487})
				} else {
					phone.notify(sip.ByeDone{})
				}
				s.ended(Hangup, "gateway")
			})
		})
	}
}

// TestSummonedCallThatIsNotPlaced: who asked for it is told why.
func TestSummonedCallThatIsNotPlaced(t *testing.T) {
	for _, row := range []struct {
		set   func(s *rehearsal)
		cause Cause
	}{
		{func(s *rehearsal) { s.book.dialogErr = errDisk }, StoreFailed},
		{func(s *rehearsal) { s.env.limits.trunks["pbx"] = &trunkUse{calls: 10} }, Overloaded},
	} {
		t.Run(row.cause.String(), func(t *testing.T) {
			rehearseSummoned(t, "pbx", func(s *rehearsal) {
				row.set(s)
				s.start()
				synctest.Wait()
				if got := <-s.call.placed; got != row.cause {
					t.Errorf("who waits is told %v, want %v", got, row.cause)
				}
				s.ended(row.cause, "gateway")
			})
		})
	}
}

func TestSummonedCallThatNobodyTakesOver(t *testing.T) {
	rehearseSummoned(t, "pbx", func(s *rehearsal) {
		phone := s.summon()
		s.join(phone, Active)
		s.call.post(stopWanted{Draining})
		s.call.post(giveUp{})
		synctest.Wait()
		s.ended(Draining, "gateway")
		kinds := []string{}
		for _, d := range s.book.owed {
			kinds = append(kinds, d.Kind)
		}
		slices.Sort(kinds)
		if !slices.Equal(kinds, []string{debtDialog, debtTerminate}) {
			t.Errorf("owed is %v, want both ends", kinds)
		}
	})
}

package gateway

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/whatsapp"
)

// rehearseOut runs a story about a call that a trunk places to a customer.
func rehearseOut(t *testing.T, story func(s *rehearsal)) {
	t.Helper()
	rehearse(t, nil, func(s *rehearsal) {
		s.call = newCall(s.env, "call", order{
			direction: outbound, number: config.Number{Name: "support"}, user: whatsapp.User{Number: "34600111222"},
			ring: 45 * time.Second, route: "out", trunk: "pbx", dialed: "+34600111222", agent: "201", tag: "tag",
		})
		leg := &callerLeg{call: s.call, session: fakeCaller{s.seen}, answerS: []byte("answer"), trunk: "pbx"}
		s.call.in = leg
		leg.socket, _ = s.audio.Socket(media.SocketOptions{})
		story(s)
	})
}

func (s *rehearsal) callerLeg() *callerLeg { return s.call.in.(*callerLeg) }

func (s *rehearsal) caller(ev sip.Event) {
	s.callerLeg().handling(config.Trunk{}).Notify(ev)
	synctest.Wait()
}

func (s *rehearsal) status(state whatsapp.StatusState) {
	s.hook(whatsapp.Status{Meta: whatsapp.Meta{CallID: "wacid.B", Tag: "tag"}, State: state})
}

func (s *rehearsal) sdpAnswer() {
	s.hook(whatsapp.Answer{Meta: whatsapp.Meta{CallID: "wacid.B", Tag: "tag"}, SDP: "answer"})
}

func (s *rehearsal) metaEnds(code int) {
	ev := whatsapp.Terminate{Meta: whatsapp.Meta{CallID: "wacid.B", Tag: "tag"}}
	if code != 0 {
		ev.Failed, ev.Errors = true, []whatsapp.HookError{{Code: code}}
	}
	s.hook(ev)
}

// notedCaller tells when 100 may be sent.
type notedCaller struct{ fakeCaller }

func (c notedCaller) Noted() { c.write("noted") }

// TestAgentHearsNothingBeforeTheDisk: 100 may be sent when the dialog is on disk,
// and not where the disk fails.
func TestAgentHearsNothingBeforeTheDisk(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.callerLeg().session = notedCaller{fakeCaller{s.seen}}
		s.start()
		s.saw("the dialog, then leave for 100", "begin", "save caller", "noted", "connect:tag")
		s.call.post(stopWanted{Draining})
		synctest.Wait()
	})
	rehearseOut(t, func(s *rehearsal) {
		s.callerLeg().session = notedCaller{fakeCaller{s.seen}}
		s.book.dialogErr = errDisk
		s.start()
		if words := s.seen.take(); slices.Contains(words, "noted") {
			t.Errorf("100 may be sent after %v", words)
		}
		s.ended(StoreFailed, "gateway")
	})
}

func TestAgentCallsCustomer(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.start()
		s.saw("intent and dialog, then connect with our tag", "begin", "save caller", "connect:tag")
		s.sdpAnswer()
		s.status(whatsapp.Ringing)
		s.saw("the PBX hears that it rings", "180")
		s.phase(Ringing)
		s.status(whatsapp.Accepted)
		s.saw("and that the customer picked up", "200", "open sip")
		s.caller(sip.Acked{})
		s.saw("audio to the customer", "open whatsapp")
		s.phase(Active)
		time.Sleep(time.Minute)
		s.caller(sip.Hungup{Q850: 16})
		s.saw("the end is sent to Meta", "terminate")
		r := s.ended(Hangup, "pbx")
		if r.DurationS != 60 || r.SIPStatus != 200 || r.WACID != "wacid.B" || r.Direction != outbound || len(r.Agents) != 1 {
			t.Errorf("record is %+v", r)
		}
	})
}

func TestCallerMovesItsAudioAtOnce(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.callerLeg().offered = true // the answer is in the ACK
		s.start()
		s.sdpAnswer()
		s.status(whatsapp.Ringing)
		s.status(whatsapp.Accepted)
		h := s.callerLeg().handling(config.Trunk{})
		h.Notify(sip.Acked{SDP: []byte("first")})
		if _, err := h.Reoffer([]byte("moved")); err != nil {
			t.Fatal(err)
		}
		s.phase(Active)
		if got := s.audio.sockets[0].said.Load(); got != "moved" {
			t.Errorf("audio goes where %q says, want the re-INVITE's place", got)
		}
		s.metaEnds(0)
		s.caller(sip.ByeDone{})
		s.ended(Hangup, "customer")
	})
}

func TestCustomerIsHeardBeforeACCEPTED(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.start()
		s.sdpAnswer()
		s.status(whatsapp.Ringing)
		s.seen.take()
		close(s.audio.peer.heard)
		s.saw("the first audio is the answer", "200", "open sip")
		s.status(whatsapp.Accepted)
		s.caller(sip.Acked{})
		s.phase(Active)
		s.metaEnds(0)
		s.saw("the phone is hung up", "open whatsapp", "BYE caller")
		s.caller(sip.ByeDone{})
		s.ended(Hangup, "customer")
	})
}

func TestAgentGivesUpInTheMomentOfTheAnswer(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.start()
		s.sdpAnswer()
		s.status(whatsapp.Ringing)
		s.seen.take()
		s.caller(sip.Cancelled{Status: 487})
		s.saw("the customer's phone stops", "terminate")
		s.status(whatsapp.Accepted) // crossed
		s.saw("nothing more")
		r := s.ended(Cancelled, "pbx")
		if r.SIPStatus != 487 {
			t.Errorf("status %d, want 487", r.SIPStatus)
		}
	})
}

func TestCustomerMayNotBeCalled(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.denied = &deniedError{cause: NoPermission, reason: "expired"}
		s.start()
		s.saw("Meta is not even asked", "begin", "save caller", "403 no_permission")
		s.ended(NoPermission, "gateway")
		if got := s.call.reason(NoPermission, 21).Text; got != "expired" {
			t.Errorf("the agent's phone is told %q, want the reason of the rules", got)
		}
	})
}

// TestLimitOfOneCustomer: the ledger knows, so Meta is not asked, and a PBX is
// told that no other way leads there.
func TestLimitOfOneCustomer(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.denied = &deniedError{cause: Limited, reason: "limit reached", retryAfter: 7 * time.Minute, perUser: true}
		s.start()
		s.saw("Meta is not asked", "begin", "save caller", "480 limited")
		if r := s.ended(Limited, "gateway"); r.Q850 != userLimitQ850 || s.call.retryFor(Limited) != 7*time.Minute {
			t.Errorf("record says Q.850 %d, the PBX is told to wait %v", r.Q850, s.call.retryFor(Limited))
		}
	})
}

func TestConnectReplyIsLost(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.graph.results["connect:tag"] = []error{whatsapp.ErrUnknown}
		s.start()
		s.seen.take()
		time.Sleep(time.Second)
		s.status(whatsapp.Ringing)
		s.saw("a webhook with our tag adopts the call", "180")
		s.status(whatsapp.Rejected)
		s.saw("the customer declines", "603 declined")
		s.ended(Declined, "customer")
	})
}

func TestConnectIsNeverAskedTwice(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.graph.results["connect:tag"] = []error{whatsapp.ErrUnknown}
		s.start()
		time.Sleep(adoptLimit)
		s.saw("one connect, then a clear end", "begin", "save caller", "connect:tag", "504 api_timeout")
		s.ended(APITimeout, "gateway")
		if !slices.Equal(s.book.strays, []string{"tag"}) {
			t.Errorf("strays %v, want the tag", s.book.strays)
		}
	})
}

// A webhook that comes while the record cannot be written yet names the call.
func TestStrayIsNamedBeforeItsRecordIsWritten(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.graph.results["connect:tag"] = []error{whatsapp.ErrUnknown}
		s.book.endErrs = []error{errDisk, errDisk, errDisk}
		s.start()
		time.Sleep(adoptLimit)
		synctest.Wait()
		s.status(whatsapp.Ringing)
		time.Sleep(lastRecordPause)
		r := s.ended(APITimeout, "gateway")
		if len(s.book.strays) != 0 || len(s.book.owed) != 1 || s.book.owed[0].WACID != "wacid.B" || r.WACID != "wacid.B" {
			t.Errorf("record %+v, owed %+v, strays %v; want the end of the call owed by its name", r, s.book.owed, s.book.strays)
		}
	})
}

// A webhook that comes when the record is written goes the way of the strays.
func TestStrayIsNamedAfterItsRecordIsWritten(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.graph.results["connect:tag"] = []error{whatsapp.ErrUnknown}
		var late []whatsapp.Event
		s.env.late = func(ev whatsapp.Event) { late = append(late, ev) }
		over := s.env.over
		s.env.over = func(c *Call) {
			c.post(hooked{whatsapp.Status{Meta: whatsapp.Meta{CallID: "wacid.B", Tag: "tag"}}})
			over(c)
		}
		s.start()
		time.Sleep(adoptLimit)
		synctest.Wait()
		if len(late) != 1 || s.call.post(hooked{}) {
			t.Errorf("handed on %v; want the webhook, and none taken afterwards", late)
		}
	})
}

func TestConnectThatFailedAtMetaMayHaveRung(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.graph.results["connect:tag"] = []error{&whatsapp.APIError{Status: 500, Code: 2}}
		s.start()
		s.ended(APIDown, "gateway")
		if len(s.book.strays) != 1 {
			t.Error("its tag is not on the list of strays")
		}
	})
}

// TestResultsTowardsThePBX goes through what Meta may say to a call of ours and
// what the PBX is told.
func TestResultsTowardsThePBX(t *testing.T) {
	for _, row := range []struct {
		code int
		want string
	}{
		{138006, "403 no_permission;meta=138006"},
		{138001, "404 not_found;meta=138001"},
		{138003, "486 busy;meta=138003"},
		{138012, "480 limited;meta=138012"},
		{138005, "480 limited;meta=138005"},
		{138002, "480 limited;meta=138002"},
		{4, "480 limited;meta=4"},
		{130429, "480 limited;meta=130429"},
		{1, "502 api_down;meta=1"},
		{2, "502 api_down;meta=2"},
		{131016, "502 api_down;meta=131016"},
		{138004, "502 api_down;meta=138004"},
		{138007, "504 api_timeout;meta=138007"},
		{190, "500 api_error;meta=190"},
		{138000, "500 api_error;meta=138000"},
		{138008, "500 api_error;meta=138008"},
		{138013, "500 api_error;meta=138013"},
		{138014, "500 api_error;meta=138014"},
		{131044, "500 api_error;meta=131044"},
		{131055, "500 api_error;meta=131055"},
		{100, "500 api_error;meta=100"},
	} {
		t.Run(row.want, func(t *testing.T) {
			rehearseOut(t, func(s *rehearsal) {
				s.graph.results["connect:tag"] = []error{&whatsapp.APIError{Status: 400, Code: row.code}}
				s.start()
				s.saw("connect is refused", "begin", "save caller", "connect:tag", row.want)
			})
		})
	}
}

// TestNothingButFourCodesAfterRinging, so that no PBX tries elsewhere and rings
// twice.
func TestNothingButFourCodesAfterRinging(t *testing.T) {
	for _, row := range []struct {
		code int
		want string
	}{
		{0, "480 no_answer"},
		{138019, "480 media_failed;meta=138019"},
		{138021, "480 media_failed;meta=138021"},
		{138006, "480 no_permission;meta=138006"},
		{2, "480 api_down;meta=2"},
	} {
		t.Run(row.want, func(t *testing.T) {
			rehearseOut(t, func(s *rehearsal) {
				s.start()
				s.status(whatsapp.Ringing)
				s.seen.take()
				s.metaEnds(row.code)
				s.saw("Meta ends it", row.want)
			})
		})
	}
}

// TestThrottledTerminate: Meta says when it takes the end of the call, so it is
// not asked before; what is left then is the reaper's, and waits as well.
func TestThrottledTerminate(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		busy := &whatsapp.APIError{Status: 429, Code: 4, RetryAfter: 3 * time.Second}
		later := &whatsapp.APIError{Status: 429, Code: 4, RetryAfter: 30 * time.Second}
		s.graph.results["terminate"] = []error{busy, later}
		s.start()
		s.status(whatsapp.Ringing)
		s.seen.take()
		s.caller(sip.Cancelled{Status: 487})
		s.saw("the customer's phone is to stop", "terminate")
		time.Sleep(2900 * time.Millisecond)
		s.saw("Meta is left alone")
		time.Sleep(200 * time.Millisecond)
		s.saw("and asked again when it wants", "terminate")
		time.Sleep(endingLimit)
		s.saw("nobody asks any more")
		s.ended(Cancelled, "pbx")
		if owed := s.book.owed; len(owed) != 1 || owed[0].Next.Sub(owed[0].Since) < 15*time.Second {
			t.Errorf("owed: %+v", owed)
		}
	})
}

func TestCustomerPicksUpWithoutMedia(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.audio.connect = false
		s.start()
		s.sdpAnswer()
		s.status(whatsapp.Ringing)
		s.status(whatsapp.Accepted)
		s.seen.take()
		time.Sleep(s.env.cfg.Media.SetupTimeout - time.Millisecond)
		s.saw("the agent hears that it rings")
		time.Sleep(time.Millisecond)
		s.saw("no answer is pretended", "480 media_failed", "terminate")
		if r := s.ended(MediaFailed, "gateway"); r.Q850 != 47 {
			t.Errorf("Q.850 %d, want 47", r.Q850)
		}
	})
}

func TestMetaEndsACallThatFailed(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.start()
		s.status(whatsapp.Ringing)
		s.metaEnds(138020)
		if r := s.ended(MediaFailed, "gateway"); r.MetaError != 138020 || r.Q850 != 47 {
			t.Errorf("record is %+v", r)
		}
	})
}

func TestNobodyPicksUp(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.start()
		s.status(whatsapp.Ringing)
		s.seen.take()
		time.Sleep(45 * time.Second)
		s.saw("both sides are ended", "480 no_answer", "terminate")
		s.ended(NoAnswer, "gateway")
	})
}

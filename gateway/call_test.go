package gateway

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/whatsapp"
)

var (
	onePhone  = []config.Hop{{Trunk: "pbx", To: "600"}}
	errDisk   = errors.New("disk trouble")
	twoPhones = []config.Hop{{Trunk: "pbx", To: "600"}, {Trunk: "pbx", To: "699"}}
)

func TestCustomerTalksAndHangsUp(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		s.saw("intent, then requests", "begin", "pre_accept:sdp", "save sip:10.0.0.1", "INVITE sip:10.0.0.1 600")
		phone.notify(sip.Ringing{Status: 180})
		s.phase(Ringing)
		phone.answer()
		s.saw("accept has the same bytes, and audio opens only after it", "open sip", "accept:sdp", "open whatsapp")
		s.phase(Active)
		time.Sleep(90 * time.Second)
		s.hook(whatsapp.Terminate{Meta: whatsapp.Meta{CallID: "wacid.A"}, Duration: 89 * time.Second})
		s.saw("the phone is hung up", "BYE sip:10.0.0.1")
		phone.notify(sip.ByeDone{})
		r := s.ended(Hangup, "customer")
		if r.DurationS != 90 || r.MetaDurationS != 89 || r.SIPStatus != 200 || r.Trunk != "pbx" || r.To != "600" {
			t.Errorf("record is %+v", r)
		}
	})
}

// TestPhoneMovesItsAudioAtOnce: a PBX that leaves the media's way sends its
// re-INVITE right behind our ACK, before the call has heard of the answer.
func TestPhoneMovesItsAudioAtOnce(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		if _, err := phone.out.Reoffer([]byte("moved")); err != nil {
			t.Fatal(err)
		}
		s.phase(Active)
		if got := s.audio.sockets[0].said.Load(); got != "moved" {
			t.Errorf("audio goes where %q says, want the re-INVITE's place", got)
		}
		phone.notify(sip.Hungup{})
		s.ended(Hangup, "pbx")
	})
}

func TestPhoneHangsUp(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.seen.take()
		phone.notify(sip.Hungup{Q850: 16})
		s.saw("the customer's call is ended at Meta", "terminate")
		if r := s.ended(Hangup, "pbx"); r.Q850 != 16 {
			t.Errorf("q850 is %d, want 16", r.Q850)
		}
	})
}

func TestNobodyAnswersSoTheNextPhoneRings(t *testing.T) {
	rehearse(t, twoPhones, func(s *rehearsal) {
		s.start()
		first := s.dialled()
		first.notify(sip.Ringing{Status: 180})
		synctest.Wait()
		s.seen.take()
		time.Sleep(20 * time.Second)
		second := s.dialled()
		s.saw("the first is cancelled, the second rings", "CANCEL sip:10.0.0.1", "save sip:10.0.0.1", "INVITE sip:10.0.0.1 699")
		first.answer() // crossed the CANCEL
		s.saw("and a late answer of the first is hung up", "BYE sip:10.0.0.1")
		first.notify(sip.ByeDone{})
		second.answer()
		s.phase(Active)
		s.seen.take()
		second.notify(sip.Hungup{})
		s.saw("one call at Meta all along", "terminate")
		if r := s.ended(Hangup, "pbx"); r.To != "699" {
			t.Errorf("record names %s, want 699", r.To)
		}
	})
}

func TestMetaGivesUpBeforeTheLastTarget(t *testing.T) {
	hops := []config.Hop{{Trunk: "pbx", To: "1"}, {Trunk: "pbx", To: "2"}, {Trunk: "pbx", To: "3"}, {Trunk: "pbx", To: "4"}}
	rehearse(t, hops, func(s *rehearsal) {
		s.start()
		began := time.Now()
		for range 3 {
			phone := s.dialled()
			phone.notify(sip.Ringing{Status: 180})
			synctest.Wait()
			s.seen.take()
			time.Sleep(min(20*time.Second, s.call.env.cfg.Limits.AnswerWindow-time.Since(began)))
			synctest.Wait()
			phone.notify(sip.Refused{Status: 487})
		}
		s.saw("the fourth is not rung: the customer's patience is over", "CANCEL sip:10.0.0.1", "terminate")
		s.ended(NoAnswer, "gateway")
	})
}

func TestTrunkIsDownSoTheNextAddressIsDialled(t *testing.T) {
	rehearse(t, []config.Hop{{Trunk: "two", To: "600"}}, func(s *rehearsal) {
		s.start()
		s.dialled().notify(sip.Failed{Err: sip.ErrSilent})
		second := s.dialled()
		if second.out.Target != "sip:10.0.0.3" {
			t.Fatalf("dialled %s, want the second address", second.out.Target)
		}
		second.answer()
		s.phase(Active)
		second.notify(sip.Hungup{})
		s.ended(Hangup, "pbx")
	})
}

func TestCustomerHangsUpWhileItRings(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		s.customerHangsUp()
		s.seen.take()
		synctest.Wait()
		phone.notify(sip.Proceeding{Status: 100})
		s.saw("a CANCEL waits for the first response", "CANCEL sip:10.0.0.1")
		phone.notify(sip.Refused{Status: 487})
		s.ended(Cancelled, "customer")
	})
}

func TestPreAcceptIsLost(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.graph.results["pre_accept:sdp"] = manyUnknown(100)
		s.audio.connect = false
		s.start()
		phone := s.dialled()
		phone.notify(sip.Ringing{Status: 180})
		time.Sleep(15 * time.Second)
		s.seen.take()
		phone.answer()
		s.saw("accept does not wait for media that cannot come up", "open sip", "accept:sdp", "open whatsapp")
		close(s.audio.peer.connected)
		s.phase(Active)
		s.customerHangsUp()
		phone.notify(sip.ByeDone{})
		s.ended(Hangup, "customer")
	})
}

// TestMetaIsBroken: as soon as that is known no phone rings on for a customer
// who cannot be connected.
func TestMetaIsBroken(t *testing.T) {
	for why, want := range map[whatsapp.Barred]Cause{whatsapp.BarredFailing: APIDown, whatsapp.BarredThrottled: Limited} {
		rehearse(t, onePhone, func(s *rehearsal) {
			barred := &whatsapp.BarredError{Why: why, Wait: time.Minute}
			budget := &whatsapp.BarredError{Why: whatsapp.BarredBudget}
			s.graph.results["pre_accept:sdp"] = []error{whatsapp.ErrUnknown, budget, budget, barred}
			s.start()
			phone := s.dialled()
			phone.notify(sip.Ringing{Status: 180})
			time.Sleep(10 * time.Second)
			s.saw("the phone stops", "begin", "save sip:10.0.0.1", "INVITE sip:10.0.0.1 600",
				"pre_accept:sdp", "pre_accept:sdp", "pre_accept:sdp", "pre_accept:sdp", "CANCEL sip:10.0.0.1", "terminate")
			phone.notify(sip.Refused{Status: 487})
			s.ended(want, "gateway")
		})
	}
}

// TestEndKeepsToPauses: the end of a call is asked for at once, and again after
// the pause that Meta wants of the number.
func TestEndKeepsToPauses(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.graph.results["terminate"] = []error{whatsapp.ErrUnknown}
		s.graph.pause.Store(int64(4 * time.Second))
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.seen.take()
		phone.notify(sip.Hungup{})
		time.Sleep(3900 * time.Millisecond)
		s.saw("one end in the pause", "terminate")
		time.Sleep(200 * time.Millisecond)
		s.saw("and one after it", "terminate")
		s.ended(Hangup, "pbx")
	})
}

// TestNoPhoneRingsInVain: whether a customer's call is let in while Meta fails.
func TestNoPhoneRingsInVain(t *testing.T) {
	for _, row := range []struct {
		err  error
		want Cause
	}{
		{nil, NoCause},
		{&whatsapp.BarredError{Why: whatsapp.BarredFailing, Wait: time.Second}, APIDown},
		{&whatsapp.BarredError{Why: whatsapp.BarredThrottled, Wait: time.Minute}, Limited},
		{&whatsapp.BarredError{Why: whatsapp.BarredThrottled, Wait: preAcceptLimit - time.Second}, NoCause}, // over when the phone rings
	} {
		if got := unreachable(row.err); got != row.want {
			t.Errorf("%v: %v, want %v", row.err, got, row.want)
		}
	}
}

// TestMetaIsKnownToBeBroken: nothing was asked of Meta for the call, so it is
// rejected.
func TestMetaIsKnownToBeBroken(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.graph.results["pre_accept:sdp"] = []error{&whatsapp.BarredError{Why: whatsapp.BarredFailing, Wait: time.Second}}
		s.graph.slow["pre_accept:sdp"] = 100 * time.Millisecond // it is told that late
		s.start()
		phone := s.dialled()
		phone.notify(sip.Ringing{Status: 180})
		time.Sleep(200 * time.Millisecond)
		s.saw("no phone rings on", "begin", "save sip:10.0.0.1", "INVITE sip:10.0.0.1 600", "pre_accept:sdp", "reject", "CANCEL sip:10.0.0.1")
		phone.notify(sip.Refused{Status: 487})
		s.ended(APIDown, "gateway")
	})
}

func TestAcceptIsRepeatedOnce(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.graph.results["accept:sdp"] = []error{whatsapp.ErrUnknown}
		s.start()
		phone := s.dialled()
		s.seen.take()
		phone.answer()
		synctest.Wait()
		time.Sleep(time.Second)
		s.saw("the same bytes once more", "open sip", "accept:sdp", "accept:sdp", "open whatsapp")
		s.customerHangsUp()
		phone.notify(sip.ByeDone{})
		s.ended(Hangup, "customer")
	})
}

func TestAcceptFailsForGood(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.graph.results["accept:sdp"] = []error{whatsapp.ErrUnknown, whatsapp.ErrUnknown}
		s.start()
		phone := s.dialled()
		s.seen.take()
		phone.answer()
		synctest.Wait()
		time.Sleep(time.Second)
		s.saw("both sides are ended, and nothing was sent to the customer", "open sip", "accept:sdp", "accept:sdp", "terminate", "BYE sip:10.0.0.1")
		phone.notify(sip.ByeDone{})
		s.ended(AnswerFailed, "gateway")
	})
}

func TestTerminateIsNotConfirmed(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.graph.results["terminate"] = manyUnknown(100)
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		phone.notify(sip.Hungup{})
		synctest.Wait()
		time.Sleep(endingLimit)
		r := s.ended(Hangup, "pbx")
		if !r.Abandoned || len(s.book.owed) != 1 || s.book.owed[0].Kind != debtTerminate {
			t.Errorf("abandoned %v, owed %v; want a terminate for the reaper", r.Abandoned, s.book.owed)
		}
	})
}

func manyUnknown(n int) []error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = whatsapp.ErrUnknown
	}
	return errs
}

func TestTokenIsRefusedSoTheEndStaysOwed(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		refused := make([]error, 100)
		for i := range refused {
			refused[i] = &whatsapp.APIError{Status: 401, Code: 190}
		}
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.graph.results["terminate"] = refused
		phone.notify(sip.Hungup{})
		synctest.Wait()
		time.Sleep(endingLimit)
		s.ended(Hangup, "pbx")
		if len(s.book.owed) != 1 {
			t.Errorf("owed %v, want a terminate: a refused token does not end a call", s.book.owed)
		}
	})
}

func TestOfferWithoutOurCodec(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.audio.answerErr, s.audio.slowAnswer = media.ErrNoCodec, time.Second
		s.start()
		time.Sleep(time.Second)
		s.dialled().notify(sip.Proceeding{Status: 100})
		s.saw("nothing was sent to Meta, so it is a reject", "begin", "save sip:10.0.0.1", "INVITE sip:10.0.0.1 600", "reject", "CANCEL sip:10.0.0.1")
		s.call.post(sipNews{of(1), sip.Refused{Status: 487}})
		s.ended(NoCodec, "gateway")
	})
}

func TestTrunkAnswersWithoutOurCodec(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.audio.sdpErr = media.ErrNoCodec
		s.start()
		phone := s.dialled()
		s.seen.take()
		phone.answer()
		s.saw("a clear end on both sides, and no accept", "BYE sip:10.0.0.1", "terminate")
		phone.notify(sip.ByeDone{})
		s.ended(NoCodec, "gateway")
	})
}

func TestStoreCannotWrite(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.book.beginErr = errDisk
		s.start()
		s.saw("no phone rings for a call that is not on disk", "begin", "reject")
		s.ended(StoreFailed, "gateway")
	})
}

func TestDialogCannotBeWritten(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.book.dialogErr, s.book.slowDialog = errDisk, time.Second
		s.start()
		time.Sleep(time.Second)
		s.saw("no INVITE that is not on disk", "begin", "pre_accept:sdp", "save sip:10.0.0.1", "abandon sip:10.0.0.1", "terminate")
		s.ended(StoreFailed, "gateway")
	})
}

func TestAudioIsLost(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.seen.take()
		close(s.audio.sockets[0].failed)
		s.saw("both sides are ended", "BYE sip:10.0.0.1", "terminate")
		phone.notify(sip.ByeDone{})
		s.ended(MediaLost, "gateway")
	})
}

func TestWhatsAppAudioNeverComesUp(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.audio.connect = false
		s.start()
		phone := s.dialled()
		phone.answer()
		synctest.Wait()
		time.Sleep(peerPatience)
		s.phase(Active)
		time.Sleep(s.call.env.cfg.Media.SetupTimeout)
		synctest.Wait()
		phone.notify(sip.ByeDone{})
		s.ended(MediaFailed, "gateway")
	})
}

func TestLongestCall(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		time.Sleep(s.call.env.cfg.Limits.MaxDuration)
		synctest.Wait()
		phone.notify(sip.ByeDone{})
		r := s.ended(MaxDuration, "gateway")
		if got, want := r.DurationS, s.call.env.cfg.Limits.MaxDuration.Seconds(); got != want {
			t.Errorf("talked %v s, want %v", got, want)
		}
	})
}

func TestRecordIsTriedAgain(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.book.endErrs = []error{errDisk, errDisk}
		s.start()
		phone := s.dialled()
		s.customerHangsUp()
		phone.notify(sip.Refused{Status: 487})
		synctest.Wait()
		time.Sleep(time.Second)
		s.ended(Cancelled, "customer")
	})
}

func TestDrainEndsTheCall(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.seen.take()
		s.call.post(stopWanted{Draining})
		s.saw("both sides are ended", "BYE sip:10.0.0.1", "terminate")
		s.call.post(giveUp{}) // the PBX says nothing
		r := s.ended(Draining, "gateway")
		if !r.Abandoned || len(s.book.owed) != 1 || s.book.owed[0].Kind != debtDialog {
			t.Errorf("abandoned %v, owed %v; want the dialog", r.Abandoned, s.book.owed)
		}
	})
}

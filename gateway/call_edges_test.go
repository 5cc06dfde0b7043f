package gateway

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/sip"
	"wagate/whatsapp"
)

// used is how many calls the limits count on the trunk just now.
func (s *rehearsal) used() int {
	l := s.call.env.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	if use := l.trunks["pbx"]; use != nil {
		return use.calls
	}
	return 0
}

func TestTrunkPlaceOfALegThatNeverConfirmed(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.customerHangsUp()
		time.Sleep(endingLimit) // the PBX never answers our BYE
		s.ended(Hangup, "customer")
		if got := s.used(); got != 0 {
			t.Errorf("the trunk still counts %d calls, want 0", got)
		}
	})
}

func TestTrunkPlaceOfAPhoneThatWasGivenUp(t *testing.T) {
	rehearse(t, twoPhones, func(s *rehearsal) {
		s.start()
		s.dialled().notify(sip.Ringing{Status: 180})
		time.Sleep(20 * time.Second)
		second := s.dialled()
		second.notify(sip.Refused{Status: 486})
		synctest.Wait()
		time.Sleep(slowEnding) // the first never answers our CANCEL
		s.ended(Busy, "pbx")
		if got := s.used(); got != 0 {
			t.Errorf("the trunk still counts %d calls, want 0", got)
		}
	})
}

// gaveUp counts the sessions that were given back.
func (s *rehearsal) gaveUp() (n int) {
	synctest.Wait()
	for _, word := range s.seen.take() {
		if strings.HasPrefix(word, "abandon ") {
			n++
		}
	}
	return n
}

func TestSessionThatNeverLeftIsGivenBack(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.book.dialogErr = errDisk
		s.start()
		s.ended(StoreFailed, "gateway")
		if s.gaveUp() != 1 || s.used() != 0 {
			t.Error("the session, or its place, is still held")
		}
	})
}

func TestSessionOfAFullTrunkIsGivenBack(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.call.env.limits.trunks["pbx"] = &trunkUse{calls: 10}
		s.start()
		s.ended(Overloaded, "gateway")
		if s.gaveUp() != 1 || s.used() != 10 {
			t.Error("the session is still held, or a place that was not taken was given back")
		}
	})
}

func TestInviteThatIsReadyAfterTheEnd(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.book.slowDialog = time.Second
		s.start()
		s.customerHangsUp()
		s.call.post(giveUp{}) // the gateway ends meanwhile
		time.Sleep(2 * time.Second)
		s.ended(Cancelled, "customer")
		if s.gaveUp() != 1 || s.used() != 0 {
			t.Error("the session, or its place, is still held")
		}
	})
}

func TestMetasDurationComesWhileTheRecordIsWritten(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.book.endErrs = []error{errDisk, errDisk}
		phone.notify(sip.Hungup{})
		synctest.Wait()
		s.hook(whatsapp.Terminate{Meta: whatsapp.Meta{CallID: "wacid.A"}, Duration: 42 * time.Second})
		time.Sleep(time.Second)
		if r := s.ended(Hangup, "pbx"); r.MetaDurationS != 42 {
			t.Errorf("meta_duration_s is %d, want 42", r.MetaDurationS)
		}
	})
}

func TestNoPhoneNumberInTheLog(t *testing.T) {
	var lines strings.Builder
	rehearse(t, []config.Hop{{Trunk: "pbx", To: "00+34600111222"}}, func(s *rehearsal) {
		s.call.log = slog.New(slog.NewTextHandler(&lines, nil))
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		phone.notify(sip.Hungup{})
		s.ended(Hangup, "pbx")
	})
	for _, want := range []string{"call started", "call answered", "call ended"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("%q is not in the log", want)
		}
	}
	if strings.Contains(lines.String(), "600111222") {
		t.Errorf("the customer's number is in the log:\n%s", lines.String())
	}
}

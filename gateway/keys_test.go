package gateway

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/whatsapp"
)

func TestKeysTravelAsTheTrunkSays(t *testing.T) {
	book := &ledger{}
	phone := &fakeSession{ledger: book}
	sock := fakeSocket{&fakeEnd{ledger: book}}
	inAudio, asInfo := config.Trunk{DTMF: "rfc4733"}, config.Trunk{DTMF: "info"}
	if keysTo(inAudio, func() presser { return phone }) != nil || keysFrom(inAudio, sock, slog.New(slog.DiscardHandler)) != nil {
		t.Error("keys that are in the audio travel twice")
	}
	to, from := keysTo(asInfo, func() presser { return phone }), keysFrom(asInfo, sock, slog.New(slog.DiscardHandler))
	for code := range uint8(20) {
		to(media.Key{Code: code, Duration: time.Second})
	}
	for _, key := range []byte(keyNames + "x") {
		from(key, time.Second)
	}
	var want []string
	for _, key := range keyNames {
		want = append(want, "INFO "+string(key)+" 1s")
	}
	for _, code := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"} {
		want = append(want, "key "+code+" 1s")
	}
	if got := book.take(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestTrunkLosesTheCall: the PBX does not know the call any more, so it ends at
// Meta at once.
func TestTrunkLosesTheCall(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.answer()
		s.phase(Active)
		s.seen.take()
		phone.notify(sip.Expired{})
		s.saw("the customer's call is ended at Meta", "terminate", "BYE "+phone.out.Target)
		phone.notify(sip.ByeDone{})
		s.ended(Unreachable, "gateway")
	})
}

func TestCallerLosesTheCall(t *testing.T) {
	rehearseOut(t, func(s *rehearsal) {
		s.start()
		s.sdpAnswer()
		s.status(whatsapp.Accepted)
		s.caller(sip.Acked{})
		s.phase(Active)
		s.seen.take()
		s.caller(sip.Expired{})
		s.saw("the end is sent to Meta", "BYE caller", "terminate")
		s.caller(sip.ByeDone{})
		s.ended(Unreachable, "gateway")
	})
}

package gateway

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/test/tone"
	"wagate/whatsapp"
)

// rehearseRefusal runs a story about a call that is refused with
// permissions.announce, up to the moment when it starts.
func rehearseRefusal(t *testing.T, denied error, story func(s *rehearsal)) {
	t.Helper()
	rehearseOut(t, func(s *rehearsal) {
		s.env.cfg.Permissions.Announce = true
		s.env.prompt = media.BuiltinPrompt()
		s.denied = denied
		story(s)
	})
}

var ungranted = &deniedError{cause: NoPermission, reason: "none"}

// saidSo checks that the agent hears the prompt now.
func (s *rehearsal) saidSo() {
	s.t.Helper()
	s.saw("the agent hears why", "begin", "save caller", "183", "open sip", "prompt")
	s.phase(Ending)
}

func TestAgentHearsWhyItIsRefused(t *testing.T) {
	rehearseRefusal(t, ungranted, func(s *rehearsal) {
		trunk := config.Trunk{Name: "pbx", MaxCalls: 1, MaxCPS: 10}
		if !s.env.limits.acquire(trunk, time.Now()) {
			t.Fatal("the trunk has no place")
		}
		s.start()
		s.saidSo()
		time.Sleep(s.env.prompt.Length() - time.Millisecond)
		s.saw("not before the last word")
		if s.env.limits.acquire(trunk, time.Now()) {
			t.Error("the prompt does not hold the trunk's place")
		}
		time.Sleep(time.Millisecond)
		s.saw("and is refused as ever", "403 no_permission")
		r := s.ended(NoPermission, "gateway")
		if r.SIPStatus != 403 || r.Q850 != 21 || r.Abandoned || !r.RingingAt.IsZero() || !r.AnsweredAt.IsZero() {
			t.Errorf("record is %+v", r)
		}
		if !s.env.limits.acquire(trunk, time.Now()) {
			t.Error("the trunk's place is still taken")
		}
	})
}

func TestAgentGivesUpDuringThePrompt(t *testing.T) {
	rehearseRefusal(t, ungranted, func(s *rehearsal) {
		s.start()
		s.saidSo()
		time.Sleep(time.Second)
		s.caller(sip.Cancelled{Status: 487, Q850: 16})
		s.saw("the prompt stops, and the stack has answered", "hush")
		r := s.ended(NoPermission, "gateway")
		if r.SIPStatus != 487 || r.EndedAt.Sub(r.StartedAt) != time.Second {
			t.Errorf("record is %+v", r)
		}
	})
}

func TestStopCutsThePromptShort(t *testing.T) {
	rehearseRefusal(t, ungranted, func(s *rehearsal) {
		s.start()
		s.saidSo()
		time.Sleep(time.Second)
		s.call.post(stopWanted{Draining})
		s.saw("refused at once, for the first cause", "hush", "403 no_permission")
		s.ended(NoPermission, "gateway")
	})
}

// TestGatewayCannotWaitForThePrompt: what is given up before its refusal is
// ended by the stack.
func TestGatewayCannotWaitForThePrompt(t *testing.T) {
	rehearseRefusal(t, ungranted, func(s *rehearsal) {
		s.start()
		s.saidSo()
		s.call.post(giveUp{})
		s.saw("the stack ends it", "abandon caller", "hush")
		if r := s.ended(NoPermission, "gateway"); !r.Abandoned {
			t.Error("the record does not say so")
		}
	})
}

func TestPromptThatNeverEnds(t *testing.T) {
	rehearseRefusal(t, ungranted, func(s *rehearsal) {
		s.audio.endless = true
		s.start()
		s.saidSo()
		time.Sleep(promptLimit)
		s.saw("is cut short", "hush", "403 no_permission")
		s.ended(NoPermission, "gateway")
	})
}

// TestEndingHasRoomForThePrompt: the deadline of the end is not what ends it.
func TestEndingHasRoomForThePrompt(t *testing.T) {
	if promptLimit >= slowEnding {
		t.Errorf("a prompt may last %v and the end of a call %v", promptLimit, slowEnding)
	}
	if longest := media.BuiltinPrompt().Length(); longest > 10*time.Second {
		t.Errorf("the prompt lasts %v", longest)
	}
}

// TestMetaKnowsBetterSoTheAgentHearsIt: Meta refuses what the ledger had
// allowed.
func TestMetaKnowsBetterSoTheAgentHearsIt(t *testing.T) {
	rehearseRefusal(t, nil, func(s *rehearsal) {
		s.graph.results["connect:tag"] = []error{&whatsapp.APIError{Status: 400, Code: 138006}}
		s.start()
		s.saw("the agent hears why", "begin", "save caller", "connect:tag", "183", "open sip", "prompt")
		time.Sleep(s.env.prompt.Length())
		s.saw("and is refused as ever", "403 no_permission;meta=138006")
		s.ended(NoPermission, "gateway")
	})
}

// TestNoPromptWhereItCannotBeHeard, or would not be true.
func TestNoPromptWhereItCannotBeHeard(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(s *rehearsal, leg *callerLeg)
		want   string
	}{
		{"announce is off", func(s *rehearsal, _ *callerLeg) { s.env.cfg.Permissions.Announce = false }, "403 no_permission"},
		{"the INVITE has no offer", func(_ *rehearsal, leg *callerLeg) { leg.offered = true }, "403 no_permission"},
		{"there is no socket", func(_ *rehearsal, leg *callerLeg) { leg.socket = nil }, "403 no_permission"},
		{"nothing was agreed on", func(s *rehearsal, _ *callerLeg) { s.audio.sockets[0].codec = media.NoCodec }, "403 no_permission"},
		{"there is no sound", func(s *rehearsal, _ *callerLeg) { s.env.prompt = media.Sound{} }, "403 no_permission"},
		{"the customer has granted, and never answers", func(s *rehearsal, _ *callerLeg) {
			s.denied = &deniedError{cause: NoPermission, reason: "3 unanswered", wordless: true}
		}, "403 no_permission"},
		{"a limit of Meta's", func(s *rehearsal, _ *callerLeg) { s.denied = &deniedError{cause: Limited} }, "480 limited"},
		{"a fault of ours", func(s *rehearsal, _ *callerLeg) { s.denied = &deniedError{cause: StoreFailed} }, "503 store_failed"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rehearseRefusal(t, ungranted, func(s *rehearsal) {
				row.change(s, s.call.in.(*callerLeg))
				s.start()
				s.saw("refused at once", "begin", "save caller", row.want)
			})
		})
	}
}

// TestPromptOfTheConfiguration: a file that is no prompt refuses the start and a
// reload, whole; one that is takes effect for the calls to come.
func TestPromptOfTheConfiguration(t *testing.T) {
	cfg := deadEnd(t)
	path := filepath.Join(t.TempDir(), "words.wav")
	if err := os.WriteFile(path, []byte("no sound"), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := *cfg
	bad.Permissions.Prompt = path
	var faults config.Faults
	if _, err := New(&bad, slog.New(slog.DiscardHandler), nil); !errors.As(err, &faults) || len(faults) != 1 || faults[0].Path != "permissions.prompt" || faults[0].Hint == "" {
		t.Errorf("start: %v, want a fault of permissions.prompt", err)
	}
	g := gatewayOn(t, cfg)
	before := g.current.Load()
	if err := g.Reload(&bad); !errors.As(err, &faults) {
		t.Errorf("reload: %v, want a fault", err)
	}
	if g.current.Load() != before {
		t.Error("a refused reload has changed something")
	}
	if err := tone.WriteWAV(path, 8000, make([]int16, 8000)); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(&bad); err != nil {
		t.Fatal(err)
	}
	if got, old := g.current.Load().env.prompt.Length(), before.env.prompt.Length(); got >= 2*time.Second || old != media.BuiltinPrompt().Length() {
		t.Errorf("the prompt lasts %v, before %v", got, old)
	}
}

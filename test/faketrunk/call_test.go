package faketrunk

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCallWithAudioBothWays(t *testing.T) {
	for _, transport := range []string{"udp", "tcp"} {
		for _, codec := range []string{"PCMA", "PCMU"} {
			t.Run(transport+" "+codec, func(t *testing.T) {
				pbx, caller := pair(t, Script{Codecs: []string{codec}})
				out := dial(t, caller, pbx, transport, Script{})
				in, err := pbx.Next(soon(t))
				must(t, err)
				if got := in.Invite().Get("f"); got != "" || !strings.HasPrefix(in.Invite().Get("From"), `"Ana \"A\"" <sip:+34600111222@`) {
					t.Errorf("From %q", in.Invite().Get("From"))
				}
				must(t, out.Wait(soon(t), Up))
				must(t, in.Audio().Meter().Wait(soon(t)))
				must(t, out.Audio().Meter().Wait(soon(t)))
				must(t, in.Audio().Press(soon(t), "12#A"))
				must(t, out.Audio().WaitDigits(soon(t), "12#A"))
				must(t, out.Hangup(soon(t)))
				must(t, in.Wait(soon(t), Ended))
				if !in.EndedByThem() || out.EndedByThem() || !strings.Contains(in.Reason(), "cause=16") {
					t.Errorf("ended by them: %v, %v; reason %q", in.EndedByThem(), out.EndedByThem(), in.Reason())
				}
				for _, r := range []Reception{in.Audio().Reception(), out.Audio().Reception()} {
					if len(r.SSRCs) != 1 || r.Missing+r.Duplicates+r.Reordered+r.SequenceJumps+r.TimestampJumps+r.Strange != 0 || r.Packets < 15 {
						t.Errorf("reception %+v", r)
					}
				}
				for _, d := range out.Audio().DigitEvents() {
					if d.Ends != digitRepeat || d.Duration != 100*time.Millisecond || !d.Marked || d.Shrunk {
						t.Errorf("digit %+v", d)
					}
				}
				if l, heard := out.Audio().Meter().Level(620); !heard || l < -11 || l > -9 {
					t.Errorf("level %v, %v", l, heard)
				}
				clean(t, pbx, caller)
			})
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		script Script
		want   int
	}{
		{Refuse(486, Header{"Reason", "Q.850;cause=17"}), 486},
		{Refuse(503, Header{"Retry-After", "3"}), 503},
		{Redirect("sip:700@127.0.0.1"), 302},
		{Script{Codecs: []string{"G729"}}, 488},
		{Script{Answer: Never, Ring: Never, Status: 480}, 0},
	} {
		t.Run(fmt.Sprint(c.want), func(t *testing.T) {
			pbx, caller := pair(t, c.script)
			out := dial(t, caller, pbx, "udp", Script{})
			if c.want == 0 {
				in, err := pbx.Next(soon(t))
				must(t, err)
				must(t, in.Refuse(404))
				c.want = 404
				if in.Ring() == nil || in.Answer() == nil || !errors.Is(in.Refuse(500), ErrOver) {
					t.Error("a refused call takes commands")
				}
			}
			must(t, out.Wait(soon(t), Refused))
			if out.Status() != c.want {
				t.Errorf("status %d, want %d", out.Status(), c.want)
			}
			clean(t, pbx, caller)
		})
	}
}

func TestCancelByEveryKindOfPhone(t *testing.T) {
	for _, c := range []struct {
		name   string
		on     OnCancel
		status int
	}{{"obey", Obey, 487}, {"cross", Cross, 200}} {
		t.Run(c.name, func(t *testing.T) {
			pbx, caller := pair(t, Script{Answer: Never, OnCancel: c.on})
			out := dial(t, caller, pbx, "udp", Script{})
			must(t, out.Wait(soon(t), Rung))
			must(t, out.Hangup(soon(t), Header{"Reason", "Q.850;cause=16"}))
			in, err := pbx.Next(soon(t))
			must(t, err)
			must(t, in.Wait(soon(t), Cancelled))
			must(t, in.Wait(soon(t), Ended))
			if out.Status() != c.status {
				t.Errorf("status %d, want %d", out.Status(), c.status)
			}
			clean(t, pbx, caller)
		})
	}
}

func TestStalledCancelLeavesNoPhoneRinging(t *testing.T) {
	pbx, caller := pair(t, Script{Answer: Never, OnCancel: Stall})
	out := dial(t, caller, pbx, "udp", Script{})
	must(t, out.Wait(soon(t), Rung))
	if len(pbx.Open()) != 1 || pbx.Open()[0].State != "ringing" {
		t.Errorf("open: %v", pbx.Open())
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = out.Hangup(t.Context()) }()
	must(t, pbx.Settled(soon(t)))
	_ = caller.Close()
	<-done
}

func TestSilentPhone(t *testing.T) {
	pbx, caller := pair(t, Dead())
	dial(t, caller, pbx, "udp", Script{})
	_, err := pbx.Next(soon(t))
	must(t, err)
	n := 0 // the INVITE comes again
	_, err = pbx.WaitFor(soon(t), func(m *Message) bool {
		if m.In && m.Method == "INVITE" {
			n++
		}
		return n == 2
	})
	must(t, err)
	for _, m := range pbx.Messages() {
		if !m.In {
			t.Errorf("sent %v", m)
		}
	}
	if len(pbx.Calls()) != 1 || len(pbx.Open()) != 0 {
		t.Errorf("%d calls, open %v", len(pbx.Calls()), pbx.Open())
	}
}

func TestLostACKsBringTheAnswerAgain(t *testing.T) {
	pbx, caller := pair(t, Script{DropACKs: 1})
	out := dial(t, caller, pbx, "udp", Script{})
	in, err := pbx.Next(soon(t))
	must(t, err)
	must(t, in.Wait(soon(t), Up))
	must(t, in.Hangup(soon(t)))
	must(t, out.Wait(soon(t), Ended))
	if n := len(pbx.Requests("ACK")); n != 2 {
		t.Errorf("%d ACKs, want 2", n)
	}
	clean(t, pbx, caller)
}

func TestHoldResumeAndHangupByTheScript(t *testing.T) {
	pbx, caller := pair(t, Script{Hold: 50 * time.Millisecond, Resume: 50 * time.Millisecond, Hangup: 10 * time.Millisecond})
	out := dial(t, caller, pbx, "udp", Script{})
	must(t, out.Wait(soon(t), Ended))
	var ways []string
	for _, m := range caller.Requests("INVITE") {
		s, err := parseSDP(m.Body)
		must(t, err)
		ways = append(ways, string(s.direction))
	}
	if got := strings.Join(ways, " "); got != "sendonly sendrecv" {
		t.Errorf("re-INVITEs %q", got)
	}
	clean(t, pbx, caller)
}

func TestForkedAnswerIsOpenUntilItIsHungUp(t *testing.T) {
	pbx, caller := pair(t, Script{Fork: true})
	out := dial(t, caller, pbx, "udp", Script{})
	must(t, out.Wait(soon(t), Up))
	must(t, out.Hangup(soon(t)))
	in, err := pbx.Next(soon(t))
	must(t, err)
	must(t, in.Wait(soon(t), Ended))
	if o := pbx.Open(); len(o) != 1 || o[0].Tag == "" {
		t.Errorf("open: %v; the caller knows nothing of forks", o)
	}
}

func TestDelayMarker(t *testing.T) {
	pbx, caller := pair(t, Script{Marker: 300 * time.Millisecond})
	out := dial(t, caller, pbx, "udp", Script{Marker: 300 * time.Millisecond})
	in, err := pbx.Next(soon(t))
	must(t, err)
	must(t, in.Wait(soon(t), Up))
	must(t, in.Audio().Meter().Wait(soon(t)))
	must(t, out.Audio().Meter().Wait(soon(t)))
	for len(in.Audio().Delays(out.Audio().MarkersSent())) < 2 {
		time.Sleep(50 * time.Millisecond)
	}
	for _, d := range in.Audio().Delays(out.Audio().MarkersSent()) {
		if d < -2*time.Millisecond || d > 300*time.Millisecond { // the figure itself is the machine's
			t.Errorf("delay on loopback: %v", d)
		}
	}
}

func TestDigest(t *testing.T) {
	for _, algorithm := range []string{"MD5", "SHA-256"} {
		for _, status := range []int{401, 407} {
			for password, want := range map[string]int{"secret": 200, "wrong": status} {
				pbx, caller := pair(t, Script{Auth: &Auth{Status: status, Algorithm: algorithm, Realm: "pbx", User: "gw", Password: "secret"}})
				out, err := caller.Dial(soon(t), Outgoing{To: "sip:600@" + pbx.Addr().String(), User: "gw", Password: password})
				must(t, err)
				if want == 200 {
					must(t, out.Wait(soon(t), Up))
					must(t, out.Hangup(soon(t)))
				} else {
					must(t, out.Wait(soon(t), Refused))
				}
				if out.Status() != want {
					t.Errorf("%s %d: status %d, want %d", algorithm, status, out.Status(), want)
				}
				clean(t, pbx, caller)
			}
		}
	}
}

func TestOptionsAndInfo(t *testing.T) {
	pbx, caller := pair(t, Script{})
	out := dial(t, caller, pbx, "udp", Script{})
	must(t, out.Wait(soon(t), Up))
	in, err := pbx.Next(soon(t))
	must(t, err)
	res, err := out.Request(soon(t), "INFO", []Header{{"Content-Type", "application/dtmf-relay"}}, []byte("Signal=5\r\n"))
	if err != nil || res.Status != 200 {
		t.Errorf("INFO: %v, %v", res, err)
	}
	if got := in.Audio().Infos(); len(got) != 1 || got[0] != "Signal=5\r\n" {
		t.Errorf("infos %q", got)
	}
	res, err = out.Request(soon(t), "PUBLISH", nil, nil)
	if err != nil || res.Status != 405 {
		t.Errorf("PUBLISH: %v, %v", res, err)
	}
	status, err := in.Reinvite(soon(t), Inactive)
	if err != nil || status != 200 {
		t.Errorf("re-INVITE: %d, %v", status, err)
	}
	must(t, in.Hangup(soon(t)))
	clean(t, pbx, caller)
}

func TestFiftyCallsAtOnce(t *testing.T) {
	pbx, caller := pair(t, Script{})
	var wg sync.WaitGroup
	for range 50 {
		out := dial(t, caller, pbx, "udp", Script{})
		in, err := pbx.Next(soon(t))
		must(t, err)
		wg.Go(func() {
			if err := out.Audio().Meter().Wait(soon(t)); err != nil {
				t.Error(err)
			}
			if err := in.Audio().Meter().Wait(soon(t)); err != nil {
				t.Error(err)
			}
			if err := out.Hangup(soon(t)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	clean(t, pbx, caller)
}

package test

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zaf/g711"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
	"wagate/test/tone"
)

const phoneRate = 8000

// announcing lets agents hear why they are refused; for rig.Options.Config.
func announcing(prompt string) func(*config.Config) {
	return func(c *config.Config) {
		rig.DialOut(c)
		c.Permissions.Announce, c.Permissions.Prompt = true, prompt
	}
}

// tonePrompt is a prompt that a phone's meter hears.
func tonePrompt(t *testing.T, length time.Duration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prompt.wav")
	pcm := make([]int16, int(length.Seconds()*phoneRate))
	tone.NewSource(rig.CustomerTone, phoneRate).Read(pcm)
	must(t, tone.WriteWAV(path, phoneRate, pcm))
	return path
}

// wantRefusal checks all that an agent's phone is told for lack of permission.
func wantRefusal(t *testing.T, c *faketrunk.Call) {
	t.Helper()
	early, final := 0, 0
	for _, m := range c.Messages() {
		switch {
		case !m.In || !strings.HasSuffix(m.Get("CSeq"), "INVITE"):
		case m.Status == 183 && final == 0 && m.Get("Content-Type") == "application/sdp":
			early++
		case m.Status == 403:
			final++
			if m.Get("X-WA-Error") != "no_permission" || !strings.HasPrefix(m.Get("Reason"), "Q.850;cause=21") || m.Get("Retry-After") != "" {
				t.Errorf("refused with X-WA-Error %q, Reason %q, Retry-After %q", m.Get("X-WA-Error"), m.Get("Reason"), m.Get("Retry-After"))
			}
		case m.Status > 100:
			t.Errorf("got %d", m.Status)
		}
	}
	if early == 0 || final == 0 {
		t.Errorf("%d times 183, %d times 403", early, final)
	}
}

// nothingLeft is settled for calls of which Meta never hears.
func nothingLeft(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	must(t, r.PBX.Settled(ctx))
	for _, f := range r.PBX.Faults() {
		t.Errorf("the PBX would complain: %s", f)
	}
	for _, v := range r.Meta.Violations() {
		t.Errorf("Meta would complain: %+v", v)
	}
	if n := len(r.Meta.Books()); n != 0 {
		t.Errorf("%d calls at Meta, want none", n)
	}
	wantAtRest(t, r)
}

// TestAgentHearsWhyItIsRefused: the words that the gateway carries in itself,
// whole and clear.
func TestAgentHearsWhyItIsRefused(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: announcing(""), Meta: fakemeta.Options{StrictPermissions: true}})
	file, err := os.ReadFile("../media/prompt/no_permission.wav")
	must(t, err)
	words := spoken(t, file)
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
		To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "201", Script: faketrunk.Script{Keep: patience},
	})
	must(t, err)
	must(t, call.Wait(ctx, faketrunk.Refused))
	wantRefusal(t, call)
	if share := heardShare(words, call.Audio().Kept()); share < 0.95 {
		t.Errorf("heard %.0f %% of the prompt in %v of sound", 100*share, seconds(call.Audio().Kept()))
	}
	rs := records(ctx, t, r, 1)
	if len(rs) != 1 || rs[0].Cause != "no_permission" || rs[0].EndedBy != "gateway" || rs[0].SIPStatus != 403 || rs[0].Abandoned {
		t.Errorf("records are %+v", rs)
	}
	nothingLeft(ctx, t, r)
}

// spoken returns the samples of a µ-law WAV.
func spoken(t *testing.T, file []byte) []int16 {
	t.Helper()
	_, data, found := bytes.Cut(file, []byte("data"))
	if !found || len(data) < 4 {
		t.Fatal("no sound in the file")
	}
	size := binary.LittleEndian.Uint32(data)
	var pcm []int16
	for _, b := range data[4:][:size] {
		pcm = append(pcm, g711.DecodeUlawFrame(b))
	}
	return pcm
}

func seconds(pcm []int16) time.Duration {
	return time.Duration(len(pcm)) * time.Second / phoneRate
}

// heardShare is the share of the words that is in what was heard, in order. On a
// busy machine there may be pauses of whole packets between them.
func heardShare(words, heard []int16) float64 {
	const packet = 160
	said, got := len(words)/packet, len(heard)/packet
	before, here := make([]int, got+1), make([]int, got+1) // of the longest common sequence
	for i := range said {
		for j := range got {
			if same(words[i*packet:][:packet], heard[j*packet:][:packet]) {
				here[j+1] = before[j] + 1
			} else {
				here[j+1] = max(before[j+1], here[j])
			}
		}
		before, here = here, before
	}
	return float64(before[got]) / float64(said)
}

// same allows for what A-law leaves of µ-law.
func same(a, b []int16) bool {
	var power, off float64
	for i, v := range a {
		d := float64(v) - float64(b[i])
		power += float64(v) * float64(v)
		off += d * d
	}
	const floor = 16 // the finest step of A-law
	return off < power/100+floor*floor*float64(len(a))
}

// TestPromptOfTheOperator is heard in its length and level, and nothing of it
// after the refusal.
func TestPromptOfTheOperator(t *testing.T) {
	t.Parallel()
	const length = 1500 * time.Millisecond
	r, ctx := rigged(t, rig.Options{Config: announcing(tonePrompt(t, length)), Meta: fakemeta.Options{StrictPermissions: true}})
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Wait(ctx, faketrunk.Refused))
	wantRefusal(t, call)
	meter := call.Audio().Meter()
	if got := meter.HeardFor(rig.CustomerTone); got < length-200*time.Millisecond || got > length+100*time.Millisecond {
		t.Errorf("heard for %v, want %v", got, length)
	}
	if db, _ := meter.Level(rig.CustomerTone); db < tone.DefaultLevel-1 || db > tone.DefaultLevel+1 {
		t.Errorf("heard at %.1f dB, want %.1f", db, tone.DefaultLevel)
	}
	nothingLeft(ctx, t, r)
}

// TestAgentGivesUpDuringThePrompt: the customer is asked meanwhile, the trunk's
// one place is taken as long as it lasts, and a CANCEL frees it at once.
func TestAgentGivesUpDuringThePrompt(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{
		Config: func(c *config.Config) {
			announcing(tonePrompt(t, 10*time.Second))(c)
			c.Trunks[0].MaxCalls = 1
		},
		Meta: fakemeta.Options{StrictPermissions: true},
	})
	writes(ctx, t, r.Meta)
	call := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
	_, err := r.Meta.WaitMessage(ctx, dialledCustomer)
	must(t, err)
	if status, word := refused(ctx, t, dial(ctx, t, r, "+"+dialledCustomer)); status != 503 || word != "overloaded" {
		t.Errorf("beside the prompt: %d %q, want 503 overloaded", status, word)
	}
	must(t, call.Hangup(ctx))
	if call.Status() != 487 {
		t.Errorf("ended with %d, want 487", call.Status())
	}
	rs := records(ctx, t, r, 1)
	if len(rs) != 1 || rs[0].Cause != "no_permission" || rs[0].SIPStatus != 487 || rs[0].Abandoned {
		t.Errorf("records are %+v", rs)
	}
	again := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, again.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, again.Hangup(ctx))
	records(ctx, t, r, 2)
	nothingLeft(ctx, t, r)
}

// TestDrainLetsThePromptBeHeard, and who ends the gateway now does not wait for
// its last word.
func TestDrainLetsThePromptBeHeard(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		length time.Duration
		now    bool
	}{
		{"drained", 1500 * time.Millisecond, false},
		{"ended", 10 * time.Second, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: announcing(tonePrompt(t, row.length)), Meta: fakemeta.Options{StrictPermissions: true}})
			call := dial(ctx, t, r, "+"+dialledCustomer)
			must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
			r.Gateway.Drain()
			if row.now {
				must(t, r.StopGateway())
			} else {
				wantEnded(ctx, t, r)
			}
			must(t, call.Wait(ctx, faketrunk.Refused))
			wantRefusal(t, call)
			whole := call.Audio().Meter().HeardFor(rig.CustomerTone) > row.length-200*time.Millisecond
			if whole == row.now {
				t.Errorf("heard for %v of %v", call.Audio().Meter().HeardFor(rig.CustomerTone), row.length)
			}
			nothingLeft(ctx, t, r)
		})
	}
}

func wantEnded(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	select {
	case <-r.Ended():
	case <-ctx.Done():
		t.Fatal("the drain does not end")
	}
}

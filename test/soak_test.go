//go:build soak

package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

const (
	soakEvery    = 400 * time.Millisecond // a call begins
	soakTalk     = 20 * time.Second       // the longest talk
	soakLeftover = 5                      // goroutines
)

// story is one course of a call: what the phone does and what the customer does.
type story struct {
	name   string
	script func(talk time.Duration) faketrunk.Script
	play   func(ctx context.Context, c *fakemeta.Customer, talk time.Duration) error
}

func patient(ctx context.Context, c *fakemeta.Customer, _ time.Duration) error {
	return c.Wait(ctx, fakemeta.Ended)
}

// talkThenHangUp hears the phone before it says that a call was one.
func talkThenHangUp(ctx context.Context, c *fakemeta.Customer, talk time.Duration) error {
	if err := c.WaitHeard(ctx, rig.PhoneTone); err != nil {
		return err
	}
	pause(ctx, talk)
	c.HangUp()
	return c.Wait(ctx, fakemeta.Ended)
}

func giveUp(ctx context.Context, c *fakemeta.Customer, talk time.Duration) error {
	if err := c.Wait(ctx, fakemeta.Ringing); err != nil {
		return err
	}
	pause(ctx, talk/10)
	c.HangUp()
	return c.Wait(ctx, fakemeta.Ended)
}

var stories = []story{
	{"talk", func(time.Duration) faketrunk.Script { return faketrunk.Answer(200 * time.Millisecond) }, talkThenHangUp},
	{"talk", func(time.Duration) faketrunk.Script { return faketrunk.Answer(0) }, talkThenHangUp},
	{"the phone hangs up", func(talk time.Duration) faketrunk.Script { return faketrunk.Script{Hangup: talk} }, patient},
	{"busy", func(time.Duration) faketrunk.Script { return faketrunk.Refuse(486) }, patient},
	{"declined", func(time.Duration) faketrunk.Script { return faketrunk.Refuse(603) }, patient},
	{"given up", func(time.Duration) faketrunk.Script { return faketrunk.NoAnswer() }, giveUp},
	{"given up as the phone answers", func(time.Duration) faketrunk.Script {
		return faketrunk.Script{Answer: faketrunk.Never, OnCancel: faketrunk.Cross}
	}, giveUp},
}

// TestSoak keeps a gateway busy for SOAKTIME and looks what is left.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("SOAKTIME"))
	if err != nil {
		t.Fatalf("SOAKTIME: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length+10*time.Minute)
	defer cancel()
	r, err := rig.Start(ctx, rig.Options{Config: func(c *config.Config) { unprobed(c) }})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	scripts := &scriptBook{byPayload: map[string]faketrunk.Script{}}
	r.PBX.Handle(scripts.choose)

	before := soakFor(ctx, t, r, scripts, min(length/10, 30*time.Second)) // warm
	after := soakFor(ctx, t, r, scripts, length)
	if after.goroutines > before.goroutines+soakLeftover {
		t.Errorf("%d goroutines at rest, %d before", after.goroutines, before.goroutines)
	}
	if after.files > before.files {
		t.Errorf("%d open files at rest, %d before", after.files, before.files)
	}
	wantBooks(ctx, t, r)
}

// scriptBook tells the PBX how the call with a payload goes.
type scriptBook struct {
	mu        sync.Mutex
	byPayload map[string]faketrunk.Script
	calls     int
}

func (b *scriptBook) choose(invite *faketrunk.Message) faketrunk.Script {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byPayload[invite.Get("X-WA-Payload")]
}

func (b *scriptBook) add(s faketrunk.Script) (payload string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	payload = fmt.Sprintf("soak-%d", b.calls)
	b.byPayload[payload] = s
	return payload
}

// rest is what a process at rest holds.
type rest struct{ goroutines, files int }

func (r rest) exceeds(before rest) bool {
	return r.goroutines > before.goroutines+soakLeftover || r.files > before.files
}

// soakFor plays stories for that long, waits until everything has ended, and
// says what is held then.
func soakFor(ctx context.Context, t *testing.T, r *rig.Rig, scripts *scriptBook, length time.Duration) rest {
	t.Helper()
	var wg sync.WaitGroup
	next := time.NewTicker(soakEvery)
	defer next.Stop()
	end := time.After(length)
	n := 0
	for begin := true; begin; {
		select {
		case <-next.C:
		case <-end:
			begin = false
			continue
		}
		s := stories[rand.IntN(len(stories))]
		talk := time.Second + rand.N(soakTalk)
		payload := scripts.add(s.script(talk))
		n++
		wg.Go(func() {
			c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: payload})
			if err == nil {
				err = s.play(ctx, c, talk)
			}
			if err != nil {
				t.Errorf("%s, call %s: %v", s.name, payload, err)
			}
		})
	}
	wg.Wait()
	must(t, r.Meta.WaitQuiet(ctx))
	must(t, r.PBX.Settled(ctx))
	held := atRest(ctx, t, r)
	var mem runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem)
	t.Logf("%d calls in %v; at rest %d goroutines, %d files, %.1f MiB of heap (with the books of both far ends)",
		n, length, held.goroutines, held.files, float64(mem.HeapAlloc)/(1<<20))
	return held
}

// atRest waits until the gateway holds nothing of any call, not even for repeats,
// and the count of goroutines stands still.
func atRest(ctx context.Context, t *testing.T, r *rig.Rig) rest {
	t.Helper()
	last, still := 0, 0
	for still < 3 {
		pause(ctx, time.Second)
		must(t, ctx.Err())
		n := runtime.NumGoroutine()
		if n == last && len(stillThere(t, r, append(callMetrics(0), "wagate_rtp_ports_in_use", "wagate_sip_transactions"))) == 0 {
			still++
		} else {
			still = 0
		}
		last = n
	}
	files, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return rest{goroutines: last, files: len(files)}
}

// wantBooks compares the three books: Meta's, the PBX's and ours.
func wantBooks(ctx context.Context, t *testing.T, r *rig.Rig) {
	t.Helper()
	var all []store.Record
	for cursor := ""; ; {
		var page struct {
			Records []store.Record
			Next    string
		}
		get(ctx, t, r, "/api/v1/records?limit=1000&cursor="+url.QueryEscape(cursor), &page)
		all = append(all, page.Records...)
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	wantOneEach(t, r, all)
	wantAtRest(t, r)
	for _, v := range r.Meta.Violations() {
		t.Errorf("Meta would complain: %s: %s", v.Rule, v.Detail)
	}
	for _, f := range r.PBX.Faults() {
		t.Errorf("the PBX would complain: %s", f)
	}
}

package test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
	"wagate/test/tone"
)

const (
	customerRate = 16000
	wordWait     = 1500 * time.Millisecond // of audio in which a first word must have come
	wordWaits    = 150 * time.Millisecond  // until the other side is connected
	wordsAtOnce  = 2                       // calls; permissions are not read faster
)

// tape is an ear that keeps the first seconds it hears.
type tape struct {
	mu   sync.Mutex
	pcm  []int16
	also fakemeta.Ear
}

func (e *tape) WriteAt(pcm []int16, at time.Time) {
	if e.also != nil {
		e.also.WriteAt(pcm, at)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pcm) < 3*customerRate {
		e.pcm = append(e.pcm, pcm...)
	}
}

// rewind begins anew.
func (e *tape) rewind() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pcm = nil
}

func (e *tape) kept() []int16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.pcm)
}

// wantWord waits for enough audio and finds the word in it. It may run beside
// the test.
func wantWord(ctx context.Context, t *testing.T, who string, rate int, kept func() []int16) {
	t.Helper()
	poll := time.NewTicker(packetTime)
	defer poll.Stop()
	for len(kept()) < int(wordWait.Seconds()*float64(rate)) {
		select {
		case <-ctx.Done():
			t.Errorf("waited in vain for audio at the %s", who)
			return
		case <-poll.C:
		}
	}
	if _, err := tone.FindWord(kept(), rate); err != nil {
		t.Errorf("the %s does not hear the first word: %v", who, err)
	}
}

// TestFirstWord: whoever answers and speaks at once is heard from the first
// sound on, in calls of both directions.
func TestFirstWord(t *testing.T) {
	firstWords(t, 20)
}

// firstWords makes so many calls in each direction.
func firstWords(t *testing.T, calls int) {
	t.Helper()
	t.Run("the phone answers", func(t *testing.T) {
		t.Parallel()
		r, ctx := rigged(t, rig.Options{})
		r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.LateReply, Action: "accept", Delay: wordWaits})
		r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script {
			return faketrunk.Script{Answer: 100 * time.Millisecond, Voice: tone.NewWord(phoneRate)}
		})
		several(calls, func(int) {
			heard := &tape{}
			customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Voice: tone.Silence{}, Ear: heard}})
			if err != nil {
				t.Error(err)
				return
			}
			wantWord(ctx, t, "customer", customerRate, heard.kept)
			customer.HangUp()
		})
		settled(ctx, t, r)
	})
	t.Run("the customer answers", func(t *testing.T) {
		t.Parallel()
		r, ctx := rigged(t, rig.Options{Config: rig.DialOut})
		several(calls, func(n int) {
			who := fmt.Sprintf("34600222%03d", n)
			r.Meta.Callee(who, fakemeta.Callee{
				Answer: 100 * time.Millisecond, LateAccepted: time.Duration(n%3) * 200 * time.Millisecond,
				Sound: fakemeta.Sound{Voice: tone.NewWord(customerRate)},
			})
			phone, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
				To: "sip:+" + who + "@" + r.Gateway.SIPAddr("udp"), From: "201",
				Script: faketrunk.Script{Tone: -1, Keep: 2 * wordWait, LateACK: wordWaits},
			})
			if err != nil {
				t.Error(err)
				return
			}
			wantWord(ctx, t, "phone", phoneRate, phone.Audio().Kept)
			if err := phone.Hangup(ctx); err != nil {
				t.Error(err)
			}
		})
		settled(ctx, t, r)
	})
}

// TestFirstWordAfterTransfer: so is a phone that takes over.
func TestFirstWordAfterTransfer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	for range 3 {
		r.PBX.Handle(desks(map[string]faketrunk.Script{
			"600": {Tone: -1}, "601": {Answer: 100 * time.Millisecond, Voice: tone.NewWord(phoneRate)},
		}))
		heard := &tape{}
		customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Ear: heard}})
		must(t, err)
		first := answered(ctx, t, r)
		must(t, first.Audio().Meter().Wait(ctx, rig.CustomerTone))
		heard.rewind()
		must(t, first.Refer(ctx, nil, strings.Replace(r.PBX.URI("udp"), "sip:", "sip:601@", 1)))
		second := answered(ctx, t, r)
		eventually(ctx, t, "audio at the customer", func() bool { return len(heard.kept()) >= int(wordWait.Seconds()*customerRate) })
		switch _, err := tone.FindWord(heard.kept(), customerRate); {
		case err == nil:
		case stalled(customer, second) > calmPause:
			t.Logf("%v, but the machine is too busy to judge", err)
		default:
			t.Errorf("the customer does not hear the first word: %v", err)
		}
		customer.HangUp()
	}
	settled(ctx, t, r)
}

// several does something n times, a few at once.
func several(n int, do func(n int)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	next := make(chan int)
	defer close(next)
	for range wordsAtOnce {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
}

// TestFirstWordCostsNoDelay: a word that waited for WhatsApp is heard whole, and
// five seconds later what is said takes no longer than in any other call.
func TestFirstWordCostsNoDelay(t *testing.T) {
	t.Parallel()
	const waits, later, limit = 300 * time.Millisecond, 5 * time.Second, 120 * time.Millisecond
	r, ctx := rigged(t, rig.Options{})
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.LateReply, Action: "accept", Delay: waits})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script {
		return faketrunk.Script{Voice: tone.NewWord(phoneRate), Marker: time.Second, Tone: -1}
	})
	listener := tone.NewListener(customerRate)
	heard := &tape{also: listener}
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{Ear: heard}})
	must(t, err)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	from := time.Now().Add(later)
	wantWord(ctx, t, "customer", customerRate, heard.kept)
	delays := func() []time.Duration {
		return tone.Delays(phone.Audio().MarkersSent(), afterTime(listener.Heard(), from))
	}
	eventually(ctx, t, "markers five seconds after the answer", func() bool { return len(delays()) >= 3 })
	t.Logf("delays from the phone to the customer: %v", delays())
	if got := slices.Min(delays()); got > limit {
		t.Errorf("five seconds after a word that waited for %v the delay is %v, want at most %v", waits, got, limit)
	}
	customer.HangUp()
	settled(ctx, t, r)
}

func afterTime(all []time.Time, from time.Time) []time.Time {
	for i, at := range all {
		if at.After(from) {
			return all[i:]
		}
	}
	return nil
}

package gateway

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wagate/whatsapp"
)

// Meta is asked when the ledger knows nothing good, and then not for a while.
func TestReadsAreFew(t *testing.T) {
	o := newOffice(t)
	now := at(0)
	status := whatsapp.NoConsent
	o.meta.read = func() (whatsapp.PermissionState, error) {
		return whatsapp.PermissionState{From: now, To: now, Status: status}, nil
	}
	for _, step := range []struct {
		after time.Duration
		reads int
		ok    bool
	}{
		{0, 1, false}, {time.Minute, 1, false}, {readFor, 2, false}, {readFor + time.Minute, 2, false}, {3 * readFor, 3, true}, {oneDay, 3, true},
	} {
		now = at(step.after)
		if step.reads == 3 {
			status = whatsapp.Permanent
		}
		if err := o.mayCallAt(now); (err == nil) != step.ok || o.meta.reads != step.reads {
			t.Errorf("after %v: %v, %d reads", step.after, err, o.meta.reads)
		}
	}
	// Of the row of unanswered calls Meta tells nothing.
	p := o.row()
	for n := range 3 {
		p = p.Unanswered(whatsapp.CallID(fmt.Sprint(n)), at(oneDay+time.Duration(n)*time.Minute))
	}
	o.give(p)
	if err := o.mayCallAt(at(2 * oneDay)); err == nil || o.meta.reads != 3 {
		t.Errorf("%v, %d reads", err, o.meta.reads)
	}
}

// One who asks while somebody asks for the same customer waits for that answer.
func TestReadTogether(t *testing.T) {
	o := newOffice(t)
	inside, let := make(chan struct{}), make(chan struct{})
	o.meta.read = func() (whatsapp.PermissionState, error) {
		close(inside)
		<-let
		return whatsapp.PermissionState{From: at(0), To: at(0), Status: whatsapp.Permanent}, nil
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := o.mayCallAt(at(0)); err != nil {
			t.Error(err)
		}
	})
	<-inside
	for range 5 {
		wg.Go(func() {
			if err := o.mayCallAt(at(0)); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.mayCall(ctx, worldNumber, worldUser.Callee(), at(0)); err == nil {
		t.Error("allowed without an answer")
	}
	close(let)
	wg.Wait()
	if o.meta.reads != 1 {
		t.Errorf("%d reads", o.meta.reads)
	}
}

// News that come while Meta is asked are not overwritten by its answer.
func TestNewsDuringRead(t *testing.T) {
	o := newOffice(t)
	o.meta.read = func() (whatsapp.PermissionState, error) {
		o.hear(yesAt(at(0), at(oneWeek)))
		return whatsapp.PermissionState{From: at(-metaClock), To: at(metaClock)}, nil
	}
	if err := o.mayCallAt(at(0)); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestReadFails(t *testing.T) {
	o := newOffice(t)
	o.reads.every = readEvery
	for name, c := range map[string]struct {
		err   error
		pause bool
	}{
		"too often":  {&whatsapp.APIError{Status: 429, Code: 613}, true},
		"no way":     {fmt.Errorf("dial: %w", whatsapp.ErrNotSent), true},
		"a bad user": {&whatsapp.APIError{Status: 400, Code: 100}, false},
	} {
		o.reads = newMetaReads(readEvery)
		o.meta.read = func() (whatsapp.PermissionState, error) { return whatsapp.PermissionState{}, c.err }
		before := o.meta.reads
		for range 2 {
			if no := denialOf(o.mayCallAt(at(0))); no == nil || no.Reason != whatsapp.ReasonNone {
				t.Errorf("%s: %v", name, no)
			}
		}
		if got := o.meta.reads - before; (got == 1) != c.pause {
			t.Errorf("%s: %d reads", name, got)
		}
	}
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newMetaReads(readEvery)
		started, turns := time.Now(), 0
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 20 {
			wg.Go(func() {
				if r.wait(t.Context(), "a") {
					mu.Lock()
					turns++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if took := time.Since(started); turns != 3 || took != 2*readEvery {
			t.Errorf("%d turns in %v", turns, took)
		}
		if !r.wait(t.Context(), "b") || time.Since(started) != 2*readEvery {
			t.Error("another number has to wait")
		}
		r.pause("b", readPause)
		if r.wait(t.Context(), "b") {
			t.Error("asked in a pause")
		}
		time.Sleep(readPause)
		if !r.wait(t.Context(), "b") {
			t.Error("the pause has no end")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if r.wait(ctx, "b") {
			t.Error("asked for somebody who has gone")
		}
	})
}

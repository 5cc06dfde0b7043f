//go:build system || soak

package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

const (
	lastMoment = 1500 * time.Millisecond // of a run, if its event does not come
	tremble    = 20 * time.Millisecond   // between the event and the shot
)

// weapon is what kills a process in a run.
type weapon struct {
	name string
	wrap []string // what the program runs under
	wait func(ctx context.Context, w *wreck)
}

// weapon chooses between a shot some microseconds after an event of the far ends,
// which hits any instruction, and one at a system call.
func (w *wreck) weapon(n int) weapon {
	if n%4 == 3 {
		if path, err := exec.LookPath("strace"); err == nil {
			return w.trap(path)
		}
	}
	count, late := 1+w.dice.IntN(30), w.soon(tremble)
	events := []weapon{
		{name: "a shot after SIP", wait: func(ctx context.Context, w *wreck) {
			seen, skip := 0, len(w.pbx.Messages())
			_, _ = w.pbx.WaitFor(ctx, func(*faketrunk.Message) bool { seen++; return seen > skip+2*count })
		}},
		{name: "a shot after Graph", wait: func(ctx context.Context, w *wreck) {
			seen, skip := 0, len(w.meta.Requests())
			_, _ = w.meta.WaitRequest(ctx, func(fakemeta.Request) bool { seen++; return seen > skip+count })
		}},
		{name: "a shot after webhooks", wait: func(ctx context.Context, w *wreck) {
			seen, skip := 0, len(w.meta.Deliveries())
			_, _ = w.meta.WaitDelivery(ctx, func(fakemeta.Delivery) bool { seen++; return seen > skip+count })
		}},
	}
	shot := events[w.dice.IntN(len(events))]
	event := shot.wait
	shot.wait = func(ctx context.Context, w *wreck) {
		limited, cancel := context.WithTimeout(ctx, lastMoment)
		defer cancel()
		event(limited, w)
		pause(ctx, late)
	}
	return shot
}

// trap kills the process at the nth call of a kind that one of its threads makes.
func (w *wreck) trap(strace string) weapon {
	kinds := []struct {
		call        string
		least, most int
	}{{"fdatasync", 2, 10}, {"pwrite64", 10, 60}, {"sendto", 1, 10}, {"write", 20, 80}}
	k := kinds[w.dice.IntN(len(kinds))]
	when := k.least + w.dice.IntN(k.most-k.least)
	return weapon{
		name: "a trap at " + k.call,
		wrap: []string{
			strace, "-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=" + k.call,
			"-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", k.call, when),
		},
		wait: func(ctx context.Context, w *wreck) {
			select {
			case <-w.over:
			case <-time.After(lastMoment):
			case <-ctx.Done():
			}
		},
	}
}

func seeded() uint64 { return rand.Uint64() }

package gateway

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// lostPlan is a call whose connect reply does not come as it should, by seed.
func lostPlan(seed uint64) tanglePlan {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := tanglePlan{
		effect: true, lostEnds: rnd.IntN(4), audio: rnd.IntN(3) == 0, rejected: never,
		answer: upTo(rnd, 4*time.Second, 6), ringing: upTo(rnd, 4*time.Second, 6), accepted: upTo(rnd, 12*time.Second, 3),
		quits: upTo(rnd, time.Minute, 2), ack: someOf(rnd, time.Second), bye: someOf(rnd, 20*time.Second), slowDisk: someOf(rnd, time.Second),
		cancel: upTo(rnd, 15*time.Second, 2),
	}
	switch rnd.IntN(6) {
	case 0: // nothing reached Meta
		p.effect, p.reply, p.replyAfter = false, whatsapp.ErrUnknown, someOf(rnd, askLimit)
	case 1: // late, with the id
		p.replyAfter = askLimit + someOf(rnd, time.Second)
	case 2: // just in time, or not
		p.replyAfter = someOf(rnd, askLimit+time.Second)
	case 3: // Meta fails over it, and has taken it
		p.reply, p.replyAfter = &whatsapp.APIError{Status: 500, Code: 2}, someOf(rnd, askLimit)
	default:
		p.reply, p.replyAfter = whatsapp.ErrUnknown, someOf(rnd, askLimit)
	}
	if p.accepted == never && rnd.IntN(2) == 0 {
		p.rejected = someOf(rnd, 12*time.Second)
	}
	if rnd.IntN(3) == 0 { // all of it later
		late := someOf(rnd, 30*time.Second)
		for _, at := range []*time.Duration{&p.answer, &p.ringing, &p.accepted, &p.rejected, &p.quits} {
			if *at >= 0 {
				*at += late
			}
		}
	}
	if rnd.IntN(3) == 0 {
		p.slowDisk, p.fullDisk = 5*p.slowDisk, rnd.IntN(7)
	}
	if rnd.IntN(2) == 0 {
		p.dups = someOf(rnd, 20*time.Second)
	}
	return p
}

// TestThousandLostConnects: whatever becomes of the reply to connect and in
// whatever order Meta's webhooks come, the phone rings at most once, and no call
// stays that nobody owns.
func TestThousandLostConnects(t *testing.T) {
	ends := map[string]int{}
	for seed := range uint64(1000) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			plan := lostPlan(seed)
			entangle(t, plan, func(w *tangle, r store.Record) {
				ends[r.Cause]++
				if w.pbx.final == 200 && !w.heard {
					t.Error("the PBX was answered for a call that nothing named")
				}
				if w.connects == 0 && plan.cancel != 0 {
					t.Error("connect was never sent")
				}
			})
			if t.Failed() {
				t.Logf("plan: %+v", plan)
			}
		})
	}
	t.Logf("the calls ended %v", ends)
	for _, c := range []Cause{Hangup, Cancelled, Declined, APITimeout, APIDown, NoAnswer} {
		if ends[c.String()] == 0 {
			t.Errorf("no run ended as %v: the plans prove too little; %v", c, ends)
		}
	}
}

// TestCancelAroundTheAnswer lets the PBX give up at each moment around the
// customer's ACCEPTED.
func TestCancelAroundTheAnswer(t *testing.T) {
	const runs = 500
	accepted := time.Second
	for i := range runs {
		offset := time.Duration(i-runs/2) * 1200 * time.Microsecond // 300 ms before to 300 ms after
		t.Run(offset.String(), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(i), 2))
			plan := tanglePlan{
				effect: true, replyAfter: someOf(rnd, accepted+300*time.Millisecond), lostEnds: rnd.IntN(3),
				answer: someOf(rnd, accepted), ringing: someOf(rnd, accepted), accepted: accepted, rejected: never, quits: never,
				cancel: accepted + offset, ack: someOf(rnd, 100*time.Millisecond), bye: never,
			}
			entangle(t, plan, func(w *tangle, r store.Record) {
				want := map[int]Cause{487: Cancelled, 200: Hangup}[w.pbx.final]
				if r.Cause != want.String() || r.EndedBy != "pbx" || r.SIPStatus != w.pbx.final || r.Abandoned {
					t.Errorf("the PBX saw %d, the record says %s by %s, status %d, abandoned %v", w.pbx.final, r.Cause, r.EndedBy, r.SIPStatus, r.Abandoned)
				}
				if offset != 0 && (offset < 0) != (w.pbx.final == 487) {
					t.Errorf("given up %v after ACCEPTED, the PBX saw %d", offset, w.pbx.final)
				}
			})
			if t.Failed() {
				t.Logf("plan: %+v", plan)
			}
		})
	}
}

// TestPBXIsToldInTime: a PBX does not wait longer for the word that Meta says
// nothing when the way to the question was long.
func TestPBXIsToldInTime(t *testing.T) {
	for _, before := range []time.Duration{0, 300 * time.Millisecond, time.Second, readWait + metaReadTimeout} {
		plan := tanglePlan{
			effect: true, replyAfter: time.Hour, reading: before,
			answer: never, ringing: never, accepted: never, rejected: never, quits: 10 * time.Second, cancel: never, bye: never,
		}
		entangle(t, plan, func(w *tangle, r store.Record) {
			if took := w.pbx.told.Sub(r.StartedAt); w.pbx.final != 504 || took > tellLimit {
				t.Errorf("asked after %v: the PBX was told %d after %v, want 504 within %v", before, w.pbx.final, took, tellLimit)
			}
		})
	}
}

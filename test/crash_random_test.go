//go:build system || soak

package test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/whatsapp"
)

const (
	wreckCalls = 10 // of one run
	wreckUsers = 24 // who are called in turn
	wreckSpan  = 600 * time.Millisecond
)

// wreck is a gateway that is killed again and again between far ends that live
// on, with calls in every state.
type wreck struct {
	*daemon
	dice     *rand.Rand
	mu       sync.Mutex
	scripts  map[string]faketrunk.Script
	told     int // records of runs before
	next     int
	slowest  ends
	killedBy map[string]int
}

func newWreck(ctx context.Context, t *testing.T, seed uint64) *wreck {
	t.Helper()
	with := manyCalls
	with.Meta.StrictPermissions = true
	w := &wreck{
		daemon: setUp(t, with), dice: rand.New(rand.NewPCG(seed, 1)), scripts: map[string]faketrunk.Script{}, killedBy: map[string]int{},
	}
	w.pbx.Handle(func(m *faketrunk.Message) faketrunk.Script {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.scripts[m.Get("X-WA-Payload")]
	})
	w.start(ctx)
	for i := range wreckUsers {
		w.meta.Grant(wreckUser(i))
	}
	granted := time.Now()
	eventually(ctx, t, "the grants", func() bool { return w.metric(ctx, "wagate_permission_replies_total") >= wreckUsers })
	// Webhooks tell whole seconds: nothing tells whether a call of the grant's own
	// second came after it.
	eventually(ctx, t, "the next second", func() bool { return time.Now().Unix() > granted.Unix() })
	return w
}

func wreckUser(i int) string { return fmt.Sprintf("346001120%02d", i%wreckUsers) }

// run is one death: calls begin, the process is killed somewhere in between, and
// after the restart the books are judged.
func (w *wreck) run(ctx context.Context, n int) {
	w.t.Helper()
	how := w.weapon(n)
	if len(how.wrap) > 0 { // the killer has to be there from the start
		w.signalEnd(ctx)
		w.wrap = how.wrap
		err := w.tryStart(ctx)
		w.wrap = nil
		if err != nil { // it struck while the store opened
			how.name += " at the start"
			w.start(ctx)
		}
	}
	alive, dead := context.WithCancel(ctx)
	var crowd sync.WaitGroup
	w.crowd(alive, &crowd)
	how.wait(alive, w)
	w.kill()
	dead()
	crowd.Wait()
	w.killedBy[how.name]++
	pause(ctx, time.Duration(w.dice.Int64N(int64(300*time.Millisecond)))) // phones are picked up, customers leave
	w.judge(ctx, n, how.name)
}

// signalEnd ends the program as an operator does.
func (w *wreck) signalEnd(ctx context.Context) {
	w.signal(syscall.SIGTERM)
	if code := w.exited(ctx); code != 0 {
		w.t.Errorf("exit code %d, want 0", code)
	}
}

// crowd begins calls of both directions that take every course.
func (w *wreck) crowd(ctx context.Context, wg *sync.WaitGroup) {
	for range wreckCalls {
		w.next++
		n, delay, talk := w.next, w.soon(wreckSpan), w.soon(wreckSpan)
		if w.dice.IntN(5) < 2 {
			callee := []fakemeta.Callee{
				{Never: true}, {Answer: w.soon(wreckSpan) + 1}, {Reject: w.soon(wreckSpan) + 1}, {LateSDP: true, Answer: w.soon(wreckSpan) + 1},
			}[w.dice.IntN(4)]
			gone := w.dice.IntN(2) == 0
			wg.Go(func() { w.agentCalls(ctx, n, callee, delay, talk, gone) })
			continue
		}
		s := []faketrunk.Script{
			faketrunk.NoAnswer(), faketrunk.Answer(w.soon(wreckSpan)), faketrunk.Answer(0), faketrunk.Refuse(486),
			{Hangup: 1 + w.soon(wreckSpan)},
			{Answer: w.soon(wreckSpan), OnCancel: faketrunk.Cross},
			{Ring: w.soon(wreckSpan), NoTrying: true},
		}[w.dice.IntN(7)]
		s.NoAudio = true
		leaves := w.dice.IntN(3) > 0
		payload := strconv.Itoa(n)
		w.mu.Lock()
		w.scripts[payload] = s
		w.mu.Unlock()
		wg.Go(func() { w.customerCalls(ctx, n, payload, delay, talk, leaves) })
	}
}

func (w *wreck) soon(most time.Duration) time.Duration {
	return time.Duration(w.dice.Int64N(int64(most)))
}

// customerCalls lets a customer call, and leave whatever has become of it.
func (w *wreck) customerCalls(ctx context.Context, n int, payload string, delay, talk time.Duration, leaves bool) {
	pause(ctx, delay)
	if ctx.Err() != nil {
		return
	}
	c, err := w.meta.Call(context.WithoutCancel(ctx), fakemeta.CallOptions{User: fakemeta.User{Number: fmt.Sprintf("34600%06d", n)}, Payload: payload})
	if err != nil {
		w.t.Errorf("call %d: %v", n, err)
		return
	}
	c.Speech(fakemeta.RTCPOnly)
	if leaves {
		pause(ctx, talk)
		c.HangUp()
	}
}

// agentCalls lets an agent call a customer, and give up or hang up.
func (w *wreck) agentCalls(ctx context.Context, n int, callee fakemeta.Callee, delay, talk time.Duration, leaves bool) {
	pause(ctx, delay)
	if ctx.Err() != nil {
		return
	}
	w.meta.Callee(wreckUser(n), callee)
	phone, err := w.pbx.Dial(context.WithoutCancel(ctx), faketrunk.Outgoing{
		To: "sip:+" + wreckUser(n) + "@" + w.sip, From: "201", Script: faketrunk.Script{NoAudio: true},
	})
	if err != nil {
		w.t.Errorf("call %d: %v", n, err)
		return
	}
	if leaves {
		pause(ctx, talk)
		_ = phone.Hangup(ctx) // nobody may be there to hear it
	}
}

// judge restarts the gateway and looks what it makes of what it left.
func (w *wreck) judge(ctx context.Context, n int, how string) {
	w.t.Helper()
	known := w.known()
	began := time.Now()
	w.start(ctx)
	took := w.adopted(ctx, n, how, began, known)
	w.slowest = ends{max(w.slowest.calls, took.calls), max(w.slowest.dialogs, took.dialogs)}
	if took.calls > 3*endLimit || took.dialogs > 3*endLimit {
		w.t.Errorf("run %d, killed by %s: calls were open for %v, dialogs for %v after the restart, want at most %v", n, how, took.calls, took.dialogs, endLimit)
	}
	for _, b := range w.meta.Open() { // begun while nobody was there, and taken by the new process
		w.meta.Customer(b.ID).HangUp()
	}
	w.pbx.HangupAll(ctx)
	must(w.t, w.meta.WaitQuiet(ctx))
	must(w.t, w.pbx.Settled(ctx))
	w.wantAtRest(ctx)
	w.wantOneRecordEach(ctx)
	w.wantRecoveredAreMarked(ctx, n)
	for _, f := range w.pbx.Faults() {
		if strings.HasPrefix(f, "a CANCEL for no INVITE") {
			continue // the INVITE was on disk and had not left
		}
		w.t.Errorf("run %d, killed by %s: the PBX would complain: %s", n, how, f)
	}
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// ends is how long after a restart no WhatsApp call and no dialog of before was
// open any more. A phone that was picked up meanwhile is told with its next 200.
type ends struct{ calls, dialogs time.Duration }

// adopted waits until every call has an owner or is over, and says when that was
// so of what the dead process knew.
func (w *wreck) adopted(ctx context.Context, n int, how string, began time.Time, known map[string]bool) (took ends) {
	w.t.Helper()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		calls, dialogs := w.orphans(ctx)
		left := slices.Concat(calls, dialogs)
		if len(left) == 0 {
			for _, b := range w.meta.Books() {
				if known[b.ID] && b.End.By == fakemeta.ByBusiness {
					took.calls = max(took.calls, b.End.At.Sub(began))
				}
			}
			took.dialogs = w.lastEnd(began, func(id string) bool { return known[id] })
			return took
		}
		select {
		case <-poll.C:
		case <-limited.Done():
			for _, id := range left {
				w.t.Errorf("run %d, killed by %s: nobody ends call %s (known before: %v)", n, how, id, known[id])
			}
			w.t.FailNow()
		}
	}
}

// wantRecoveredAreMarked compares what the new process counts as calls of the
// old with the records that say so.
func (w *wreck) wantRecoveredAreMarked(ctx context.Context, n int) {
	w.t.Helper()
	marked := 0
	for _, r := range w.records(ctx, 0) {
		if r.Cause == "internal" && r.Abandoned && r.EndedBy == "gateway" {
			marked++
		}
	}
	if counted := int(w.metric(ctx, "wagate_calls_recovered_total")); counted != marked-w.told {
		w.t.Errorf("run %d: %d calls recovered, and %d new records say so", n, counted, marked-w.told)
	}
	w.told = marked
}

// known lists the calls of which the dead process had been told, and its dialogs.
func (w *wreck) known() map[string]bool {
	ids := map[string]bool{}
	for _, q := range w.meta.Requests() {
		ids[q.CallID] = q.CallID != ""
	}
	for _, d := range w.meta.Deliveries() {
		for i, kind := range d.Kinds {
			if kind == fakemeta.KindConnect && d.Status == 200 {
				ids[d.CallIDs[i]] = true
			}
		}
	}
	for _, m := range w.pbx.Messages() {
		if m.In {
			ids[m.CallID()] = true
		}
	}
	return ids
}

// orphans lists the calls at Meta and the dialogs at the PBX that the gateway
// does not say are its own.
func (w *wreck) orphans(ctx context.Context) (calls, dialogs []string) {
	own := map[string]bool{}
	for _, c := range w.calls(ctx) {
		own[c.ID], own[c.WACID] = true, true
		if c.Direction == "outbound" {
			own["+"+c.User], own[c.User] = true, true
		}
	}
	for _, b := range w.meta.Open() {
		if !own[b.ID] {
			calls = append(calls, b.ID)
		}
	}
	open := w.pbx.Open()
	for _, c := range w.pbx.Calls() {
		i := slices.IndexFunc(open, func(d faketrunk.Dialog) bool { return d.CallID == c.ID() })
		if i >= 0 && !own[c.Invite().Get("X-WA-Call")] && !own[userOf(c.Invite().URI)] {
			dialogs = append(dialogs, c.ID())
		}
	}
	return calls, dialogs
}

// ledgers compares what we believe of the customers' permissions with Meta: whether
// they may be called, the limits' counts, and while a permission can be lost by
// it, how often in a row they did not pick up.
func (w *wreck) ledgers(ctx context.Context) {
	w.t.Helper()
	must(w.t, w.meta.WaitDelivered(ctx)) // what came while nobody was there is told again
	w.signalEnd(ctx)
	db, err := store.Open(ctx, w.data, nil, slog.New(slog.DiscardHandler))
	must(w.t, err)
	defer db.Close()
	now := time.Now()
	for i := range wreckUsers {
		who := wreckUser(i)
		truth := w.meta.Permission(who)
		ours, err := db.Permission(ctx, "401122334455667", whatsapp.Callee{Number: who})
		must(w.t, err)
		may := truth.State == fakemeta.Temporary || truth.State == fakemeta.Permanent
		mayOurs := ours.State(now) == whatsapp.Temporary || ours.State(now) == whatsapp.Permanent
		if may != mayOurs || truth.Connected != len(ours.Calls) || truth.AsksDay != ours.Asked24h(now) || may && truth.Unanswered != ours.Streak() {
			got := fmt.Sprintf("%v, %d picked up, %d in a row not, %d requests", ours.State(now), len(ours.Calls), ours.Streak(), ours.Asked24h(now))
			want := fmt.Sprintf("%v, %d picked up, %d in a row not, %d requests", truth.State, truth.Connected, truth.Unanswered, truth.AsksDay)
			w.t.Errorf("permission of %s: our ledger says %s, Meta's %s", who, got, want)
		}
	}
}

// userOf is the user part of a SIP URI.
func userOf(uri string) string {
	user, _, _ := strings.Cut(strings.TrimPrefix(uri, "sip:"), "@")
	return user
}

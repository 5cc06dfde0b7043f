package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

func trunkOf(name string, calls, cps int) config.Trunk {
	return config.Trunk{Name: name, MaxCalls: calls, MaxCPS: cps}
}

// debtList is a debtBook in memory, for the reaper's rules alone.
type debtList struct {
	mu    sync.Mutex
	debts []store.Debt
	full  error // what every write gives
}

func (l *debtList) Debts(context.Context) ([]store.Debt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.debts), nil
}

func (l *debtList) Paid(_ context.Context, id int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != nil {
		return l.full
	}
	l.debts = slices.DeleteFunc(l.debts, func(d store.Debt) bool { return d.ID == id })
	return nil
}

func (l *debtList) Postpone(_ context.Context, id int64, tries int, next time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full != nil {
		return l.full
	}
	for i := range l.debts {
		if l.debts[i].ID == id {
			l.debts[i].Tries, l.debts[i].Next = tries, next
		}
	}
	return nil
}

type fakeDialogs struct{ *ledger }

func (f fakeDialogs) Recover(_ context.Context, state []byte, _ sip.Reason) error {
	f.write("recover " + string(state))
	return nil
}

// reaping runs a story about debts in fake time.
func reaping(t *testing.T, debts []store.Debt, prepare func(g *fakeGraph), story func(g *fakeGraph, book *debtList)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		for i := range debts {
			now := time.Now()
			debts[i].ID, debts[i].Since, debts[i].Next, debts[i].Expires = int64(i+1), now, now, now.Add(debtLife)
		}
		book := &debtList{debts: debts}
		g := &fakeGraph{ledger: &ledger{}, results: map[string][]error{}, slow: map[string]time.Duration{}}
		prepare(g)
		r := newReaper(book, newMetrics(nil, "test"), slog.New(slog.DiscardHandler))
		r.ender = func(number string) graphEnder {
			if number == "gone" {
				return nil
			}
			return g
		}
		r.dialogs = fakeDialogs{g.ledger}
		ctx, stop := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			r.run(ctx)
			close(over)
		}()
		story(g, book)
		stop()
		<-over
	})
}

func (l *debtList) left() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.debts)
}

func TestReaperAsksUntilMetaConfirms(t *testing.T) {
	reaping(t, []store.Debt{{Kind: debtTerminate, Number: "support", WACID: "w"}}, func(g *fakeGraph) {
		g.results["terminate"] = []error{whatsapp.ErrUnknown, whatsapp.ErrNotSent, &whatsapp.APIError{Status: 500, Code: 2}}
	}, func(g *fakeGraph, book *debtList) {
		time.Sleep(time.Minute)
		if got := g.take(); !slices.Equal(got, []string{"terminate", "terminate", "terminate", "terminate"}) {
			t.Errorf("asked %v", got)
		}
		if book.left() != 0 {
			t.Error("the debt is still in the book")
		}
	})
}

// TestReaperKeepsToPauses: the first try is made whatever Meta wants, those after
// it are not, even if it was another call's request that was throttled.
func TestReaperKeepsToPauses(t *testing.T) {
	reaping(t, []store.Debt{{Kind: debtTerminate, Number: "support", WACID: "w"}}, func(g *fakeGraph) {
		g.results["terminate"] = []error{whatsapp.ErrUnknown}
		g.pause.Store(int64(20 * time.Second))
	}, func(g *fakeGraph, book *debtList) {
		time.Sleep(19 * time.Second)
		if got := g.take(); len(got) != 1 {
			t.Errorf("asked %v within the pause", got)
		}
		time.Sleep(2 * time.Second)
		if got := g.take(); len(got) != 1 || book.left() != 0 {
			t.Errorf("after the pause asked %v, %d left", got, book.left())
		}
	})
}

func TestReaperTriesTheOtherVerb(t *testing.T) {
	reaping(t, []store.Debt{{Kind: debtReject, Number: "support", WACID: "w"}}, func(g *fakeGraph) {
		g.results["reject"] = []error{&whatsapp.APIError{Status: 400, Code: 100, Details: "not possible in this state"}}
	}, func(g *fakeGraph, book *debtList) {
		synctest.Wait()
		if got := g.take(); !slices.Equal(got, []string{"reject", "terminate"}) || book.left() != 0 {
			t.Errorf("asked %v, %d left", got, book.left())
		}
	})
}

func TestReaperTakesGoneForDone(t *testing.T) {
	reaping(t, []store.Debt{{Kind: debtTerminate, Number: "support", WACID: "w"}}, func(g *fakeGraph) {
		g.results["terminate"] = []error{&whatsapp.APIError{Status: 400, Code: 100, Details: "call has already ended"}}
	}, func(g *fakeGraph, book *debtList) {
		synctest.Wait()
		if got := g.take(); len(got) != 1 || book.left() != 0 {
			t.Errorf("asked %v, %d left", got, book.left())
		}
	})
}

func TestReaperKeepsADebtThatATokenStandsInTheWayOf(t *testing.T) {
	reaping(t, []store.Debt{{Kind: debtTerminate, Number: "support", WACID: "w"}}, func(g *fakeGraph) {
		refused := &whatsapp.APIError{Status: 401, Code: 190}
		for range 1000 {
			g.results["terminate"] = append(g.results["terminate"], refused)
			g.results["reject"] = append(g.results["reject"], refused)
		}
	}, func(_ *fakeGraph, book *debtList) {
		time.Sleep(debtLife - time.Minute)
		if book.left() != 1 {
			t.Error("the debt was given up before its time")
		}
		time.Sleep(2 * time.Minute)
		if book.left() != 0 {
			t.Error("the debt was not given up after its time")
		}
	})
}

// TestReaperWaitsAsLongAsMetaWants, where it throttles the end of a call, but
// not for ever: somebody pays for the call.
func TestReaperWaitsAsLongAsMetaWants(t *testing.T) {
	reaping(t, []store.Debt{{Kind: debtTerminate, WACID: "wacid.A"}}, func(g *fakeGraph) {
		g.results["terminate"] = []error{
			&whatsapp.APIError{Status: 429, Code: 4, RetryAfter: 20 * time.Second},
			&whatsapp.APIError{Status: 429, Code: 4, RetryAfter: 24 * time.Hour},
		}
	}, func(g *fakeGraph, book *debtList) {
		for _, wait := range []time.Duration{20 * time.Second, longestPause} {
			synctest.Wait()
			g.take()
			time.Sleep(wait - time.Second)
			synctest.Wait()
			if early := g.take(); len(early) != 0 {
				t.Errorf("asked again before %v were over: %v", wait, early)
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		if left, _ := book.Debts(t.Context()); len(left) != 0 {
			t.Errorf("still owed: %+v", left)
		}
	})
}

func TestReaperOfANumberThatLeft(t *testing.T) {
	reaping(t, []store.Debt{{Kind: debtTerminate, Number: "gone", WACID: "w"}}, func(*fakeGraph) {}, func(g *fakeGraph, book *debtList) {
		time.Sleep(time.Minute)
		if len(g.take()) != 0 || book.left() != 1 {
			t.Error("a debt of an unknown number must wait for its number")
		}
	})
}

func TestReaperDoesNotHammerWhenTheDiskIsFull(t *testing.T) {
	var list *debtList
	reaping(t, []store.Debt{{Kind: debtTerminate, Number: "support", WACID: "w"}}, func(g *fakeGraph) {
		g.slow["terminate"] = time.Millisecond
	}, func(g *fakeGraph, book *debtList) {
		list = book
		book.mu.Lock()
		book.full = errDisk
		book.mu.Unlock()
		time.Sleep(time.Minute)
		if asked := len(g.take()); asked == 0 || asked > 10 {
			t.Errorf("asked %d times in a minute", asked)
		}
		book.mu.Lock()
		book.full = nil
		book.mu.Unlock()
		time.Sleep(time.Minute)
	})
	if list.left() != 0 {
		t.Error("the debt stays when the disk has room again")
	}
}

func TestSlowPaymentHoldsUpNobody(t *testing.T) {
	reaping(t, []store.Debt{
		{Kind: debtTerminate, Number: "support", WACID: "slow"},
		{Kind: debtDialog, State: []byte("dialog")},
	}, func(g *fakeGraph) {
		g.slow["terminate"] = endLimit - time.Millisecond
	}, func(g *fakeGraph, book *debtList) {
		synctest.Wait()
		if !slices.Contains(g.take(), "recover dialog") {
			t.Error("the dialog waits for the slow one")
		}
		time.Sleep(endLimit)
		if book.left() != 0 {
			t.Errorf("%d left", book.left())
		}
	})
}

func TestRefusedOrGone(t *testing.T) {
	for _, row := range []struct {
		err           error
		gone, refused bool
	}{
		{nil, false, false},
		{errors.New("x"), false, false},
		{&whatsapp.APIError{Status: 400, Code: 100, Details: "call has already ended"}, true, false},
		{&whatsapp.APIError{Status: 400, Code: 100, Details: "wrong state"}, false, true},
		{&whatsapp.APIError{Status: 503, Code: 2}, false, false},
	} {
		if gone(row.err) != row.gone || refused(row.err) != row.refused {
			t.Errorf("%v: gone %v, refused %v", row.err, gone(row.err), refused(row.err))
		}
	}
}

// A clock that is set by hours makes no end wait, and gives none up.
func TestReaperOutlivesAClockThatJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"back": -time.Hour, "far back": -400 * 24 * time.Hour, "ahead": time.Hour, "far ahead": 400 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				book := &debtList{debts: []store.Debt{{
					ID: 1, Kind: debtTerminate, Number: "support", WACID: "w", Since: now, Next: now.Add(time.Second), Expires: now.Add(debtLife),
				}}}
				g := &fakeGraph{ledger: &ledger{}, results: map[string][]error{"terminate": {whatsapp.ErrNotSent, whatsapp.ErrNotSent}}, slow: map[string]time.Duration{}}
				r := newReaper(book, newMetrics(nil, "test"), slog.New(slog.DiscardHandler))
				r.now = func() time.Time { return time.Now().Add(jump) }
				r.ender = func(string) graphEnder { return g }
				ctx, stop := context.WithCancel(t.Context())
				over := make(chan struct{})
				go func() {
					r.run(ctx)
					close(over)
				}()
				time.Sleep(10 * time.Second)
				if got := g.take(); len(got) != 3 || book.left() != 0 {
					t.Errorf("asked %v, %d owed; want three times and none", got, book.left())
				}
				stop()
				<-over
			})
		})
	}
}

// silentDialogs is a PBX that answers nothing.
type silentDialogs struct{}

func (silentDialogs) Recover(ctx context.Context, _ []byte, _ sip.Reason) error {
	<-ctx.Done()
	return ctx.Err()
}

// catching is a reaper in fake time that catches up with so many debts of a kind.
func catching(owed map[string]int, slow time.Duration) (*reaper, *debtList, *fakeGraph) {
	book, now := &debtList{}, time.Now()
	for _, kind := range []string{debtDialog, debtTerminate} { // the worse order
		for range owed[kind] {
			book.debts = append(book.debts, store.Debt{
				ID: int64(len(book.debts) + 1), Kind: kind, Number: "support", WACID: "w", Since: now, Next: now, Expires: now.Add(debtLife),
			})
		}
	}
	g := &fakeGraph{ledger: &ledger{}, results: map[string][]error{}, slow: map[string]time.Duration{"terminate": slow}}
	r := newReaper(book, newMetrics(nil, "test"), slog.New(slog.DiscardHandler))
	r.ender, r.dialogs = func(string) graphEnder { return g }, silentDialogs{}
	return r, book, g
}

func (r *reaper) onTheirWay() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.busy)
}

// At a start the PBX has a moment to confirm the ends of earlier calls, Meta
// longer, and a silent PBX takes no room from Meta's. What takes more time is
// neither broken off nor begun a second time.
func TestCatchUp(t *testing.T) {
	for _, row := range []struct {
		name string
		owed map[string]int
		slow time.Duration // of Meta
		want time.Duration
		left int
	}{
		{"nothing is owed", nil, 0, 0, 0},
		{"all confirm", map[string]int{debtTerminate: 1}, 100 * time.Millisecond, 100 * time.Millisecond, 0},
		{"more calls than are ended at once", map[string]int{debtTerminate: 2*endsAtOnce + 1}, 100 * time.Millisecond, 300 * time.Millisecond, 0},
		{"the PBX is silent", map[string]int{debtTerminate: 1, debtDialog: 1}, 0, pbxMoment, 1},
		{"the PBX is silent about many", map[string]int{debtTerminate: endsAtOnce, debtDialog: dialogsAtOnce + 1}, 0, pbxMoment, dialogsAtOnce + 1},
		{"Meta takes longer than the PBX may", map[string]int{debtTerminate: 1, debtDialog: 1}, 1500 * time.Millisecond, 1500 * time.Millisecond, 1},
		{"Meta is silent", map[string]int{debtTerminate: 1}, time.Minute, time.Second, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, book, g := catching(row.owed, row.slow)
				limit := time.Second
				if row.want > limit {
					limit = recoverLimit
				}
				limited, cancel := context.WithTimeout(t.Context(), limit)
				began := time.Now()
				r.catchUp(limited)
				cancel() // as New does when it goes on
				synctest.Wait()
				if took := time.Since(began); took != row.want {
					t.Errorf("took %v, want %v", took, row.want)
				}
				busy := min(row.left, dialogsAtOnce)
				if n := r.onTheirWay(); n != busy || book.left() != row.left {
					t.Errorf("%d payments on their way and %d owed, want %d and %d", n, book.left(), busy, row.left)
				}
				g.take()
				ctx, stop := context.WithCancel(t.Context())
				over := make(chan struct{})
				go func() {
					r.run(ctx)
					close(over)
				}()
				synctest.Wait()
				if asked := g.take(); len(asked) != 0 || r.onTheirWay() != busy {
					t.Errorf("run asked Meta %v and has %d payments on their way, want none again and %d", asked, r.onTheirWay(), busy)
				}
				began = time.Now()
				stop()
				<-over
				if took := time.Since(began); took != 0 || r.onTheirWay() != 0 {
					t.Errorf("the end took %v and left %d payments", took, r.onTheirWay())
				}
			})
		})
	}
}

// A start that fails after it caught up waits for nobody either.
func TestCatchUpIsBrokenOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, book, _ := catching(map[string]int{debtDialog: 3}, 0)
		r.catchUp(t.Context())
		began := time.Now()
		if err := r.close(); err != nil || time.Since(began) != 0 || r.onTheirWay() != 0 || book.left() != 3 {
			t.Errorf("closed after %v with %d payments on their way and %d owed (%v)", time.Since(began), r.onTheirWay(), book.left(), err)
		}
	})
}

// slowBook takes its time to be read: payments end meanwhile.
type slowBook struct{ *debtList }

func (b slowBook) Debts(ctx context.Context) ([]store.Debt, error) {
	debts, err := b.debtList.Debts(ctx)
	time.Sleep(200 * time.Millisecond)
	return debts, err
}

// A round that read the book before a payment was noted there does not pay again.
func TestReaperPaysOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, book, g := catching(map[string]int{debtTerminate: 1}, 100*time.Millisecond)
		r.book = slowBook{book}
		for range 3 {
			r.round(t.Context())
		}
		r.work.Wait()
		if asked := g.take(); len(asked) != 1 {
			t.Errorf("asked %v", asked)
		}
	})
}

//go:build soak

package test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// The day of a busy contact centre: its calls, those of them that end badly, and
// how many begin in a second here. It is lived in steps of soakLimit, each with a
// program of its own.
const (
	dayCalls   = 20_000
	dayBad     = 20 // one in so many
	dayRate    = 40
	dayWarm    = 500               // calls after which the program has what it keeps
	dayRest    = 100 * time.Second // 64·T1, the rest of a port, and connections to Meta that are kept for the next call
	dayHour    = 6 * 3600          // calls in an hour at the rate that the figure is for
	dayAtOnce  = 150
	dayAgents  = 60
	heapGrowth = 0.5 * (1 << 20) // in an hour
)

// TestSoakDay is L4.
func TestSoakDay(t *testing.T) {
	p := goOn(t, "day")
	ctx, cancel := context.WithTimeout(t.Context(), soakLimit+12*time.Minute)
	defer cancel()
	d := setUp(t, setup{
		Ops: ", pprof: true", Media: "  timeout: 5s\n  ice_timeout: 5s", Route: ", ring_timeout: 3s", Extra: dialOutFile,
		Meta: fakemeta.Options{Keep: 2 * dayCalls},
	})
	w := &working{daemon: d, scripts: map[string]faketrunk.Script{}, agents: make(chan string, dayAgents)}
	for i := range dayAgents {
		w.agents <- fmt.Sprintf("346001130%02d", i)
	}
	d.pbx.Handle(w.script)
	d.start(ctx)
	w.live(ctx, dayWarm, time.Now().Add(soakLimit))
	begin := w.held(ctx)
	left := max(dayCalls-p.Calls, 2*dayWarm)
	w.live(ctx, left/2, time.Now().Add(soakLimit/2))
	middle, done := w.held(ctx), w.calls
	w.live(ctx, left-left/2, time.Now().Add(soakLimit/2))
	last := w.held(ctx)
	limited, enough := context.WithTimeout(ctx, idleLimit)
	defer enough()
	for w.files() > begin.files && limited.Err() == nil { // the last connections of the day
		pause(limited, time.Second)
	}
	if last.files = w.files(); last.files > begin.files {
		t.Errorf("%d files are open, %d were before: %v, before %v", last.files, begin.files, w.opened(), begin.opened)
	}
	p.Runs, p.Calls = p.Runs+1, p.Calls+w.calls
	p.save(t)

	slope := float64(last.heap-middle.heap) / float64(w.calls-done) * dayHour
	t.Logf("L4: %d of %d calls in %d steps, %d here, of which %d ended badly; goroutines %d, %d, %d; descriptors %d, %d, %d; heap %.2f, %.2f, %.2f MiB, in the second half %+.2f MiB an hour",
		p.Calls, dayCalls, p.Runs, w.calls, w.bad, begin.goroutines, middle.goroutines, last.goroutines, begin.files, middle.files, last.files,
		float64(begin.heap)/(1<<20), float64(middle.heap)/(1<<20), float64(last.heap)/(1<<20), slope/(1<<20))
	if last.goroutines > begin.goroutines+soakLeftover {
		t.Errorf("%d goroutines at rest, %d before", last.goroutines, begin.goroutines)
	}
	if slope > heapGrowth {
		t.Errorf("the heap grows by %.0f KiB an hour", slope/(1<<10))
	}
	d.records(ctx, len(d.meta.Books()))
	d.wantOneRecordEach(ctx)
	d.wantAtRest(ctx)
}

// working is a program at work.
type working struct {
	*daemon

	mu         sync.Mutex
	scripts    map[string]faketrunk.Script
	agents     chan string // customers whom nobody calls at the moment
	calls, bad int
}

// held is what the program holds when it has nothing to do.
type held struct {
	goroutines, files, heap int
	opened                  map[string]int
}

func (w *working) script(m *faketrunk.Message) faketrunk.Script {
	w.mu.Lock()
	defer w.mu.Unlock()
	payload := m.Get("X-WA-Payload")
	s, known := w.scripts[payload]
	if !known { // an agent is called back when a customer has allowed it
		return faketrunk.Script{Hangup: time.Second}
	}
	delete(w.scripts, payload)
	return s
}

// live lets so many calls begin, or as many as can until then, and waits until
// all are over.
func (w *working) live(ctx context.Context, calls int, until time.Time) {
	var running sync.WaitGroup
	room := make(chan struct{}, dayAtOnce)
	pace := time.NewTicker(time.Second / dayRate)
	defer pace.Stop()
	for range calls {
		select {
		case <-pace.C:
		case <-ctx.Done():
			w.t.Fatal(ctx.Err())
		}
		if time.Now().After(until) {
			break
		}
		room <- struct{}{}
		w.calls++
		n := w.calls
		running.Go(func() {
			defer func() { <-room }()
			w.call(ctx, n)
		})
		if n%dayBad == 0 {
			w.bad++
		}
	}
	running.Wait()
	must(w.t, w.meta.WaitQuiet(ctx))
	must(w.t, w.pbx.Settled(ctx))
}

// call is one call: most go well, each dayBad-th does not.
func (w *working) call(ctx context.Context, n int) {
	talk := 300*time.Millisecond + rand.N(1200*time.Millisecond)
	switch {
	case n%dayBad == 0:
		w.goesWrong(ctx, n, talk)
	case n%5 == 1:
		w.agentDials(ctx, n, talk)
	default:
		w.customerDials(ctx, n, talk, []faketrunk.Script{
			faketrunk.Answer(0), faketrunk.Answer(200 * time.Millisecond), {Hangup: talk}, faketrunk.Refuse(486), faketrunk.NoAnswer(),
		}[rand.IntN(5)])
	}
}

func (w *working) customerDials(ctx context.Context, n int, talk time.Duration, s faketrunk.Script) {
	c, err := w.place(ctx, n, s)
	if err != nil {
		w.t.Errorf("call %d: %v", n, err)
		return
	}
	if s.Status == 0 && s.Hangup == 0 {
		pause(ctx, talk)
		c.HangUp()
	}
	if err := c.Wait(ctx, fakemeta.Ended); err != nil {
		w.t.Errorf("call %d: %v", n, err)
	}
}

// place lets customer n call, for a phone with that script.
func (w *working) place(ctx context.Context, n int, s faketrunk.Script) (*fakemeta.Customer, error) {
	payload := strconv.Itoa(n)
	w.mu.Lock()
	w.scripts[payload] = s
	w.mu.Unlock()
	return w.meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: fmt.Sprintf("34610%06d", n)}, Payload: payload})
}

func (w *working) agentDials(ctx context.Context, n int, talk time.Duration) {
	who := <-w.agents
	defer func() { w.agents <- who }()
	w.meta.Callee(who, fakemeta.Callee{Answer: 50 * time.Millisecond})
	phone, err := w.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + who + "@" + w.sip, From: "201"})
	if err == nil {
		pause(ctx, talk)
		_ = phone.Hangup(ctx) // it may be over
		err = phone.Wait(ctx, faketrunk.Ended)
	}
	if err != nil {
		w.t.Errorf("call %d: %v", n, err)
	}
}

// goesWrong plays one of the ends that nobody wants.
func (w *working) goesWrong(ctx context.Context, n int, talk time.Duration) {
	crossing, deaf, silent := faketrunk.NoAnswer(), faketrunk.Answer(0), faketrunk.Answer(0)
	crossing.OnCancel = faketrunk.Cross
	deaf.DropACKs = 2
	silent.NoAudio = true
	forked := faketrunk.Answer(0)
	forked.Fork = true
	switch n / dayBad % 8 {
	case 0: // both sides at once
		w.customerDials(ctx, n, talk, crossing)
	case 1: // the ACK is lost, twice
		w.customerDials(ctx, n, 2*time.Second+talk, deaf)
	case 2: // no audio of the phone, ever: the media timeout ends it
		w.customerDials(ctx, n, 30*time.Second, silent)
	case 3: // two phones answer
		w.customerDials(ctx, n, talk, forked)
	case 4: // the PBX says nothing at all
		w.customerDials(ctx, n, 4*time.Second, faketrunk.Dead())
	case 5: // the end comes before the beginning
		w.meta.Disturb(fakemeta.Upset{Kind: fakemeta.KindConnect, Times: 1, Delay: 500 * time.Millisecond})
		w.customerDials(ctx, n, 0, faketrunk.Answer(0))
	case 6: // Meta's answers are lost
		w.meta.Fail(fakemeta.Fault{Kind: fakemeta.Reset, Action: "terminate", Times: 2})
		w.customerDials(ctx, n, talk, faketrunk.Script{Hangup: talk})
	case 7: // the customer's network is gone
		w.vanishes(ctx, n)
	}
}

// vanishes lets a customer be gone without a word once the call is up.
func (w *working) vanishes(ctx context.Context, n int) {
	c, err := w.place(ctx, n, faketrunk.Answer(0))
	if err == nil {
		err = c.Wait(ctx, fakemeta.Connected)
	}
	if err == nil {
		c.Vanish()
		err = c.Wait(ctx, fakemeta.Ended)
	}
	if err != nil {
		w.t.Errorf("call %d: %v", n, err)
	}
}

// held waits until the program has let go of what takes its time, and reads what
// is left.
func (w *working) held(ctx context.Context) (h held) {
	w.t.Helper()
	w.wantAtRest(ctx)
	eventually(ctx, w.t, "the ports to be free", func() bool { return w.metric(ctx, "wagate_rtp_ports_in_use") == 0 })
	pause(ctx, dayRest)
	h.files, h.opened = w.files(), w.opened()
	h.goroutines = w.profile(ctx, "/debug/pprof/goroutine?debug=1", `total (\d+)`)
	_ = w.profile(ctx, "/debug/pprof/heap?gc=1&debug=1", `# HeapAlloc = (\d+)`) // pools are let go by the second collection
	h.heap = w.profile(ctx, "/debug/pprof/heap?gc=1&debug=1", `# HeapAlloc = (\d+)`)
	return h
}

func (w *working) profile(ctx context.Context, path, want string) int {
	w.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.admin+path, http.NoBody)
	must(w.t, err)
	res, err := http.DefaultClient.Do(req)
	must(w.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(w.t, err)
	found := regexp.MustCompile(want).FindSubmatch(text)
	if found == nil {
		w.t.Fatalf("nothing like %s in %s", want, path)
	}
	n, err := strconv.Atoi(string(found[1]))
	must(w.t, err)
	return n
}

package gateway

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// tangle is one call to a customer in fake time: the real Call, registry and
// reaper between a Meta and a PBX that keep books of their own.
type tangle struct {
	t     *testing.T
	plan  tanglePlan
	reg   *registry
	book  *tangleBook
	reap  *reaper
	audio *fakeAudio
	call  *Call
	over  chan struct{} // closed when the call is off the registry

	mu       sync.Mutex
	pbx      tanglePhone
	connects int
	rings    int  // calls that exist, or did, at Meta
	live     bool // there is one now
	heard    bool // a webhook or a reply has named it
	overAt   time.Time
	gone     int // terminates that came to a call that was over
	failures []string
}

// tanglePlan is what goes wrong, and when. Negative times stand for never.
type tanglePlan struct {
	effect     bool          // connect makes a call
	reply      error         // of connect, nil: the id
	replyAfter time.Duration // what comes after askLimit is late
	lostEnds   int           // so many terminates without a reply, every other one without effect
	// Webhooks, counted from the effect of connect.
	answer, ringing, accepted, rejected time.Duration
	quits                               time.Duration // the customer, or Meta, ends the call
	dups                                time.Duration // every webhook once more, so much later
	audio                               bool          // the customer is heard before ACCEPTED
	// The PBX.
	cancel, ack, bye time.Duration // bye: after its ACK
	slowDisk         time.Duration
	reading          time.Duration // what Meta knows of the permission, before connect
	fullDisk         int           // so many tries to write the record fail
}

const (
	never     = time.Duration(-1)
	tangleID  = whatsapp.CallID("wacid.T")
	tangleTag = "tag"
)

// tanglePhone is the PBX's side of the dialog.
type tanglePhone struct {
	w      *tangle
	final  int
	told   time.Time // of a refusal
	acked  bool
	gaveUp bool
	over   bool
}

func (p *tanglePhone) State() []byte               { return []byte("caller") }
func (p *tanglePhone) Noted()                      {}
func (p *tanglePhone) Ring()                       {}
func (p *tanglePhone) Progress([]byte)             {}
func (p *tanglePhone) Abandon()                    {}
func (p *tanglePhone) CallID() string              { return "" }
func (p *tanglePhone) TakeRefer()                  {}
func (p *tanglePhone) RefuseRefer(int, sip.Reason) {}
func (p *tanglePhone) Progressed(int)              {}
func (p *tanglePhone) Press(byte, time.Duration)   {}

func (p *tanglePhone) Answer([]byte) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.final != 0 {
		return
	}
	p.final = 200
	time.AfterFunc(p.w.plan.ack, p.ack)
}

func (p *tanglePhone) ack() {
	p.w.mu.Lock()
	p.acked = true
	gaveUp := p.gaveUp
	p.w.mu.Unlock()
	p.w.call.post(sipNews{0, sip.Acked{}})
	switch {
	case gaveUp:
		p.bye()
	case p.w.plan.bye >= 0:
		time.AfterFunc(p.w.plan.bye, p.bye)
	}
}

func (p *tanglePhone) bye() {
	p.w.mu.Lock()
	ours := p.over
	p.over = true
	p.w.mu.Unlock()
	if !ours {
		p.w.call.post(sipNews{0, sip.Hungup{Q850: 16}})
	}
}

func (p *tanglePhone) Refuse(status int, _ sip.Reason, _ time.Duration) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.final == 0 {
		p.final, p.told, p.over = status, time.Now(), true
	}
}

func (p *tanglePhone) Bye(sip.Reason) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if !p.acked {
		p.w.failures = append(p.w.failures, "a BYE before the ACK")
	}
	p.over = true
	time.AfterFunc(20*time.Millisecond, func() { p.w.call.post(sipNews{0, sip.ByeDone{}}) })
}

// giveUp is the PBX's CANCEL; when our 200 was faster, it is ACK and BYE.
func (p *tanglePhone) giveUp() {
	p.w.mu.Lock()
	first := p.final == 0
	if first {
		p.final, p.over = 487, true
	}
	p.gaveUp = true
	acked := p.acked
	p.w.mu.Unlock()
	switch {
	case first:
		p.w.call.post(sipNews{0, sip.Cancelled{Status: 487}})
	case acked:
		p.bye()
	}
}

// tangleGraph is Meta's API.
type tangleGraph struct{ *tangle }

func (g tangleGraph) Throttled() time.Duration { return 0 }

func (g tangleGraph) PreAccept(context.Context, whatsapp.CallID, string) error      { return nil }
func (g tangleGraph) Accept(context.Context, whatsapp.CallID, string, string) error { return nil }
func (g tangleGraph) Reject(context.Context, whatsapp.CallID) error                 { return nil }

func (g tangleGraph) Connect(ctx context.Context, _ whatsapp.Callee, _, _ string) (whatsapp.CallID, error) {
	g.mu.Lock()
	g.connects++
	if g.plan.effect {
		g.rings++
		g.live = true
	}
	g.mu.Unlock()
	if g.plan.effect {
		g.webhooks()
	}
	select {
	case <-time.After(g.plan.replyAfter):
	case <-ctx.Done():
		return "", whatsapp.ErrUnknown
	}
	if g.plan.reply != nil {
		return "", g.plan.reply
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.heard = true
	return tangleID, nil
}

func (g tangleGraph) Terminate(_ context.Context, id whatsapp.CallID) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id != tangleID {
		g.failures = append(g.failures, "terminate of "+string(id))
	}
	if g.plan.lostEnds > 0 {
		g.plan.lostEnds--
		if g.plan.lostEnds%2 == 0 {
			return whatsapp.ErrNotSent
		}
		g.endLocked()
		return whatsapp.ErrUnknown
	}
	if !g.live {
		g.gone++
		return &whatsapp.APIError{Status: 400, Code: 100, Details: "call has already ended"}
	}
	g.endLocked()
	return nil
}

// endLocked is the end of the call at Meta, which always says so.
func (w *tangle) endLocked() {
	if w.live {
		w.live = false
		w.tell(300*time.Millisecond, whatsapp.Terminate{Meta: w.meta()})
	}
}

func (w *tangle) meta() whatsapp.Meta {
	return whatsapp.Meta{Key: "k", NumberID: "1", CallID: tangleID, Tag: tangleTag, At: time.Now()}
}

// webhooks sends Meta's news of the call, while there is any.
func (w *tangle) webhooks() {
	p := w.plan
	w.tell(p.answer, whatsapp.Answer{Meta: w.meta(), SDP: "answer"})
	w.tell(p.ringing, whatsapp.Status{Meta: w.meta(), State: whatsapp.Ringing})
	w.tell(p.accepted, whatsapp.Status{Meta: w.meta(), State: whatsapp.Accepted})
	w.tell(p.rejected, whatsapp.Status{Meta: w.meta(), State: whatsapp.Rejected})
	end := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.endLocked()
	}
	if p.rejected >= 0 {
		time.AfterFunc(p.rejected, end)
	}
	if p.quits >= 0 {
		time.AfterFunc(p.quits, end)
	}
}

func (w *tangle) tell(after time.Duration, ev whatsapp.Event) {
	if after < 0 {
		return
	}
	time.AfterFunc(after, func() {
		w.mu.Lock()
		_, end := ev.(whatsapp.Terminate)
		alive := w.live
		w.mu.Unlock()
		if status, ok := ev.(whatsapp.Status); ok && status.State == whatsapp.Accepted && w.plan.audio && alive {
			w.audio.mu.Lock()
			close(w.audio.peer.heard)
			w.audio.mu.Unlock()
		}
		if alive || end {
			w.arrives(ev)
		}
	})
	if w.plan.dups > 0 {
		time.AfterFunc(after+w.plan.dups, func() { w.arrives(ev) })
	}
}

// ownerless is how long a call that has been named may live without an owner.
const ownerless = 3 * time.Second

// arrives does with a webhook what the gateway does.
func (w *tangle) arrives(ev whatsapp.Event) {
	w.mu.Lock()
	w.heard = true
	w.mu.Unlock()
	time.AfterFunc(3*ownerless, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.live && !w.overAt.IsZero() && time.Since(w.overAt) >= ownerless {
			w.failures = append(w.failures, "a call that nobody owns lives on after its webhook")
		}
	})
	c, dead := w.reg.find(ev.About())
	if c != nil && c.post(hooked{ev}) || dead {
		return
	}
	w.late(ev)
}

func (w *tangle) late(ev whatsapp.Event) {
	if s, ok := w.reg.stray(ev.About().Tag, time.Now()); ok {
		w.book.found(ev, s)
		w.reg.found(s.Tag, ev.About().CallID, time.Now())
		w.reap.poke()
	}
}

// tangleBook is a store, as far as it goes: records, debts and strays.
type tangleBook struct {
	fakeBook
	debtList
	w        *tangle
	lastDebt int64
}

func (b *tangleBook) End(ctx context.Context, r store.Record, owed []store.Debt, tag string) error {
	time.Sleep(b.w.plan.slowDisk)
	if err := b.fakeBook.End(ctx, r, owed, tag); err != nil {
		return err
	}
	b.add(owed)
	return nil
}

func (b *tangleBook) add(owed []store.Debt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range owed {
		b.lastDebt++
		d.ID = b.lastDebt
		b.debts = append(b.debts, d)
	}
}

func (b *tangleBook) found(ev whatsapp.Event, s store.Stray) {
	b.fakeBook.mu.Lock()
	b.records[0].WACID = string(ev.About().CallID)
	b.fakeBook.mu.Unlock()
	b.add(strayDebts(ev, s, time.Now()))
}

// Recover is the reaper's way to a dialog that was left.
func (w *tangle) Recover(context.Context, []byte, sip.Reason) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pbx.over = true
	return nil
}

// entangle plays a plan until nothing can happen any more, and judges by the
// books of both far ends.
func entangle(t *testing.T, plan tanglePlan, judge func(w *tangle, r store.Record)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		words := &ledger{}
		w := &tangle{t: t, plan: plan, reg: newRegistry(), audio: &fakeAudio{ledger: words, connect: true}, over: make(chan struct{})}
		w.pbx.w = w
		w.book = &tangleBook{fakeBook: fakeBook{ledger: words}, w: w}
		for range plan.fullDisk {
			w.book.endErrs = append(w.book.endErrs, errDisk)
		}
		m, log := newMetrics(nil, "test"), slog.New(slog.DiscardHandler)
		w.reap = newReaper(w.book, m, log)
		w.reap.ender = func(string) graphEnder { return tangleGraph{w} }
		w.reap.dialogs = w
		cfg := config.Default()
		cfg.Trunks = []config.Trunk{{Name: "pbx", MaxCalls: 10, MaxCPS: 10}}
		rs := &rehearsal{t: t, seen: words, audio: w.audio}
		e := rs.surroundings(cfg)
		e.graph, e.audio, e.book = func(string) graph { return tangleGraph{w} }, w.audio, w.book
		e.allowed = func(context.Context, order) error {
			time.Sleep(plan.reading)
			return nil
		}
		e.owed, e.late, e.named = w.reap.poke, w.late, w.reg.name
		e.over = func(c *Call) {
			w.reg.remove(c, c.order.tag, c.lost, time.Now())
			w.mu.Lock()
			w.overAt = time.Now()
			w.mu.Unlock()
			close(w.over)
		}
		w.call = newCall(e, "call", order{
			direction: outbound, number: config.Number{Name: "support"}, user: whatsapp.User{Number: "34600111222"},
			ring: 45 * time.Second, route: "out", trunk: "pbx", dialed: "+34600111222", tag: tangleTag,
		})
		leg := &callerLeg{call: w.call, session: &w.pbx, answerS: []byte("answer"), trunk: "pbx"}
		w.call.in = leg
		leg.socket, _ = w.audio.Socket(media.SocketOptions{})
		w.reg.admitTagged(w.call, tangleTag)

		ctx, stop := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { w.reap.run(ctx) })
		if plan.cancel >= 0 {
			time.AfterFunc(plan.cancel, w.pbx.giveUp)
		}
		work.Go(w.call.run)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		stop()
		select {
		case <-w.over:
			w.judge(judge)
		default:
			w.call.post(giveUp{})
			t.Errorf("the call is still %v", w.call.view.Load().phase)
			w.call.post(stopWanted{Internal})
		}
		work.Wait()
	})
}

// judge is what holds whatever happened.
func (w *tangle) judge(more func(w *tangle, r store.Record)) {
	t := w.t
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.failures {
		t.Error(f)
	}
	if w.connects > 1 || w.rings > 1 {
		t.Errorf("connect was sent %d times, the phone rang %d times; want at most once", w.connects, w.rings)
	}
	if w.live && w.heard {
		t.Error("a call lives on at Meta that we know of")
	}
	if !w.pbx.over {
		t.Errorf("a dialog is left at the PBX: final %d, acked %v", w.pbx.final, w.pbx.acked)
	}
	if n := w.book.left(); n != 0 {
		t.Errorf("%d ends are still owed", n)
	}
	if w.gone > 1 {
		t.Errorf("a call that is over was ended %d times", w.gone)
	}
	if len(w.book.records) != 1 {
		t.Fatalf("%d records, want one", len(w.book.records))
	}
	r := w.book.records[0]
	if w.rings > 0 && w.heard && r.WACID != string(tangleID) {
		t.Errorf("the record names call %q, want %s", r.WACID, tangleID)
	}
	if w.reg.count() != 0 || len(w.reg.wacids) != 0 || len(w.reg.names) != 0 || len(w.reg.tags) != 0 {
		t.Error("the registry still has names")
	}
	if _, stray := w.reg.stray(tangleTag, time.Now()); stray && w.heard {
		t.Error("a call that was named is still a stray")
	}
	more(w, r)
}

// upTo is a time from zero to a limit, or never in one of so many cases.
func upTo(rnd *rand.Rand, limit time.Duration, oneIn int) time.Duration {
	if oneIn > 0 && rnd.IntN(oneIn) == 0 {
		return never
	}
	return someOf(rnd, limit)
}

func someOf(rnd *rand.Rand, limit time.Duration) time.Duration {
	return time.Duration(rnd.Int64N(int64(limit)))
}

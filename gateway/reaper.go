package gateway

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// How an owed end is asked for again. Terminate and reject are harmless to
// repeat, so the first tries follow each other closely.
var debtBackoff = []time.Duration{
	200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second,
	5 * time.Second, 10 * time.Second, 30 * time.Second,
}

const (
	debtLife      = 15 * time.Minute // then an operator has to look
	leastTries    = 30               // before that, however far the clock went
	endLimit      = 2 * time.Second  // one terminate or reject
	dialogLimit   = 40 * time.Second // CANCEL and the late 2xx of an INVITE: 64*T1 and some
	endsAtOnce    = 200              // of WhatsApp calls
	dialogsAtOnce = 1000             // they may wait for a PBX that is silent, and must not keep the others
	debtPollLimit = time.Minute
	bookRest      = 10 * time.Second // before the next try, when the book could not be written
)

// graphEnder is what it takes to end a WhatsApp call.
type graphEnder interface {
	Reject(ctx context.Context, id whatsapp.CallID) error
	Terminate(ctx context.Context, id whatsapp.CallID) error
	Throttled() time.Duration
}

// debtBook is where owed ends are kept.
type debtBook interface {
	Debts(ctx context.Context) ([]store.Debt, error)
	Paid(ctx context.Context, id int64) error
	Postpone(ctx context.Context, id int64, tries int, next time.Time) error
}

// reaper ends what nobody owns any more: calls whose end was not confirmed in
// time, calls of an earlier run, strays. It works from the store, so a crash
// takes nothing off its list.
type reaper struct {
	book    debtBook
	ender   func(number string) graphEnder // nil when the number left the configuration
	dialogs interface {
		Recover(ctx context.Context, state []byte, r sip.Reason) error
	}
	metrics *metrics
	log     *slog.Logger
	wake    chan struct{} // one token: there is something new to pay
	asked   chan struct{} // somebody wants a sign of life
	over    chan struct{} // closed when run has returned
	now     func() time.Time

	life context.Context // of the payments that catchUp began
	end  context.CancelFunc
	work sync.WaitGroup // payments on their way
	mu   sync.Mutex
	busy map[int64]bool // the debts that they are for
	open map[string]int // how many of each kind
	gave map[int64]bool // those that were over since the last round began to read the book
	less chan struct{}  // closed and replaced when one of them is over
}

func newReaper(book debtBook, m *metrics, log *slog.Logger) *reaper {
	r := &reaper{
		book: book, metrics: m, log: log, now: time.Now, busy: map[int64]bool{}, open: map[string]int{}, gave: map[int64]bool{},
		wake: make(chan struct{}, 1), asked: make(chan struct{}), over: make(chan struct{}), less: make(chan struct{}),
	}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// poke tells the reaper that the book has a new entry.
func (r *reaper) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run pays debts until ctx ends.
func (r *reaper) run(ctx context.Context) {
	defer r.work.Wait()
	defer r.end()
	defer close(r.over)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.asked: // that it was taken is the answer
			continue
		case <-r.wake:
		case <-timer.C:
		}
		wait, _ := r.round(ctx)
		timer.Reset(wait)
	}
}

// turn asks the goroutine that pays for a sign of life. It fails when a round
// hangs.
func (r *reaper) turn(ctx context.Context) error {
	select {
	case r.asked <- struct{}{}:
		return nil
	case <-r.over:
		return errors.New("it has ended")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// round starts to pay every debt that is due, and returns how long to wait for
// the next one; crowded says that some of WhatsApp's calls have to wait for the
// others. A payment that takes its time holds up none of another kind.
func (r *reaper) round(ctx context.Context) (wait time.Duration, crowded bool) {
	r.mu.Lock()
	clear(r.gave) // the book shows from here on what became of them
	r.mu.Unlock()
	debts, err := r.book.Debts(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.log.Error("owed ends cannot be read", slog.Any("error", err))
		}
		return debtBackoff[len(debtBackoff)-1], false
	}
	r.report(debts)
	wait = debtPollLimit
	for _, d := range debts {
		if due := d.Next.Sub(r.now()); due > 0 && due <= longestPause { // else the clock went back since
			wait = min(wait, due)
			continue
		}
		switch r.take(d) {
		case taken:
			r.work.Go(func() { r.payOut(ctx, d) })
		case noRoom:
			crowded = crowded || d.Kind != debtDialog
		case notNow:
		}
	}
	return wait, crowded
}

// payOut pays a debt that was taken.
func (r *reaper) payOut(ctx context.Context, d store.Debt) {
	if !r.pay(ctx, d) {
		select { // the book still says that it is due
		case <-time.After(bookRest):
		case <-ctx.Done():
		}
	}
	r.give(d)
	r.poke()
}

type taking uint8

const (
	taken  taking = iota
	notNow        // somebody pays it, or the row may be older than what became of it
	noRoom        // too many are being paid
)

// take marks a debt as being paid.
func (r *reaper) take(d store.Debt) taking {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[d.ID] || r.gave[d.ID] {
		return notNow
	}
	open, most := r.open[debtTerminate]+r.open[debtReject], endsAtOnce
	if d.Kind == debtDialog {
		open, most = r.open[debtDialog], dialogsAtOnce
	}
	if open >= most {
		return noRoom
	}
	r.busy[d.ID] = true
	r.open[d.Kind]++
	return taken
}

// give says that a payment is over, whatever came of it.
func (r *reaper) give(d store.Debt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.busy, d.ID)
	r.open[d.Kind]--
	r.gave[d.ID] = true
	close(r.less)
	r.less = make(chan struct{})
}

func (r *reaper) report(debts []store.Debt) {
	count := map[string]float64{debtTerminate: 0, debtReject: 0, debtDialog: 0}
	var oldest time.Duration
	for _, d := range debts {
		count[d.Kind]++
		oldest = max(oldest, r.now().Sub(d.Since))
	}
	for kind, n := range count {
		r.metrics.debts.WithLabelValues(kind).Set(n)
	}
	r.metrics.debtOldest.Set(oldest.Seconds())
}

var errFault = errors.New("the gateway failed over it")

// pay tries one debt once and writes down what came of it; noted is false when
// that could not be written.
func (r *reaper) pay(ctx context.Context, d store.Debt) (noted bool) {
	err := errFault
	contain(r.metrics, r.log, func() { err = r.attempt(ctx, d) })
	if ctx.Err() != nil {
		return true // it stays in the book for the next run
	}
	log := r.log.With(slog.String("call", d.CallID), slog.String("kind", d.Kind), slog.Int("tries", d.Tries+1))
	switch {
	case err == nil:
		r.metrics.debtsPaid.WithLabelValues(d.Kind).Inc()
		log.Debug("owed end confirmed")
		err = r.book.Paid(ctx, d.ID)
	case r.now().After(d.Expires) && d.Tries >= leastTries:
		r.metrics.debtsExpired.WithLabelValues(d.Kind).Inc()
		log.Error("owed end given up, check this call at the far end", slog.Any("error", err))
		err = r.book.Paid(ctx, d.ID)
	default:
		log.Debug("owed end not confirmed yet", slog.Any("error", err))
		wait := max(debtBackoff[min(d.Tries, len(debtBackoff)-1)], metaPause(err), r.throttled(d.Number))
		err = r.book.Postpone(ctx, d.ID, d.Tries+1, r.now().Add(wait))
	}
	if err != nil && ctx.Err() == nil {
		log.Error("owed end cannot be updated", slog.Any("error", err))
	}
	return err == nil
}

// throttled is how long Meta wants no further request for the number.
func (r *reaper) throttled(number string) time.Duration {
	if e := r.ender(number); e != nil {
		return e.Throttled()
	}
	return 0
}

func (r *reaper) attempt(ctx context.Context, d store.Debt) error {
	switch d.Kind {
	case debtDialog:
		ctx, cancel := context.WithTimeout(ctx, dialogLimit)
		defer cancel()
		return r.dialogs.Recover(ctx, d.State, sip.Reason{
			Q850: Internal.releaseQ850(), Text: "gateway restarted", WAError: Internal.String(), Call: d.CallID,
		})
	default:
		return r.endGraph(ctx, d)
	}
}

// endGraph asks with the likelier verb first. A refusal means that the call is
// in the other state, so the other verb follows at once.
func (r *reaper) endGraph(ctx context.Context, d store.Debt) error {
	e := r.ender(d.Number)
	if e == nil {
		return errors.New("the number is no longer in the configuration")
	}
	verbs := []func(context.Context, whatsapp.CallID) error{e.Terminate, e.Reject}
	if d.Kind == debtReject {
		slices.Reverse(verbs)
	}
	var last error
	for _, ask := range verbs {
		limited, cancel := context.WithTimeout(ctx, endLimit)
		last = ask(limited, whatsapp.CallID(d.WACID))
		cancel()
		if !refused(last) {
			break
		}
	}
	if gone(last) {
		return nil
	}
	return last
}

// gone reports whether Meta says that there is no such call any more.
func gone(err error) bool {
	var api *whatsapp.APIError
	return errors.As(err, &api) && api.Gone()
}

// refused reports whether Meta understood and said no, for another reason than
// that the call is over.
func refused(err error) bool {
	var api *whatsapp.APIError
	return errors.As(err, &api) && !api.Gone() && !api.Temporary()
}

package gateway

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/store"
	"wagate/whatsapp"
)

// env is what all calls share. A call keeps the one it was born with, so a
// reload does not change the rules under it.
type env struct {
	cfg     *config.Config
	graph   func(number string) graph
	trunks  trunks
	audio   audio
	prompt  media.Sound // before a refusal, for calls to customers
	book    book
	limits  *trunkLimits
	metrics *metrics
	log     *slog.Logger
	owed    func() // there is a new debt
	over    func(c *Call)
	events  *feed
	traces  *traces // nil: calls are not traced
	cut     cutter
	late    func(ev whatsapp.Event) // its call is written down already
	depth   func(n int)             // the most inputs that ever waited for a call

	// For calls to customers.
	allowed func(ctx context.Context, o order) error // nil, or a *deniedError
	asked   func(o order, err error)                 // what Meta said of connect; nil when it took it
	named   func(c *Call, id whatsapp.CallID)        // Meta's id is known
	talked  func(o order, rec store.Record)          // the call is over
}

// Call is two legs and, while both are up, a bridge. Except where otherwise
// noted, all of it is owned by the goroutine of run; others post.
type Call struct {
	id    string
	env   *env
	order order
	log   *slog.Logger
	trace *trace

	inbox  *mailbox[input]
	ctx    context.Context // its end is the end of the call
	cancel context.CancelFunc
	ops    sync.WaitGroup
	view   atomic.Pointer[callState] // what others may see
	kept   atomic.Bool               // Meta's id is on disk

	m          machine
	in         ingress
	first      ingress // the ingress leg before any transfer
	out        map[uint8]egress
	addresses  [][]string // of each hop, fixed when the call was routed
	bridge     bridge
	hand       handover
	handTrunk  string   // of the last newcomer
	asker      referrer // who is told what becomes of it, nil for nobody
	wish       func()   // a transfer that was asked for too early, nil for none
	ringback   player   // what the customer hears meanwhile, nil for the phone
	seats      atomic.Uint32
	pending    []event // raised by legs in this turn, oldest first
	now        time.Time
	timer      *time.Timer
	waits      []*time.Timer
	rec        store.Record
	taken      time.Time     // when the callee answered
	retryAfter time.Duration // for a refusal towards a trunk
	perUser    bool          // the limit that is reached is this customer's alone
	notBefore  time.Time     // when Meta takes the next request
	detail     string        // why the rules refuse the call, for people
	wordless   bool          // and the spoken prompt does not say so
	lost       bool          // a call may exist at Meta under our tag that nobody can name
	written    bool          // the intent is on disk
	placed     chan Cause    // told once of a summoned call: NoCause when its INVITE leaves, else why it did not

	recorded bool // the record is on disk
	final    *ended

	mu      sync.Mutex
	closers []io.Closer // audio ends made beside the loop
}

// bridge lets both sides hear each other.
type bridge interface {
	Start()
	Stop()
	Swap(place media.Side, e media.Endpoint)
}

// ended is what is left of a call: its record and what is still owed.
type ended struct {
	record store.Record
	owed   []store.Debt
}

func newCall(e *env, id string, o order) *Call {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Call{
		id: id, env: e, order: o,
		log:    e.log.With(slog.String("call", id), slog.String("direction", o.direction), slog.String("number", o.number.Name)),
		inbox:  newMailbox[input](),
		ctx:    ctx,
		cancel: cancel,
		out:    map[uint8]egress{},
		placed: make(chan Cause, 1),
		trace:  e.traces.open(id, e.cut),
	}
	switch {
	case o.direction == inbound:
		c.in = newWAIngress(c)
	case o.summoned:
		c.in = newAgentLeg(c)
	}
	c.m.ToGraph, c.m.Summoned = o.direction == outbound, o.summoned
	c.hand.In = o.direction == outbound
	c.publish()
	return c
}

// post hands over what happened. It never blocks. When the call is over and off
// the registry it takes nothing any more.
func (c *Call) post(in input) (taken bool) { return c.inbox.put(in) }

// run is the life of the call. It returns when the record is written and
// nothing that belongs to the call runs any more.
func (c *Call) run() {
	defer c.finalize()
	c.first = c.in
	c.guard(c.begin)
	for c.final == nil {
		<-c.inbox.ready
		for _, in := range c.inbox.take() {
			c.guard(func() { c.handle(in) })
		}
	}
}

// guard runs one turn of the loop. A panic ends this call and no other.
func (c *Call) guard(turn func()) {
	defer c.publish()
	c.now = time.Now()
	if !contain(c.env.metrics, c.log, turn) {
		return
	}
	c.pending = nil
	if c.m.Phase >= Ending { // it failed while it was ending: nothing is left to lose
		c.record(c.m.Cause, true)
		return
	}
	c.post(stopWanted{Internal})
}

func (c *Call) emit(ev event) {
	if end, ok := ev.(calleeEnded); ok {
		end.Over = c.impatient()
		ev = end
	}
	c.hand.pass(ev, c.talks(), c)
}

// sides returns every leg that the call has had.
func (c *Call) sides() []side {
	legs := []side{c.first}
	for _, leg := range c.out {
		legs = append(legs, leg)
	}
	return legs
}

// drain feeds the machine what the legs said, in order.
func (c *Call) drain() {
	for len(c.pending) > 0 {
		ev := c.pending[0]
		c.pending = c.pending[1:]
		before := c.m.Phase
		c.m.step(ev, c)
		c.log.Debug("call event", slog.Any("event", ev), slog.String("before", before.String()), slog.String("after", c.m.Phase.String()))
	}
	c.pending = nil
}

// do runs what may wait beside the loop, under a deadline. What f returns comes
// back as an input; nil says nothing.
func (c *Call) do(limit time.Duration, f func(ctx context.Context) input) {
	c.ops.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, limit)
		defer cancel()
		if c.trace != nil {
			ctx = whatsapp.Traced(ctx, c.trace.graph)
		}
		var in input
		if contain(c.env.metrics, c.log, func() { in = f(ctx) }) {
			in = stopWanted{Internal}
		}
		if in != nil {
			c.post(in)
		}
	})
}

// after posts in when d is over, unless the call ends before.
func (c *Call) after(d time.Duration, in input) {
	c.waits = append(c.waits, time.AfterFunc(d, func() { c.post(in) }))
}

// keep makes sure that an end of audio is closed with the call, whatever comes.
func (c *Call) keep(end io.Closer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closers = append(c.closers, end)
}

// finalize writes the record, takes the names off, and leaves nothing running.
func (c *Call) finalize() {
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, t := range c.waits {
		t.Stop()
	}
	c.cancel()
	c.ops.Wait()
	c.absorb()
	for _, leg := range c.sides() {
		leg.giveBack() // one that never confirmed its end holds no place either
	}
	c.closeAudio()
	c.writeRecord()
	c.env.depth(c.inbox.depth())
	c.env.over(c)
	for _, in := range c.inbox.close() { // nobody finds the call any more
		if hook, ok := in.(hooked); ok {
			c.env.late(hook.event)
		}
		if guest, ok := in.(guestCame); ok {
			guest.guest.turnedAway()
		}
	}
}

// closeAudio closes every end of audio that was made.
func (c *Call) closeAudio() {
	c.mu.Lock()
	closers := c.closers
	c.closers = nil
	c.mu.Unlock()
	for _, end := range closers {
		contain(c.env.metrics, c.log, func() {
			if err := end.Close(); err != nil {
				c.log.Debug("audio did not close cleanly", slog.Any("error", err))
			}
		})
	}
}

// absorb takes what came after the end.
func (c *Call) absorb() {
	for _, in := range c.inbox.take() {
		c.late(in)
	}
}

// late takes one input that came after the end: an INVITE that will not leave
// now, and what Meta says of the call, as long as the record is not written. It
// may be the first to name a call whose connect reply was lost.
func (c *Call) late(in input) {
	if ready, ok := in.(dialReady); ok && ready.dial != nil {
		if leg, ok := c.leg(ready.leg()).(interface{ takeLate(d *trunkDial) }); ok {
			leg.takeLate(ready.dial)
		}
	}
	if guest, ok := in.(guestCame); ok {
		guest.guest.turnedAway()
	}
	if done, ok := in.(graphDone); ok {
		c.lateNamed(done.id, true)
	}
	if hook, ok := in.(hooked); ok {
		c.lateNamed(hook.event.About().CallID, !over(hook.event))
		if end, ok := hook.event.(whatsapp.Terminate); ok {
			billed(&c.final.record, end)
		}
	}
}

// lateNamed gives a call that was given up without a name its name. If it lives,
// its end is owed; and it is a stray no more.
func (c *Call) lateNamed(id whatsapp.CallID, lives bool) {
	if !c.lost || id == "" {
		return
	}
	c.lost = false
	c.rec.WACID = string(id)
	c.final.record.WACID = c.rec.WACID
	c.env.named(c, id)
	if lives {
		c.final.owed = append(c.final.owed, c.owe(store.Debt{Kind: debtTerminate, WACID: c.rec.WACID}, 0)...)
	}
}

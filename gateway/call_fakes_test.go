package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// ledger is what the fakes saw, in order, one word each.
type ledger struct {
	mu    sync.Mutex
	words []string
}

func (l *ledger) write(word string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.words = append(l.words, word)
}

func (l *ledger) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	words := l.words
	l.words = nil
	return words
}

// fakeGraph answers each verb with the next of its results; none left is
// success.
type fakeGraph struct {
	*ledger
	results map[string][]error
	slow    map[string]time.Duration
	pause   atomic.Int64 // how long Meta wants no request, in nanoseconds
}

func (g *fakeGraph) ask(ctx context.Context, verb string) error {
	g.write(verb)
	if d := g.slow[verb]; d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return errors.Join(whatsapp.ErrUnknown, ctx.Err())
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if rest := g.results[verb]; len(rest) > 0 {
		g.results[verb] = rest[1:]
		return rest[0]
	}
	return nil
}

func (g *fakeGraph) Throttled() time.Duration { return time.Duration(g.pause.Load()) }

func (g *fakeGraph) PreAccept(ctx context.Context, _ whatsapp.CallID, answer string) error {
	return g.ask(ctx, "pre_accept:"+answer)
}

func (g *fakeGraph) Accept(ctx context.Context, _ whatsapp.CallID, answer, _ string) error {
	return g.ask(ctx, "accept:"+answer)
}

func (g *fakeGraph) Connect(ctx context.Context, _ whatsapp.Callee, _, tag string) (whatsapp.CallID, error) {
	return "wacid.B", g.ask(ctx, "connect:"+tag)
}

func (g *fakeGraph) Reject(ctx context.Context, _ whatsapp.CallID) error { return g.ask(ctx, "reject") }

func (g *fakeGraph) Terminate(ctx context.Context, _ whatsapp.CallID) error {
	return g.ask(ctx, "terminate")
}

// fakeTrunks hands every INVITE to the test.
type fakeTrunks struct {
	*ledger
	targets  map[string][]string
	sessions chan *fakeSession // as many as one call may place
	refuse   error
}

func (f *fakeTrunks) Targets(trunk string) []string { return f.targets[trunk] }

func (f *fakeTrunks) Address(string, string) netip.Addr { return netip.Addr{} }

func (f *fakeTrunks) Prepare(o sip.Outgoing, notify func(sip.Event)) (session, error) {
	if f.refuse != nil {
		return nil, f.refuse
	}
	return &fakeSession{ledger: f.ledger, trunks: f, out: o, notify: notify}, nil
}

type fakeSession struct {
	*ledger
	trunks *fakeTrunks
	out    sip.Outgoing
	notify func(sip.Event)

	reasons []sip.Reason // of its BYEs
}

func (s *fakeSession) Start() {
	s.write("INVITE " + s.out.Target + " " + s.out.To)
	s.trunks.sessions <- s
}

func (s *fakeSession) Press(key byte, d time.Duration) {
	s.write("INFO " + string(key) + " " + d.String())
}
func (s *fakeSession) State() []byte     { return []byte(s.out.Target) }
func (s *fakeSession) Cancel(sip.Reason) { s.write("CANCEL " + s.out.Target) }
func (s *fakeSession) Abandon()          { s.write("abandon " + s.out.Target) }

func (s *fakeSession) CallID() string                  { return s.out.To }
func (s *fakeSession) TakeRefer()                      { s.write("202") }
func (s *fakeSession) RefuseRefer(n int, _ sip.Reason) { s.write("REFER refused " + strconv.Itoa(n)) }
func (s *fakeSession) Progressed(n int)                { s.write("NOTIFY " + strconv.Itoa(n)) }

func (s *fakeSession) Bye(r sip.Reason) {
	s.write("BYE " + s.out.Target)
	s.reasons = append(s.reasons, r)
}

func (s *fakeSession) answer() {
	s.notify(sip.Accepted{SDP: []byte("answer")})
}

// fakeAudio makes ends of audio that fail when the test says so.
type fakeAudio struct {
	*ledger
	connect    bool // peers come up at once
	answerErr  error
	slowAnswer time.Duration
	sdpErr     error
	endless    bool // a prompt never ends
	peer       *fakePeer
	sockets    []*fakeSocket
	plain      []bool
}

func (a *fakeAudio) Peer(media.PeerOptions) (peer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.peer = &fakePeer{newFakeEnd(a.ledger, "whatsapp")}
	a.peer.err, a.peer.slow = a.answerErr, a.slowAnswer
	if a.connect {
		close(a.peer.connected)
	}
	return a.peer, nil
}

func (a *fakeAudio) Socket(o media.SocketOptions) (socket, error) {
	s := &fakeSocket{newFakeEnd(a.ledger, "sip")}
	s.err = a.sdpErr
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sockets = append(a.sockets, s)
	a.plain = append(a.plain, o.Plain)
	return s, nil
}

// fakePlayer takes its time and plays nothing.
type fakePlayer struct {
	*ledger
	length time.Duration
	done   chan struct{}
	timer  *time.Timer
}

func (a *fakeAudio) Player(_ media.Endpoint, s media.Sound) player {
	if s.Length() == 0 {
		return &fakeTone{ledger: a.ledger}
	}
	p := &fakePlayer{ledger: a.ledger, length: s.Length(), done: make(chan struct{})}
	if a.endless {
		p.length = time.Hour
	}
	return p
}

func (p *fakePlayer) Start() {
	p.write("prompt")
	p.timer = time.AfterFunc(p.length, func() { close(p.done) })
}

func (p *fakePlayer) Stop() {
	if p.timer.Stop() { // before its end, and once
		p.write("hush")
	}
}

func (p *fakePlayer) Done() <-chan struct{} { return p.done }

// fakeTone is a sound without end.
type fakeTone struct {
	*ledger
	over bool
}

func (p *fakeTone) Start()                { p.write("ringback") }
func (p *fakeTone) Done() <-chan struct{} { return nil }

func (p *fakeTone) Stop() {
	if !p.over {
		p.over = true
		p.write("ringback off")
	}
}

type fakeEnd struct {
	*ledger
	side      string
	connected chan struct{}
	heard     chan struct{}
	failed    chan struct{}
	err       error
	slow      time.Duration
	codec     media.Codec
	said      atomic.Value // string: the far end's last description of itself
}

func newFakeEnd(l *ledger, side string) *fakeEnd {
	return &fakeEnd{
		ledger: l, side: side, connected: make(chan struct{}), heard: make(chan struct{}), failed: make(chan struct{}), codec: media.PCMA,
	}
}

func (e *fakeEnd) Push(*media.Frame)                {}
func (e *fakeEnd) SetSink(media.Sink, media.Format) {}
func (e *fakeEnd) Codec() media.Codec               { return e.codec }
func (e *fakeEnd) Stats() media.Stats               { return media.Stats{PacketsIn: 1} }
func (e *fakeEnd) Close() error                     { return nil }
func (e *fakeEnd) Heard() <-chan struct{}           { return e.heard }
func (e *fakeEnd) Connected() <-chan struct{}       { return e.connected }
func (e *fakeEnd) Failed() <-chan struct{}          { return e.failed }
func (e *fakeEnd) Err() error                       { return e.err }
func (e *fakeEnd) Open()                            { e.write("open " + e.side) }

type fakePeer struct{ *fakeEnd }

func (p fakePeer) Answer(context.Context, string) (string, error) {
	time.Sleep(p.slow)
	return "sdp", p.err
}

func (p fakePeer) Offer(context.Context) (string, error) { return "sdp", p.err }
func (p fakePeer) SetAnswer(string) error                { return p.err }

type fakeSocket struct{ *fakeEnd }

func (s fakeSocket) Offer() []byte                 { return []byte("offer") }
func (s fakeSocket) Answer([]byte) ([]byte, error) { return []byte("answer"), s.err }
func (s fakeSocket) SetAnswer(sdp []byte) error {
	s.said.Store(string(sdp))
	return s.err
}

func (s fakeSocket) Press(k media.Key) error {
	s.write("key " + strconv.Itoa(int(k.Code)) + " " + k.Duration.String())
	return nil
}

func (s fakeSocket) Reoffer(sdp []byte) ([]byte, error) {
	s.said.Store(string(sdp))
	return []byte("answer"), s.err
}

// fakeCaller is the INVITE of a trunk.
type fakeCaller struct{ *ledger }

func (c fakeCaller) State() []byte                   { return []byte("caller") }
func (c fakeCaller) Noted()                          {}
func (c fakeCaller) Ring()                           { c.write("180") }
func (c fakeCaller) Progress([]byte)                 { c.write("183") }
func (c fakeCaller) Answer([]byte)                   { c.write("200") }
func (c fakeCaller) Bye(sip.Reason)                  { c.write("BYE caller") }
func (c fakeCaller) CallID() string                  { return "caller" }
func (c fakeCaller) TakeRefer()                      { c.write("202") }
func (c fakeCaller) RefuseRefer(n int, _ sip.Reason) { c.write("REFER refused " + strconv.Itoa(n)) }
func (c fakeCaller) Progressed(n int)                { c.write("NOTIFY " + strconv.Itoa(n)) }
func (c fakeCaller) Abandon()                        { c.write("abandon caller") }
func (c fakeCaller) Press(key byte, d time.Duration) {
	c.write("INFO " + string(key) + " " + d.String())
}

func (c fakeCaller) Refuse(status int, r sip.Reason, _ time.Duration) {
	c.write(strconv.Itoa(status) + " " + r.WAError)
}

// fakeBook remembers what a store would.
type fakeBook struct {
	*ledger
	beginErr, dialogErr error
	slowDialog          time.Duration
	endErrs             []error
	records             []store.Record
	owed                []store.Debt
	strays              []string
	dialogs             map[int]string // state by attempt
}

func (b *fakeBook) Begin(context.Context, store.Call, string) error {
	b.write("begin")
	return b.beginErr
}

func (b *fakeBook) SaveDialog(_ context.Context, _ string, d store.Dialog) error {
	b.write("save " + string(d.State))
	b.mu.Lock()
	if b.dialogs == nil {
		b.dialogs = map[int]string{}
	}
	b.dialogs[d.Attempt] = d.To
	b.mu.Unlock()
	time.Sleep(b.slowDialog)
	return b.dialogErr
}

func (b *fakeBook) DropDialog(_ context.Context, _ string, attempt int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.dialogs, attempt)
	return nil
}

func (b *fakeBook) Progress(context.Context, string, store.Progress) error { return nil }

func (b *fakeBook) End(_ context.Context, r store.Record, owed []store.Debt, tag string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.endErrs) > 0 {
		err := b.endErrs[0]
		b.endErrs = b.endErrs[1:]
		return err
	}
	b.records = append(b.records, r)
	b.owed = append(b.owed, owed...)
	if tag != "" {
		b.strays = append(b.strays, tag)
	}
	return nil
}

// rehearsal is one call among fakes, in a bubble of fake time.
type rehearsal struct {
	t     *testing.T
	seen  *ledger
	graph *fakeGraph
	trunk *fakeTrunks
	audio *fakeAudio
	book  *fakeBook
	call  *Call
	over  chan struct{}
	env   *env
	// What the rules say of a call to a customer.
	denied error
}

const fakeSessions = 16

// rehearse runs a story about one call. The call must be over when it ends.
func rehearse(t *testing.T, hops []config.Hop, story func(s *rehearsal)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		s := &rehearsal{
			t: t, seen: l, over: make(chan struct{}),
			graph: &fakeGraph{ledger: l, results: map[string][]error{}, slow: map[string]time.Duration{}},
			trunk: &fakeTrunks{ledger: l, targets: map[string][]string{"pbx": {"sip:10.0.0.1"}, "two": {"sip:10.0.0.2", "sip:10.0.0.3"}}, sessions: make(chan *fakeSession, fakeSessions)},
			audio: &fakeAudio{ledger: l, connect: true},
			book:  &fakeBook{ledger: l},
		}
		cfg := config.Default()
		cfg.Trunks = []config.Trunk{{Name: "pbx", MaxCalls: 10, MaxCPS: 10}, {Name: "two", MaxCalls: 10, MaxCPS: 10}}
		e := s.surroundings(cfg)
		s.env = e
		offer := whatsapp.Offer{
			Meta: whatsapp.Meta{Key: "k", NumberID: "1", CallID: "wacid.A", At: time.Now()},
			User: whatsapp.User{Number: "34600111222", Name: "Nuria"}, SDP: "offer",
		}
		o := orderOf(offer, config.Number{Name: "support"})
		o.route, o.ring, o.hops = "support", 20*time.Second, hops
		s.call = newCall(e, "call", o)
		story(s)
		synctest.Wait()
		select {
		case <-s.over:
		default:
			t.Fatalf("the call is still %v, last seen: %v", s.call.view.Load().phase, s.seen.take())
		}
	})
}

// surroundings are what the call takes for the gateway.
func (s *rehearsal) surroundings(cfg *config.Config) *env {
	return &env{
		cfg: cfg, graph: func(string) graph { return s.graph }, trunks: s.trunk, audio: s.audio, book: s.book,
		limits: newTrunkLimits(), metrics: newMetrics(nil, "test"), log: slog.New(slog.DiscardHandler),
		owed: func() {}, over: func(*Call) { close(s.over) }, late: func(whatsapp.Event) {}, depth: func(int) {},
		allowed: func(context.Context, order) error { return s.denied }, asked: func(order, error) {},
		named: func(*Call, whatsapp.CallID) {}, talked: func(order, store.Record) {},
	}
}

func (s *rehearsal) start() { go s.call.run(); synctest.Wait() }

// dialled returns the INVITE that has just left.
func (s *rehearsal) dialled() *fakeSession {
	s.t.Helper()
	synctest.Wait()
	select {
	case d := <-s.trunk.sessions:
		return d
	default:
		s.t.Fatalf("no INVITE; seen: %v", s.seen.take())
		return nil
	}
}

// saw checks what was seen since the last look, in any order.
func (s *rehearsal) saw(story string, want ...string) {
	s.t.Helper()
	synctest.Wait()
	got := s.seen.take()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Fatalf("%s:\n got %v\nwant %v", story, got, want)
	}
}

func (s *rehearsal) hook(ev whatsapp.Event) { s.call.post(hooked{ev}); synctest.Wait() }

func (s *rehearsal) customerHangsUp() {
	s.hook(whatsapp.Terminate{Meta: whatsapp.Meta{CallID: "wacid.A"}})
}

// ended checks the one record.
func (s *rehearsal) ended(cause Cause, by string) store.Record {
	s.t.Helper()
	synctest.Wait()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if len(s.book.records) != 1 {
		s.t.Fatalf("got %d records, want 1; phase %v, seen %v", len(s.book.records), s.call.view.Load().phase, s.seen.words)
	}
	r := s.book.records[0]
	if r.Cause != cause.String() || r.EndedBy != by {
		s.t.Fatalf("record says %s by %s, want %v by %s", r.Cause, r.EndedBy, cause, by)
	}
	return r
}

func (s *rehearsal) phase(want Phase) {
	s.t.Helper()
	synctest.Wait()
	if got := s.call.view.Load().phase; got != want {
		s.t.Fatalf("phase is %v, want %v", got, want)
	}
}

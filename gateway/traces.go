package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// traceGrace is how long a trace stays open after its call: the answer to a BYE,
// the ACK of a refusal and Meta's terminate come after the end.
const traceGrace = 5 * time.Second

// traceStore keeps the traces of ended calls.
type traceStore interface {
	SaveTrace(ctx context.Context, t store.Trace) error
	Trace(ctx context.Context, callID string) ([]byte, error)
}

// traces has those of calls that have just ended, until they are on disk. Traces
// of live calls are with the call. Its mutex is a leaf.
type traces struct {
	store  traceStore
	log    *slog.Logger
	memory atomic.Int64

	mu    sync.Mutex
	ended map[string]*endedTrace
}

type endedTrace struct {
	trace *trace
	row   store.Trace
	wacid whatsapp.CallID
	timer *time.Timer

	written sync.Once // or given up
}

func newTraces(s traceStore, log *slog.Logger) *traces {
	return &traces{store: s, log: log, ended: map[string]*endedTrace{}}
}

// open begins the trace of a call. Without traces it is nil.
func (t *traces) open(call string, c cutter) *trace {
	if t == nil {
		return nil
	}
	return newTrace(call, c, &t.memory)
}

// over takes the trace of a call that has its record. write runs later, beside
// everything else.
func (t *traces) over(tr *trace, r store.Record, beside func(func())) {
	if t == nil || tr == nil {
		return
	}
	e := &endedTrace{
		trace: tr, wacid: whatsapp.CallID(r.WACID),
		row: store.Trace{CallID: r.ID, User: r.User, UserID: r.UserID, EndedAt: r.EndedAt},
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[r.ID] = e
	e.timer = time.AfterFunc(traceGrace, func() { beside(func() { t.write(context.Background(), r.ID) }) })
}

// webhook adds an event of a call that is over.
func (t *traces) webhook(ev whatsapp.Event, now time.Time) {
	if t == nil {
		return
	}
	t.mu.Lock()
	var found *trace
	for _, e := range t.ended {
		if e.wacid != "" && e.wacid == ev.About().CallID {
			found = e.trace
		}
	}
	t.mu.Unlock()
	found.webhook(ev, now)
}

// write puts the trace of an ended call on disk. It is shown from memory until
// it is there; where it cannot be written it is lost.
func (t *traces) write(ctx context.Context, id string) {
	t.mu.Lock()
	e := t.ended[id]
	t.mu.Unlock()
	if e == nil {
		return
	}
	e.timer.Stop()
	e.written.Do(func() { // whoever comes second waits for it
		t.save(ctx, e)
		t.mu.Lock()
		delete(t.ended, id)
		t.mu.Unlock()
		e.trace.close()
	})
}

func (t *traces) save(ctx context.Context, e *endedTrace) {
	var err error
	if e.row.Body, err = json.Marshal(e.trace.view()); err == nil {
		ctx, cancel := context.WithTimeout(ctx, saveLimit)
		defer cancel()
		err = t.store.SaveTrace(ctx, e.row)
	}
	if err != nil {
		t.log.Warn("trace of a call is lost", slog.String("call", e.row.CallID), slog.Any("error", err))
	}
}

// flush writes what waits: the gateway ends, or a customer is to be forgotten.
func (t *traces) flush() {
	t.mu.Lock()
	ids := make([]string, 0, len(t.ended))
	for id := range t.ended {
		ids = append(ids, id)
	}
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() { t.write(ctx, id) }) // which share commits
	}
	all.Wait()
}

// show is the trace of a call that is over, nil when there is none.
func (t *traces) show(ctx context.Context, id string) (json.RawMessage, error) {
	t.mu.Lock()
	e := t.ended[id]
	t.mu.Unlock()
	if e != nil {
		return json.Marshal(e.trace.view())
	}
	return t.store.Trace(ctx, id)
}

package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

const (
	// readFor is how long an answer of Meta's is not asked for again.
	readFor = 5 * time.Minute
	// readEvery is the pace of questions for one business number: Meta's
	// stricter page allows five a second.
	readEvery = 250 * time.Millisecond
	// readWait is how long a call waits for its turn to ask, and metaReadTimeout for
	// the answer: together less than a call has for finding its way.
	readWait        = 500 * time.Millisecond
	metaReadTimeout = 2 * time.Second
	// readPause is how long nobody asks after Meta could not answer.
	readPause = 10 * time.Second
	// nearLimit is how close to Meta's limit of connected calls its own count
	// is asked for.
	nearLimit = 5
	// metaClock is how far Meta's clock may be from ours.
	metaClock = 5 * time.Second
)

// metaKnowsBetter says whether Meta may know more than the ledger.
func metaKnowsBetter(p whatsapp.Permission, now time.Time, rules config.Permissions) bool {
	if !p.ReadAt.IsZero() && now.Sub(p.ReadAt).Abs() < readFor {
		return false
	}
	no := denialOf(p.MayCall(now, rules))
	if no == nil {
		return len(p.Calls) >= p.MaxCalls()-nearLimit
	}
	return no.Reason != whatsapp.ReasonUnanswered // of that Meta tells nothing
}

// learn asks Meta and tells the ledger. It returns what is known then: without
// an answer, what was known before. Who asks for a customer while somebody else
// does gets that answer.
func (p *permissions) learn(
	ctx context.Context, number config.Number, who whatsapp.Callee, before whatsapp.Permission, now time.Time,
) whatsapp.Permission {
	graph := p.graph(number.Name)
	if graph == nil {
		return before
	}
	first, done := p.reads.enter(ctx, number.PhoneNumberID+" "+who.UserID+" "+who.Number)
	defer done()
	defer p.flights.begin()()
	after, err := p.ledger.Permission(ctx, number.PhoneNumberID, who)
	switch {
	case err != nil && !first:
		return before
	case !first, err == nil && after.ReadAt.After(before.ReadAt): // somebody has just asked
		return after
	}
	if !p.reads.wait(ctx, number.PhoneNumberID) {
		return before
	}
	limited, cancel := context.WithTimeout(ctx, metaReadTimeout)
	told, err := graph.Permissions(limited, who)
	cancel()
	if err != nil {
		var api *whatsapp.APIError
		if !errors.As(err, &api) {
			p.reads.pause(number.PhoneNumberID, readPause)
		} else if api.Temporary() {
			p.reads.pause(number.PhoneNumberID, max(api.RetryAfter, readPause))
		}
		p.log.Warn("permission cannot be read", slog.String("number", number.Name), slog.Any("error", err))
		return before
	}
	var is whatsapp.Permission
	err = p.flights.land(who, func() (err error) {
		is, err = p.change(ctx, "", number.PhoneNumberID, who, time.Time{}, now, func(old whatsapp.Permission) whatsapp.Permission {
			if !old.SaidAt.Equal(before.SaidAt) {
				return old // news came meanwhile, and may be newer
			}
			return old.Learned(told)
		})
		return err
	})
	if err != nil {
		p.log.Error("permission cannot be written down", slog.String("number", number.Name), slog.Any("error", err))
		return before.Learned(told)
	}
	return is
}

// metaReads keeps the questions to Meta few: one at a time for a customer, and
// in a pace for a business number.
type metaReads struct {
	every time.Duration // 0: no pace

	mu   sync.Mutex
	busy map[string]chan struct{} // by customer; closed when the answer is in the ledger
	next map[string]time.Time     // by business number: when the next may be asked
}

func newMetaReads(every time.Duration) *metaReads {
	return &metaReads{every: every, busy: map[string]chan struct{}{}, next: map[string]time.Time{}}
}

// enter lets one in; the others wait until that one is done. done must be
// called by all.
func (r *metaReads) enter(ctx context.Context, key string) (first bool, done func()) {
	r.mu.Lock()
	busy, taken := r.busy[key]
	if !taken {
		busy = make(chan struct{})
		r.busy[key] = busy
	}
	r.mu.Unlock()
	if !taken {
		return true, func() {
			r.mu.Lock()
			delete(r.busy, key)
			r.mu.Unlock()
			close(busy)
		}
	}
	select {
	case <-busy:
	case <-ctx.Done():
	}
	return false, func() {}
}

// wait is the pace. It reports whether it is our turn: not if that would take
// too long.
func (r *metaReads) wait(ctx context.Context, number string) bool {
	if r.every == 0 {
		return true
	}
	now := time.Now()
	r.mu.Lock()
	turn := r.next[number]
	if turn.Before(now) {
		turn = now
	}
	if turn.Sub(now) > readWait {
		r.mu.Unlock()
		return false
	}
	r.next[number] = turn.Add(r.every)
	r.mu.Unlock()
	timer := time.NewTimer(turn.Sub(now))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// pause keeps everybody from asking for a while.
func (r *metaReads) pause(number string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next[number] = time.Now().Add(d)
}

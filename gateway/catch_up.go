package gateway

import (
	"context"
	"time"
)

// pbxMoment is how long a start waits for the PBX, T1 of SIP: one that is there has
// answered a BYE by then.
const pbxMoment = 500 * time.Millisecond

// catchUp begins to pay what an earlier run left, and returns when Meta has been
// told of every call, or when ctx ends. The PBX has a moment to confirm: one that
// does not answer must not keep us from hearing of calls. What is not confirmed
// goes on beside the new calls.
func (r *reaper) catchUp(ctx context.Context) {
	moment, cancel := context.WithTimeout(ctx, pbxMoment)
	defer cancel()
	for crowded := true; crowded && ctx.Err() == nil; {
		_, crowded = r.round(r.life)
		r.settle(moment, debtDialog)
		r.settle(ctx, debtTerminate, debtReject)
	}
}

// settle waits until no payment of those kinds is on its way.
func (r *reaper) settle(ctx context.Context, kinds ...string) {
	for {
		r.mu.Lock()
		open, less := 0, r.less
		for _, kind := range kinds {
			open += r.open[kind]
		}
		r.mu.Unlock()
		if open == 0 {
			return
		}
		select {
		case <-less:
		case <-ctx.Done():
			return
		}
	}
}

// close ends what catchUp began. What is not paid stays in the book.
func (r *reaper) close() error {
	r.end()
	r.work.Wait()
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// overloaded offers more calls than the gateway can carry, at an even rate, and
// goes on to offer while it measures those that were admitted: they have to stay
// clean, and the others have to be refused.
func (p *plan) overloaded(ctx context.Context, b *bench) error {
	s := b.wagate(p.offered, pcmaCodec, "")
	s.capacity, s.limit = 10*p.offered, p.limit
	defer s.stop()
	if err := s.start(ctx); err != nil {
		return err
	}
	before, err := s.process().usage()
	if err != nil {
		return err
	}
	t := b.newTable(fmt.Sprintf("whole gateway past the knee: %d calls offered, %d a second, limits.cpu %d", p.offered, b.rate, p.limit))
	talker := newTalker(b.speech)
	o := &offering{}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var crowd sync.WaitGroup
	crowd.Go(func() { o.run(ctx, b, s, talker) })
	defer func() {
		stop()
		crowd.Wait()
		talker.close()
		for _, c := range o.all {
			c.close()
		}
	}()
	if err := wait(ctx, time.Duration(p.offered)*time.Second/time.Duration(b.rate)); err != nil {
		return err
	}
	admitted, refused, failed := o.count()
	r, err := b.watch(ctx, s, admitted, talker)
	if err != nil {
		return err
	}
	r.rss -= before.rss
	t.row(r)
	later, further, failing := o.count()
	b.say("of %d calls offered %d were admitted, %d refused, %d failed; while it was measured %d, %d and %d more",
		len(admitted)+refused+failed, len(admitted), refused, failed, len(later)-len(admitted), further-refused, failing-failed)
	return nil
}

// offering is a crowd that goes on to call.
type offering struct {
	mu       sync.Mutex
	all      []*call
	admitted []*call
	refused  int
	failed   int
}

func (o *offering) count() (admitted []*call, refused, failed int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.admitted[:len(o.admitted):len(o.admitted)], o.refused, o.failed
}

func (o *offering) run(ctx context.Context, b *bench, s subject, talker *talker) {
	var calls sync.WaitGroup
	defer calls.Wait()
	tick := time.NewTicker(time.Second / time.Duration(b.rate))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		calls.Go(func() {
			c, err := b.newCall(fmt.Sprintf("wacid.BENCH%06d", i), pcmaCodec)
			if err == nil {
				talker.listen(c)
				err = b.connectOne(ctx, s, c)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			if c == nil { // no port is left
				o.failed++
				return
			}
			o.all = append(o.all, c)
			switch {
			case ctx.Err() != nil:
			case err == nil:
				o.admitted = append(o.admitted, c)
				talker.talk(c)
			case errors.Is(err, errRefused):
				o.refused++
				talker.forget(c)
			default:
				o.failed++
				talker.forget(c)
			}
		})
	}
}

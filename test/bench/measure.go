package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// once is one measurement of n calls, from a fresh process to its end.
func (b *bench) once(ctx context.Context, s subject, phone codec, n int) (*result, error) {
	defer s.stop()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	before, err := s.process().usage()
	if err != nil {
		return nil, err
	}
	talker := newTalker(b.speech)
	calls, err := b.connectAll(ctx, s, phone, n, talker)
	defer func() {
		talker.close()
		for _, c := range calls {
			if c != nil {
				c.close()
			}
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("%w; its log ends: %s", errors.Join(err, s.process().alive()), s.process().words())
	}
	if err := wait(ctx, b.settle); err != nil {
		return nil, err
	}
	r, err := b.watch(ctx, s, calls, talker)
	if err != nil {
		return nil, err
	}
	r.rss -= before.rss
	return r, nil
}

// watch measures calls that are up.
func (b *bench) watch(ctx context.Context, s subject, calls []*call, talker *talker) (*result, error) {
	talker.reset()
	from, err := s.process().usage()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for _, c := range calls {
		c.toPhone.begin()
		c.toWA.begin()
	}
	if w, ok := s.(*wagate); ok && b.profile != "" {
		go w.save(ctx, b.profile, b.measure)
	}
	if err := wait(ctx, b.measure); err != nil {
		return nil, err
	}
	to, err := s.process().usage()
	if err != nil {
		return nil, err
	}
	ended := time.Now()
	r := &result{subject: s.name(), calls: len(calls), cpu: to.cpu - from.cpu, rss: to.rss, took: ended.Sub(began)}
	r.worst, r.slipped = talker.own()
	for _, c := range calls {
		c.toPhone.end()
		c.toWA.end()
	}
	if err := wait(ctx, underWay); err != nil {
		return nil, err
	}
	for _, c := range calls {
		r.toPhone.add(c.toPhone.collect())
		r.toWA.add(c.toWA.collect())
		r.setups = append(r.setups, c.setup)
	}
	return r, nil
}

// underWay is how long packets that count are waited for.
const underWay = 500 * time.Millisecond

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

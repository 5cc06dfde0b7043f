package fakemeta

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// lane keeps webhooks in their order: those of a call, or those about messages
// between a business number and a user.
type lane struct {
	mu   sync.Mutex
	last <-chan struct{} // the last webhook's first attempt is over
	held []chan struct{} // webhooks that wait for the next one
}

// deliver sends an event on its way. Events of one lane are attempted in their
// order; only an attempt that fails, or an upset, lets a later one overtake.
func (s *Server) deliver(l *lane, h hook) { s.deliverLate(l, h, 0) }

// deliverLate is deliver with a delay, for which later events do not wait.
func (s *Server) deliverLate(l *lane, h hook, late time.Duration) {
	u := s.upsets.take(h)
	u.Delay += late
	tried := make(chan struct{}) // the first attempt is over
	l.mu.Lock()
	before, release := l.last, l.held
	l.last, l.held = tried, nil
	var swap chan struct{}
	if u.Swap {
		swap = make(chan struct{})
		l.held = append(l.held, swap)
	}
	l.mu.Unlock()
	s.owed.add(1)
	if !s.spawn(func() {
		defer s.owed.add(-1)
		s.wait(before)
		if u.Swap || u.Delay > 0 || u.Drop {
			close(tried) // nobody waits for this one
			tried = nil
		}
		if !u.Drop {
			s.wait(swap)
			s.pause(s.ctx, u.Delay)
			if u.Forge {
				s.attempt(s.body([]hook{h}), []hook{h}, 1, true)
			}
			for range u.Copies {
				s.owed.add(1)
				s.wg.Go(func() {
					defer s.owed.add(-1)
					s.post([]hook{h}, nil)
				})
			}
			s.send(h, tried)
			tried = nil
		}
		for _, r := range release {
			close(r)
		}
	}) {
		s.owed.add(-1)
	}
}

// owed counts the webhooks on their way.
type owed struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n is 0; nil as long as nobody waits
}

func (o *owed) add(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n += n; o.n == 0 && o.none != nil {
		close(o.none)
		o.none = nil
	}
}

// WaitDelivered returns when no webhook is on its way: each was taken, dropped
// or given up. Those of calls that go on may follow, and one that is to change
// places with the next waits for that.
func (s *Server) WaitDelivered(ctx context.Context) error {
	s.owed.mu.Lock()
	n, none := s.owed.n, s.owed.none
	if n > 0 && none == nil {
		none = make(chan struct{})
		s.owed.none = none
	}
	s.owed.mu.Unlock()
	if n == 0 {
		return nil
	}
	select {
	case <-none:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for %d webhooks to be taken: %w", n, ctx.Err())
	}
}

// wait returns when c is closed; nil is nothing to wait for.
func (s *Server) wait(c <-chan struct{}) {
	if c == nil {
		return
	}
	select {
	case <-c:
	case <-s.ctx.Done():
	}
}

// send delivers an event alone or in a batch and closes tried after the first
// attempt.
func (s *Server) send(h hook, tried chan struct{}) {
	in, leads, wait := s.batch.join(h)
	switch {
	case in == nil:
		s.post([]hook{h}, tried)
	case leads:
		t := time.NewTimer(wait)
		select {
		case <-in.full:
		case <-t.C:
		case <-s.ctx.Done():
		}
		t.Stop()
		s.post(s.batch.seal(in), tried)
		close(in.done)
	default:
		if tried != nil {
			close(tried) // the batch goes as a whole
		}
		s.wait(in.done)
	}
}

// post attempts until there is a 200.
func (s *Server) post(hooks []hook, tried chan struct{}) {
	body := s.body(hooks)
	gap, begin := s.opts.HookRetry, time.Now()
	for n := 1; ; n++ {
		ok := s.attempt(body, hooks, n, false)
		if tried != nil {
			close(tried)
			tried = nil
		}
		if ok || time.Since(begin)+gap > s.opts.HookGiveUp {
			return
		}
		s.pause(s.ctx, gap)
		if s.ctx.Err() != nil {
			return
		}
		gap *= 2
	}
}

// attempt makes one signed POST and says whether it was accepted.
func (s *Server) attempt(body []byte, hooks []hook, n int, forged bool) bool {
	d := Delivery{At: time.Now(), Attempt: n, Forged: forged}
	for _, h := range hooks {
		d.Kinds, d.CallIDs = append(d.Kinds, h.kind), append(d.CallIDs, h.id)
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.opts.HookTimeout)
	defer cancel()
	secret := s.appSecret()
	if forged {
		secret = "not the " + secret
	}
	d.Status, d.Err = s.postOnce(ctx, body, Sign(secret, body))
	d.Took = time.Since(d.At)
	if s.ctx.Err() != nil {
		return false // cut off by Close
	}
	s.deliveries.add(d)
	if d.Status != http.StatusOK {
		s.opts.Log.Debug("webhook not taken", slog.Int("status", d.Status), slog.Any("error", d.Err))
	}
	return d.Status == http.StatusOK
}

func (s *Server) postOnce(ctx context.Context, body []byte, signature string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.webhookURL(), bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("post webhook: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "facebookexternalua")
	req.Header.Set("X-Hub-Signature-256", signature)
	resp, err := s.opts.Client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("post webhook: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	return resp.StatusCode, nil
}

// Sign is the value of X-Hub-Signature-256 for a body.
func Sign(secret string, body []byte) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// Inject posts a body as it is, signed correctly: what Meta never sends, or
// sends about others.
func (s *Server) Inject(ctx context.Context, body []byte) (status int, err error) {
	return s.postOnce(ctx, body, Sign(s.appSecret(), body))
}

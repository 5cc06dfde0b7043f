package test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/rig"
)

const (
	burstRate    = 1000 // deliveries a second
	burstTwice   = 5    // one in so many is a repetition
	burstCalls   = 40   // of them begin a call, in each second
	burstAnswer  = 100 * time.Millisecond
	burstSenders = 64
)

// TestBurstOfWebhooks: a second of it.
func TestBurstOfWebhooks(t *testing.T) {
	t.Parallel()
	burst(t, 1)
}

// burst sends a thousand webhooks a second, grants of customers and calls that
// the route refuses, every fifth of them a repetition. None is lost, and each has
// its effect once.
func burst(t *testing.T, seconds int) {
	t.Helper()
	dir := t.TempDir()
	r, ctx := rigged(t, rig.Options{Dir: dir, Config: func(c *config.Config) {
		unprobed(c)
		c.Routes[0].Reject = true
	}})
	p := tapped(t, r)
	r.Meta.Grant(customerNumber(0))
	eventually(ctx, t, "a grant to copy", func() bool { return p.count() == 1 })
	grant := p.all()[0]

	unique := burstRate * seconds * (burstTwice - 1) / burstTwice
	calls := burstCalls * seconds
	var wave []delivery
	for range calls {
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Patience: 4 * patience})
		must(t, err)
		wave = append(wave, p.of(ctx, t, c, fakemeta.KindConnect))
	}
	for i := range unique - calls {
		wave = append(wave, grant.edit(t, func(v map[string]any) {
			who := fmt.Sprintf("34700%06d", i)
			message := v["messages"].([]any)[0].(map[string]any)
			message["id"], message["from"], message["from_user_id"] = fmt.Sprintf("wamid.burst%d", i), who, "ES.20"+who
			contact := v["contacts"].([]any)[0].(map[string]any)
			contact["wa_id"], contact["user_id"] = who, "ES.20"+who
		}))
	}
	for len(wave) < burstRate*seconds {
		wave = append(wave, wave[rand.IntN(unique)])
	}
	rand.Shuffle(len(wave), func(i, j int) { wave[i], wave[j] = wave[j], wave[i] })

	took, rate := p.flood(ctx, t, wave)
	t.Logf("%d webhooks, %.0f a second: half were answered within %v, 99 %% within %v, want %v",
		len(wave), rate, took[len(took)/2], took[len(took)*99/100], burstAnswer)

	must(t, r.Meta.WaitQuiet(ctx))
	awaitMetric(ctx, t, r, float64(unique-calls), "wagate_permission_replies_total")
	awaitMetric(ctx, t, r, float64(len(wave)), "wagate_webhook_events_total")
	rs := records(ctx, t, r, calls)
	wantOneEach(t, r, rs)
	eventually(ctx, t, "the last call", func() bool { return metric(t, r, "wagate_calls") == 0 })
	wantAtRest(t, r)
	if n := metric(t, r, "wagate_permission_replies_total"); n != float64(unique-calls) {
		t.Errorf("%v grants had an effect, want %d", n, unique-calls)
	}
	if n := metric(t, r, "wagate_webhook_events_total", "outcome", "duplicate"); n != float64(len(wave)-unique) {
		t.Errorf("%v duplicates were found, want %d", n, len(wave)-unique)
	}
	for _, b := range r.Meta.Books() {
		asked := verbs(r, r.Meta.Customer(b.ID))
		if !slices.Equal(asked, []string{"reject"}) {
			t.Errorf("Meta was asked %v about a call", asked)
		}
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "wagate.db")+"?_pragma=busy_timeout(5000)")
	must(t, err)
	defer func() { _ = db.Close() }()
	eventually(ctx, t, "the last event to be done", func() bool { return number(ctx, t, db, "SELECT count(*) FROM events WHERE done = 0") == 0 })
	if n := number(ctx, t, db, "SELECT count(*) FROM events"); n != unique {
		t.Errorf("%d events in the journal, want %d", n, unique)
	}
	for what, query := range map[string]string{
		"customers with a grant": "SELECT count(*) FROM permissions WHERE user LIKE 'ES.2034700%'",
		"records":                "SELECT count(*) FROM records",
	} {
		want := map[bool]int{true: calls, false: unique - calls}[what == "records"]
		if n := number(ctx, t, db, query); n != want {
			t.Errorf("%d %s on disk, want %d", n, what, want)
		}
	}
}

func number(ctx context.Context, t *testing.T, db *sql.DB, query string) (n int) {
	t.Helper()
	must(t, db.QueryRowContext(ctx, query).Scan(&n))
	return n
}

// flood hands over the deliveries at the burst's rate, and returns how long each
// took, the shortest first, and the rate that came of it.
func (p *tap) flood(ctx context.Context, t *testing.T, wave []delivery) (took []time.Duration, rate float64) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: burstSenders}}
	defer client.CloseIdleConnections()
	next := make(chan delivery)
	var mu sync.Mutex
	var senders sync.WaitGroup
	for range burstSenders {
		senders.Go(func() {
			for d := range next {
				began := time.Now()
				if err := p.send(ctx, client, d); err != nil {
					t.Error(err)
				}
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	began := time.Now()
	for i, d := range wave {
		pause(ctx, time.Until(began.Add(time.Duration(i)*time.Second/burstRate)))
		next <- d
	}
	close(next)
	senders.Wait()
	slices.Sort(took)
	return took, float64(len(wave)) / time.Since(began).Seconds()
}

// send posts a delivery, and wants it to be taken.
func (p *tap) send(ctx context.Context, client *http.Client, d delivery) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.gateway, bytes.NewReader(d.body))
	if err != nil {
		return err
	}
	req.Header = d.header.Clone()
	req.Header.Del("Content-Length")
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("a webhook got %s", res.Status)
	}
	return nil
}

// all are the deliveries so far.
func (p *tap) all() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.kept)
}

func (p *tap) count() int { return len(p.all()) }

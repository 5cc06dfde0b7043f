package test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/rig"
)

// tap stands between Meta and the gateway's webhook. It keeps every delivery
// and hands it on only when the test says so.
type tap struct {
	gateway string

	mu   sync.Mutex
	kept []delivery
	news chan struct{} // closed and replaced when there is one more
}

// delivery is a signed webhook as it was on the wire.
type delivery struct {
	header http.Header
	body   []byte
}

// tapped puts a tap in front of a rig's gateway.
func tapped(t *testing.T, r *rig.Rig) *tap {
	t.Helper()
	p := &tap{gateway: "http://" + r.Gateway.WebhookAddr() + r.Config.HTTP.Webhook.Path, news: make(chan struct{})}
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	r.Meta.SetWebhookURL(s.URL)
	return p
}

// ServeHTTP implements http.Handler.
func (p *tap) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = append(p.kept, delivery{req.Header.Clone(), body})
	close(p.news)
	p.news = make(chan struct{})
}

// of waits for the delivery of an event of a call.
func (p *tap) of(ctx context.Context, t *testing.T, c *fakemeta.Customer, kind fakemeta.Kind) delivery {
	t.Helper()
	id, err := json.Marshal(c.ID())
	must(t, err)
	id = bytes.ReplaceAll(id, []byte("/"), []byte(`\/`))
	for {
		p.mu.Lock()
		at := slices.IndexFunc(p.kept, func(d delivery) bool {
			return bytes.Contains(d.body, id) &&
				(bytes.Contains(d.body, []byte(`"event":"`+kind+`"`)) || bytes.Contains(d.body, []byte(`"status":"`+kind+`"`)))
		})
		var found delivery
		if at >= 0 {
			found = p.kept[at]
		}
		news := p.news
		p.mu.Unlock()
		if at >= 0 {
			return found
		}
		select {
		case <-news:
		case <-ctx.Done():
			t.Fatalf("no %s webhook of %s", kind, c.ID())
		}
	}
}

// hand posts a delivery to the gateway, with a header changed if there is one,
// and returns the status.
func (p *tap) hand(ctx context.Context, t *testing.T, d delivery, change func(http.Header)) int {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.gateway, bytes.NewReader(d.body))
	must(t, err)
	req.Header = d.header.Clone()
	req.Header.Del("Content-Length")
	if change != nil {
		change(req.Header)
	}
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// edit changes the value of a delivery's first change, and signs it again.
func (d delivery) edit(t *testing.T, change func(value map[string]any)) delivery {
	t.Helper()
	var all map[string]any
	must(t, json.Unmarshal(d.body, &all))
	entry := all["entry"].([]any)[0].(map[string]any)
	change(entry["changes"].([]any)[0].(map[string]any)["value"].(map[string]any))
	body, err := json.Marshal(all)
	must(t, err)
	h := d.header.Clone()
	h.Set("X-Hub-Signature-256", fakemeta.Sign("app-secret", body))
	return delivery{h, body}
}

// heard waits until the gateway has dealt with that many events.
func heard(ctx context.Context, t *testing.T, r *rig.Rig, events int) {
	t.Helper()
	awaitMetric(ctx, t, r, float64(events), "wagate_webhook_events_total")
}

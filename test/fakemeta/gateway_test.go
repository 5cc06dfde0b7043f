package fakemeta

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const patience = 20 * time.Second // for what should come at once

// gateway is a small well-behaved gateway.
type gateway struct {
	t      *testing.T
	meta   *Server
	status atomic.Int32 // of its webhook replies
	verify string

	mu     sync.Mutex
	events []event
	more   chan struct{}
	posts  int // webhook requests with a good signature
	forged int // with a bad one
}

// event is a call event, a message or a status, as JSON.
type event struct {
	kind  Kind
	id    string
	raw   map[string]any
	val   map[string]any
	at    time.Time
	field string
}

// start runs a simulated Meta and the gateway.
func start(t *testing.T, o Options) *gateway {
	t.Helper()
	g := &gateway{t: t, more: make(chan struct{}), verify: "verify-token"}
	g.status.Store(http.StatusOK)
	srv := httptest.NewServer(http.HandlerFunc(g.hook))
	o.WebhookURL = srv.URL + "/hook"
	if o.HookRetry == 0 {
		o.HookRetry = 10 * time.Millisecond
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	g.meta = m
	m.Start()
	t.Cleanup(func() {
		m.Close()
		srv.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return g
}

func (g *gateway) ctx() context.Context {
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	g.t.Cleanup(cancel)
	return ctx
}

func (g *gateway) hook(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		q := r.URL.Query()
		if q.Get("hub.mode") == "subscribe" && q.Get("hub.verify_token") == g.verify {
			io.WriteString(w, q.Get("hub.challenge"))
			return
		}
		w.WriteHeader(http.StatusForbidden)
		return
	}
	body, _ := io.ReadAll(r.Body)
	mac := hmac.New(sha256.New, []byte("app-secret"))
	mac.Write(body)
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Header.Get("X-Hub-Signature-256") != "sha256="+hex.EncodeToString(mac.Sum(nil)) {
		g.forged++
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	g.posts++
	if s := int(g.status.Load()); s != http.StatusOK {
		w.WriteHeader(s)
		return
	}
	var env struct {
		Entry []struct {
			Changes []struct {
				Value map[string]any `json:"value"`
				Field string         `json:"field"`
			} `json:"changes"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(body, &env); err != nil {
		g.t.Errorf("webhook is not JSON: %v", err)
	}
	for _, e := range env.Entry {
		for _, c := range e.Changes {
			for _, list := range []string{"calls", "statuses", "messages"} {
				rows, _ := c.Value[list].([]any)
				for _, row := range rows {
					raw := row.(map[string]any)
					kind, _ := raw["event"].(string)
					if list == "statuses" {
						kind, _ = raw["status"].(string)
					}
					if list == "messages" {
						kind, _ = raw["type"].(string)
						if i, ok := raw["interactive"].(map[string]any); ok {
							kind, _ = i["type"].(string)
						}
					}
					g.events = append(g.events, event{Kind(kind), raw["id"].(string), raw, c.Value, time.Now(), c.Field})
				}
			}
		}
	}
	close(g.more)
	g.more = make(chan struct{})
}

// wait returns the n-th event of that kind for that call, from 1.
func (g *gateway) wait(kind Kind, id string, n int) event {
	g.t.Helper()
	for deadline := time.After(patience); ; {
		g.mu.Lock()
		events, more := g.events, g.more
		g.mu.Unlock()
		left := n
		for _, e := range events {
			if e.kind == kind && (id == "" || e.id == id) {
				if left--; left == 0 {
					return e
				}
			}
		}
		select {
		case <-more:
		case <-deadline:
			g.t.Fatalf("no webhook %s number %d for %q among %d", kind, n, id, len(events))
		}
	}
}

// kinds lists the events so far in the order of their arrival.
func (g *gateway) kinds() []Kind {
	g.mu.Lock()
	defer g.mu.Unlock()
	var k []Kind
	for _, e := range g.events {
		k = append(k, e.kind)
	}
	return k
}

// graphReply is what the Graph API said.
type graphReply struct {
	status  int
	code    int
	subcode int
	details string
	message string
	raw     string
	id      string
	err     error
	header  http.Header
}

// post sends an action with the right token and type.
func (g *gateway) post(fields map[string]any) graphReply {
	body, _ := json.Marshal(fields)
	return g.raw(http.MethodPost, "/v26.0/401122334455667/calls", "Bearer access-token", "application/json", body)
}

func (g *gateway) raw(method, path, auth, kind string, body []byte) graphReply {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return g.rawCtx(ctx, method, path, auth, kind, body)
}

func (g *gateway) rawCtx(ctx context.Context, method, path, auth, kind string, body []byte) graphReply {
	req, err := http.NewRequestWithContext(ctx, method, g.meta.URL()+path, bytes.NewReader(body))
	if err != nil {
		return graphReply{err: err}
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return graphReply{err: err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	r := graphReply{status: resp.StatusCode, raw: string(raw), err: err, header: resp.Header}
	var v struct {
		Calls    []struct{ ID string } `json:"calls"`
		Messages []struct{ ID string } `json:"messages"`
		Error    struct {
			Code      int
			Message   string
			Subcode   int                      `json:"error_subcode"`
			ErrorData struct{ Details string } `json:"error_data"`
			Trace     string                   `json:"fbtrace_id"`
		}
	}
	json.Unmarshal(raw, &v)
	r.code, r.subcode, r.details, r.message = v.Error.Code, v.Error.Subcode, v.Error.ErrorData.Details, v.Error.Message
	if len(v.Calls) > 0 {
		r.id = v.Calls[0].ID
	}
	if len(v.Messages) > 0 {
		r.id = v.Messages[0].ID
	}
	if r.status != http.StatusOK && v.Error.Trace == "" {
		g.t.Errorf("error without fbtrace_id: %s", raw)
	}
	return r
}

// do sends an action on a call; an answer only where sdp is given.
func (g *gateway) do(action, id, sdp string, more ...string) graphReply {
	m := map[string]any{"messaging_product": "whatsapp", "action": action, "call_id": id}
	if sdp != "" {
		m["session"] = map[string]string{"sdp_type": "answer", "sdp": sdp}
	}
	for i := 0; i+1 < len(more); i += 2 {
		m[more[i]] = more[i+1]
	}
	return g.post(m)
}

func (g *gateway) must(r graphReply) {
	g.t.Helper()
	if r.err != nil || r.status != http.StatusOK {
		g.t.Fatalf("Graph said %d %v %s", r.status, r.err, r.raw)
	}
}

// place lets a customer call and waits for the offer.
func (g *gateway) place(o CallOptions) (*Customer, string) {
	g.t.Helper()
	c, err := g.meta.Call(g.ctx(), o)
	if err != nil {
		g.t.Fatal(err)
	}
	e := g.wait(KindConnect, c.ID(), 1)
	return c, e.raw["session"].(map[string]any)["sdp"].(string)
}

// until polls for what has no event.
func (g *gateway) until(what string, done func() bool) {
	g.t.Helper()
	deadline := g.ctx()
	for !done() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline.Done():
			g.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (g *gateway) clean() {
	g.t.Helper()
	for _, v := range g.meta.Violations() {
		g.t.Errorf("violation: %s: %s", v.Rule, v.Detail)
	}
}

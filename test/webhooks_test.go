package test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestOrdersOfWebhooks: connect (C) and terminate (T) of one call, in every
// order and repeated, leave one record and no phone that rings. When terminate
// is first, none ever rang.
func TestOrdersOfWebhooks(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.NoAnswer() })
	p := tapped(t, r)
	orders := []string{"CT", "TC", "CCT", "CTT", "CTC", "TCC", "TTC", "TCT", "CTCT", "TCTC", "CCTT", "TTCC"}
	events := 0
	customers := map[string]*fakemeta.Customer{}
	orders = append(orders, slow(orders)...)
	for _, order := range orders {
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: order})
		must(t, err)
		customers[order] = c
		said := map[rune]delivery{'C': p.of(ctx, t, c, fakemeta.KindConnect)}
		if order[0] == 'T' {
			c.HangUp()
			said['T'] = p.of(ctx, t, c, fakemeta.KindTerminate)
		}
		for i, letter := range order {
			if letter == ' ' {
				pause(ctx, 150*time.Millisecond)
				continue
			}
			if _, ok := said[letter]; !ok {
				must(t, phoneOf(ctx, t, r.PBX, order).Wait(ctx, faketrunk.Rung))
				c.HangUp()
				said['T'] = p.of(ctx, t, c, fakemeta.KindTerminate)
			}
			if code := p.hand(ctx, t, said[letter], nil); code != http.StatusOK {
				t.Errorf("%s: webhook %d got %d", order, i, code)
			}
			events++
			heard(ctx, t, r, events)
		}
	}
	rs := settled(ctx, t, r)
	for _, order := range orders {
		wantRecord(t, recordOf(t, rs, customers[order]), "cancelled", "customer")
		want := 1
		if order[0] == 'T' {
			want = 0
		}
		if got := len(phonesOf(r.PBX, order)); got != want {
			t.Errorf("%s: %d phones rang, want %d", order, got, want)
		}
		if order[0] == 'T' && len(verbs(r, customers[order])) != 0 {
			t.Errorf("%s: Meta was asked %v", order, verbs(r, customers[order]))
		}
	}
}

// slow puts a pause between the events of each order.
func slow(orders []string) (all []string) {
	for _, o := range orders {
		all = append(all, strings.Join(strings.Split(o, ""), " "))
	}
	return all
}

// TestForgedWebhooks: without the app's signature nothing happens, be it to
// begin a call or to end one.
func TestForgedWebhooks(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(0))
	p := tapped(t, r)
	forgeries := map[string]func(http.Header){
		"none":  func(h http.Header) { h.Del("X-Hub-Signature-256") },
		"empty": func(h http.Header) { h.Set("X-Hub-Signature-256", "") },
		"other": func(h http.Header) { h.Set("X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64)) },
		"short": func(h http.Header) { h.Set("X-Hub-Signature-256", h.Get("X-Hub-Signature-256")[:40]) },
		"sha1 header": func(h http.Header) {
			h.Set("X-Hub-Signature", h.Get("X-Hub-Signature-256"))
			h.Del("X-Hub-Signature-256")
		},
		"no scheme": func(h http.Header) {
			h.Set("X-Hub-Signature-256", strings.TrimPrefix(h.Get("X-Hub-Signature-256"), "sha256="))
		},
	}
	refused := 0
	forge := func(d delivery) {
		for name, change := range forgeries {
			if code := p.hand(ctx, t, d, change); code != http.StatusUnauthorized {
				t.Errorf("signature %s: %d, want 401", name, code)
			}
			refused++
		}
		altered := delivery{d.header, []byte(strings.Replace(string(d.body), "messaging_product", "Messaging_product", 1))}
		if code := p.hand(ctx, t, altered, nil); code != http.StatusUnauthorized {
			t.Errorf("altered body: %d, want 401", code)
		}
		refused++
	}
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	connect := p.of(ctx, t, customer, fakemeta.KindConnect)
	forge(connect)
	if n := len(r.PBX.Requests("INVITE")) + len(r.Meta.Requests()); n != 0 {
		t.Errorf("forged connect webhooks caused %d requests", n)
	}
	if code := p.hand(ctx, t, connect, nil); code != http.StatusOK {
		t.Fatalf("the real one got %d", code)
	}
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	forge(connect.edit(t, func(v map[string]any) {
		call := v["calls"].([]any)[0].(map[string]any)
		call["event"], call["status"] = "terminate", "COMPLETED"
		delete(call, "session")
	}))
	hearing(ctx, t, customer, phone)
	if n := metric(t, r, "wagate_webhook_signature_failures_total"); n != float64(refused) {
		t.Errorf("%v signature failures counted, want %d", n, refused)
	}
	customer.HangUp()
	p.hand(ctx, t, p.of(ctx, t, customer, fakemeta.KindTerminate), nil)
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")

	// The whole conversation again, as somebody recorded it.
	before := len(r.Meta.Requests())
	p.hand(ctx, t, connect, nil)
	p.hand(ctx, t, p.of(ctx, t, customer, fakemeta.KindTerminate), nil)
	awaitMetric(ctx, t, r, 2, "wagate_webhook_events_total", "outcome", "duplicate")
	if n := len(r.PBX.Requests("INVITE")); n != 1 || len(r.Meta.Requests()) != before {
		t.Errorf("the replay caused %d INVITEs and %d Graph requests", n-1, len(r.Meta.Requests())-before)
	}
	settled(ctx, t, r)
}

// TestStaleOffer: a call that began too long ago is a missed call, and nobody is
// asked anything about it.
func TestStaleOffer(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	stale, err := r.Meta.Call(ctx, fakemeta.CallOptions{Age: 75 * time.Second, Patience: time.Second})
	must(t, err)
	rec := recordOf(t, settled(ctx, t, r), stale)
	wantRecord(t, rec, "no_answer", "customer")
	wantVerbs(t, r, stale)
	if n := len(r.PBX.Requests("INVITE")); n != 0 {
		t.Errorf("%d phones rang", n)
	}
	if n := metric(t, r, "wagate_webhook_events_total", "outcome", "stale"); n != 1 {
		t.Errorf("%v stale events counted, want 1", n)
	}
	r.PBX.Handle(answering(0))
	fresh, _ := talking(ctx, t, r, fakemeta.CallOptions{Age: 10 * time.Second})
	fresh.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), fresh), "hangup", "customer")
}

// TestBatches: many events in one delivery, a spoiled one among them, are many
// calls.
func TestBatches(t *testing.T) {
	t.Parallel()
	const calls = 6
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(0))
	r.Meta.Batch(calls, time.Second)
	r.Meta.Disturb(fakemeta.Upset{Kind: fakemeta.KindTerminate, Copies: 1})
	var customers []*fakemeta.Customer
	for range calls {
		c, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
		must(t, err)
		customers = append(customers, c)
	}
	for _, c := range customers {
		must(t, c.Wait(ctx, fakemeta.Connected))
	}
	for _, c := range customers {
		c.HangUp()
	}
	rs := settled(ctx, t, r)
	for _, c := range customers {
		if rec := recordOf(t, rs, c); rec.Cause != "hangup" {
			t.Errorf("the record says %s by %s", rec.Cause, rec.EndedBy)
		}
	}
	if !slices.ContainsFunc(r.Meta.Deliveries(), func(d fakemeta.Delivery) bool { return len(d.Kinds) == calls }) {
		t.Error("no delivery had all the calls")
	}
	r.Meta.Batch(0, 0)

	p := tapped(t, r)
	c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: "beside a spoiled one"})
	must(t, err)
	d := p.of(ctx, t, c, fakemeta.KindConnect).edit(t, func(v map[string]any) {
		good := v["calls"].([]any)[0]
		v["calls"] = []any{7, map[string]any{"id": []any{}, "event": "connect"}, map[string]any{"event": "connect"}, good, "x"}
		v["statuses"] = []any{nil, map[string]any{"type": "call"}}
		v["contacts"] = append([]any{"?"}, v["contacts"].([]any)...)
	})
	if code := p.hand(ctx, t, d, nil); code != http.StatusOK {
		t.Errorf("the batch with spoiled items got %d", code)
	}
	must(t, c.Wait(ctx, fakemeta.Connected))
	c.HangUp()
	p.hand(ctx, t, p.of(ctx, t, c, fakemeta.KindTerminate), nil)
	settled(ctx, t, r)
}

// TestOtherPeoplesWebhooks: what is for another number of the account, or has no
// shape that we know, is taken, counted, and nothing else.
func TestOtherPeoplesWebhooks(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	p := tapped(t, r)
	c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Patience: time.Second})
	must(t, err)
	connect := p.of(ctx, t, c, fakemeta.KindConnect)
	foreign := connect.edit(t, func(v map[string]any) {
		v["metadata"].(map[string]any)["phone_number_id"] = "999999999999999"
	})
	if code := p.hand(ctx, t, foreign, nil); code != http.StatusOK {
		t.Errorf("another number's webhook got %d", code)
	}
	awaitMetric(ctx, t, r, 1, "wagate_webhook_events_total", "outcome", "unknown")
	for body, want := range map[string]int{
		`{}`: http.StatusOK, `{"object":"page","entry":[]}`: http.StatusOK, `{"object":"whatsapp_business_account","entry":[{"changes":[{"field":"new_thing","value":{"x":1}}]}]}`: http.StatusOK,
		`[]`: http.StatusBadRequest, `{"object":`: http.StatusBadRequest, strings.Repeat(`{"a":`, 200): http.StatusBadRequest,
	} {
		h := connect.header.Clone()
		h.Set("X-Hub-Signature-256", fakemeta.Sign("app-secret", []byte(body)))
		if code := p.hand(ctx, t, delivery{h, []byte(body)}, nil); code != want {
			t.Errorf("%.60s got %d, want %d", body, code, want)
		}
	}
	must(t, c.Wait(ctx, fakemeta.Ended))
	if n := len(r.PBX.Requests("INVITE")) + len(r.Meta.Requests()); n != 0 {
		t.Errorf("they caused %d requests", n)
	}
	var page struct{ Records []json.RawMessage }
	get(ctx, t, r, "/api/v1/records", &page)
	if len(page.Records) != 0 {
		t.Errorf("they caused records: %s", page.Records)
	}
	wantAtRest(t, r)
}

package fakemeta

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"testing"
	"time"
)

// TestSign is the vector of spec 6.1.
func TestSign(t *testing.T) {
	const want = "sha256=20e391a99a86fc5adf7e3a453236d20c906360291977896cf2f671e03bb95703"
	if got := Sign("app-secret-123", []byte(`{"object":"whatsapp_business_account","entry":[]}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEscape(t *testing.T) {
	const text = `{"a/b":"ü 漢 🙂 \u003c \n"}`
	got := escape([]byte(text))
	if want := `{"a\/b":"\u00fc \u6f22 \ud83d\ude42 \u003c \n"}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var before, after any
	if json.Unmarshal([]byte(text), &before) != nil || json.Unmarshal(got, &after) != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("%v became %v", before, after)
	}
}

func TestVerify(t *testing.T) {
	g := start(t, Options{})
	if err := g.meta.Verify(g.ctx()); err != nil {
		t.Error(err)
	}
	g.verify = "another token"
	if err := g.meta.Verify(g.ctx()); err == nil {
		t.Error("a wrong token passes")
	}
}

// TestUpsets: each upset of a call that the user ends at once.
func TestUpsets(t *testing.T) {
	for _, row := range []struct {
		name   string
		upset  Upset
		want   []Kind
		forged int
	}{
		{"none", Upset{Kind: "nothing"}, []Kind{KindConnect, KindTerminate}, 0},
		{"copies", Upset{Kind: KindTerminate, Copies: 2}, []Kind{KindConnect, KindTerminate, KindTerminate, KindTerminate}, 0},
		{"drop", Upset{Kind: KindConnect, Drop: true}, []Kind{KindTerminate}, 0},
		{"swap", Upset{Kind: KindConnect, Swap: true}, []Kind{KindTerminate, KindConnect}, 0},
		{"delay", Upset{Kind: KindConnect, Delay: 200 * time.Millisecond}, []Kind{KindTerminate, KindConnect}, 0},
		{"forge", Upset{Forge: true}, []Kind{KindConnect, KindTerminate}, 2},
		{"another call", Upset{CallID: "wacid.other", Drop: true}, []Kind{KindConnect, KindTerminate}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			g := start(t, Options{})
			g.meta.Disturb(row.upset)
			c, err := g.meta.Call(g.ctx(), CallOptions{})
			if err != nil {
				t.Fatal(err)
			}
			c.HangUp()
			seen := map[Kind]int{}
			for _, k := range row.want {
				seen[k]++
				g.wait(k, c.ID(), seen[k])
			}
			if got := g.kinds(); !reflect.DeepEqual(got, row.want) {
				t.Errorf("arrived %v, want %v", got, row.want)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.forged != row.forged {
				t.Errorf("%d forged, want %d", g.forged, row.forged)
			}
		})
	}
}

// TestSettle: an upset with a number ends by itself, one without by Settle.
func TestSettle(t *testing.T) {
	g := start(t, Options{})
	g.meta.Disturb(Upset{Kind: KindConnect, Drop: true, Times: 1})
	g.meta.Disturb(Upset{Kind: KindConnect, Drop: true})
	for range 3 {
		c, err := g.meta.Call(g.ctx(), CallOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.HangUp()
		g.wait(KindTerminate, c.ID(), 1)
	}
	g.meta.Settle()
	g.place(CallOptions{})
	if got := g.kinds(); len(got) != 4 || got[3] != KindConnect {
		t.Errorf("arrived %v", got)
	}
}

// TestRepeats: what is not answered by a 200 comes again, and the end of the
// call may overtake it.
func TestRepeats(t *testing.T) {
	g := start(t, Options{HookRetry: 20 * time.Millisecond})
	g.status.Store(http.StatusServiceUnavailable)
	c, err := g.meta.Call(g.ctx(), CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := g.meta.WaitDelivery(g.ctx(), func(d Delivery) bool { return d.Has(KindConnect, c.ID()) && d.Attempt == 3 })
	if err != nil || d.Status != http.StatusServiceUnavailable {
		t.Fatalf("third attempt %+v, %v", d, err)
	}
	g.status.Store(http.StatusOK)
	g.wait(KindConnect, c.ID(), 1)
	var at []time.Time
	for _, d := range g.meta.Deliveries() {
		at = append(at, d.At)
	}
	if len(at) < 3 || at[2].Sub(at[1]) < 35*time.Millisecond {
		t.Errorf("attempts at %v do not back off", at)
	}
}

func TestBatch(t *testing.T) {
	g := start(t, Options{})
	g.meta.Batch(5, time.Hour)
	for range 5 {
		if _, err := g.meta.Call(g.ctx(), CallOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	g.wait(KindConnect, "", 5)
	g.meta.Batch(100, 10*time.Millisecond)
	if _, err := g.meta.Call(g.ctx(), CallOptions{}); err != nil {
		t.Fatal(err)
	}
	g.wait(KindConnect, "", 6)
	g.meta.Batch(0, 0)
	g.place(CallOptions{})
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.posts != 3 {
		t.Errorf("%d posts, want 3", g.posts)
	}
}

// TestIdentities: a username user has no number anywhere.
func TestIdentities(t *testing.T) {
	g := start(t, Options{})
	c, _ := g.place(CallOptions{User: User{Number: "34600111222", Username: "nuria.p", ParentID: "ES.ENT.3", Private: true}, DeepLink: "web"})
	e := g.wait(KindConnect, c.ID(), 1)
	who := e.val["contacts"].([]any)[0].(map[string]any)
	if e.raw["from"] != nil || who["wa_id"] != nil || e.raw["from_user_id"] != "ES.2034600111222" ||
		e.raw["from_parent_user_id"] != "ES.ENT.3" || e.raw["deeplink_payload"] != "web" || e.raw["to"] != "351210000321" {
		t.Errorf("event %v of %v", e.raw, who)
	}
}

func TestInject(t *testing.T) {
	g := start(t, Options{})
	status, err := g.meta.Inject(g.ctx(), bytes.TrimSpace([]byte(`{"entry":[]}`)))
	if err != nil || status != http.StatusOK {
		t.Errorf("got %d, %v", status, err)
	}
}

package test

import (
	"net"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestTrunkGoesToItsNextTarget: what says "not here" of a target is asked of
// the next one at once, and the first is left alone for a while.
func TestTrunkGoesToItsNextTarget(t *testing.T) {
	t.Parallel()
	second, err := faketrunk.Start(t.Context(), faketrunk.Options{Tone: rig.PhoneTone, Listen: []float64{rig.CustomerTone}})
	must(t, err)
	defer func() { _ = second.Close() }()
	second.Handle(answering(50 * time.Millisecond))
	closed := refusingTCP(t)
	scripts := map[string]faketrunk.Script{
		"500": faketrunk.Refuse(500), "502": faketrunk.Refuse(502), "503": faketrunk.Refuse(503), "504": faketrunk.Refuse(504),
		"silent": faketrunk.Dead(), "tcp": {},
	}
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		first := c.Trunks[0]
		c.Trunks, c.Routes = nil, nil
		for name := range scripts {
			trunk := first
			trunk.Name = "pair-" + name
			trunk.Targets = []config.Target{first.Targets[0], {URI: second.URI("udp")}}
			if name == "tcp" {
				trunk.Targets[0].URI = "sip:" + closed + ";transport=tcp"
			}
			c.Trunks = append(c.Trunks, trunk)
			c.Routes = append(c.Routes, config.Route{
				Name: name, Direction: "inbound", Match: config.Match{Payload: name}, Trunk: trunk.Name, To: "600", RingTimeout: patience,
			})
		}
		unprobed(c)
	}})
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script { return scripts[m.Get("X-WA-Payload")] })
	for round, wantFirst := range []int{1, 0} { // the second time it is known who is dead
		customers := map[string]*fakemeta.Customer{}
		before := map[string]int{}
		for name := range scripts {
			before[name] = len(phonesOf(r.PBX, name))
			c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: name})
			must(t, err)
			customers[name] = c
		}
		for name, c := range customers {
			if err := c.Wait(ctx, fakemeta.Connected); err != nil {
				t.Errorf("%s: the second target did not take the call: %v", name, err)
			}
			c.HangUp()
			want := wantFirst
			if name == "tcp" || round == 1 && !strings.Contains("503 silent tcp", name) { // the others say nothing of the target itself
				want = map[bool]int{true: 0, false: 1}[name == "tcp"]
			}
			if got := len(phonesOf(r.PBX, name)) - before[name]; got != want {
				t.Errorf("%s, round %d: the first target got %d INVITEs, want %d", name, round, got, want)
			}
			if name == "silent" && round == 0 {
				asked, next := phonesOf(r.PBX, name)[0].Invite().At, phonesOf(second, name)[0].Invite().At
				if waited := next.Sub(asked); waited >= lastSilence {
					t.Errorf("the second target was asked after %v of silence, as if it were nobody's turn", waited)
				} else {
					t.Logf("the second target was asked after %v of silence", waited)
				}
			}
		}
		rs := settled(ctx, t, r)
		for name, c := range customers {
			rec := recordOf(t, rs, c)
			wantRecord(t, rec, "hangup", "customer")
			if rec.Trunk != "pair-"+name || rec.SIPStatus != 200 {
				t.Errorf("%s: the record says trunk %s, status %d", name, rec.Trunk, rec.SIPStatus)
			}
		}
	}
	must(t, second.Settled(ctx))
	for _, f := range second.Faults() {
		t.Errorf("the second target would complain: %s", f)
	}
}

// lastSilence is how long the last target of all may say nothing.
const lastSilence = 4 * time.Second

// refusingTCP is an address where nobody takes connections.
func refusingTCP(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// TestTrunkThatAsksForAPassword: one answer to a challenge, and no more.
func TestTrunkThatAsksForAPassword(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		unprobed(c)
		c.Routes = nil
		first := c.Trunks[0]
		c.Trunks = nil
		for name, password := range map[string]config.Secret{"right": "s3cret", "wrong": "guess"} {
			trunk := first
			trunk.Name, trunk.Auth = name, config.Credentials{User: "gw", Password: password}
			c.Trunks = append(c.Trunks, trunk)
			c.Routes = append(c.Routes, config.Route{
				Name: name, Direction: "inbound", Match: config.Match{Payload: name + "-*"}, Trunk: name, To: "600", RingTimeout: patience,
			})
		}
	}})
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
		s := faketrunk.Answer(0)
		s.Auth = &faketrunk.Auth{Realm: "pbx", User: "gw", Password: "s3cret", Algorithm: "MD5", Status: 401}
		switch _, how, _ := strings.Cut(m.Get("X-WA-Payload"), "-"); how {
		case "sha":
			s.Auth.Algorithm = "SHA-256"
		case "proxy":
			s.Auth.Status = 407
		}
		return s
	})
	for _, row := range []struct {
		payload string
		cause   string
		status  int
	}{
		{"right-md5", "hangup", 200},
		{"right-sha", "hangup", 200},
		{"right-proxy", "hangup", 200},
		{"wrong-md5", "trunk_auth", 401},
		{"wrong-proxy", "trunk_auth", 407},
	} {
		t.Run(row.payload, func(t *testing.T) {
			before := len(r.PBX.Requests("INVITE"))
			c, err := r.Meta.Call(ctx, fakemeta.CallOptions{Payload: row.payload})
			must(t, err)
			if row.status == 200 {
				must(t, c.Wait(ctx, fakemeta.Connected))
				c.HangUp()
			}
			must(t, c.Wait(ctx, fakemeta.Ended))
			tries := map[string]bool{} // a busy machine may send one of them again
			for _, m := range r.PBX.Requests("INVITE")[before:] {
				tries[m.Get("CSeq")] = true
			}
			if len(tries) != 2 {
				t.Errorf("%d INVITEs, want 2", len(tries))
			}
			if rec := recordOf(t, settled(ctx, t, r), c); rec.Cause != row.cause || rec.SIPStatus != row.status {
				t.Errorf("the record says %s, %d, want %s, %d", rec.Cause, rec.SIPStatus, row.cause, row.status)
			}
		})
	}
}

// TestPlainRetry: a trunk that refuses the offer is asked once more with G.711
// and nothing else.
func TestPlainRetry(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(func(m *faketrunk.Message) faketrunk.Script {
		if strings.Contains(string(m.Body), "telephone-event") {
			return faketrunk.Refuse(488, faketrunk.Header{Name: "Warning", Value: `305 pbx "telephone-event"`})
		}
		return faketrunk.Answer(0)
	})
	c, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, c.Wait(ctx, fakemeta.Connected))
	phones := r.PBX.Calls()
	if len(phones) != 2 {
		t.Fatalf("%d INVITEs, want 2", len(phones))
	}
	hearing(ctx, t, c, phones[1])
	c.HangUp()
	rec := recordOf(t, settled(ctx, t, r), c)
	wantRecord(t, rec, "hangup", "customer")
	if rec.SIPStatus != 200 || rec.Q850 != 16 {
		t.Errorf("the record says %d, Q.850 %d", rec.SIPStatus, rec.Q850)
	}
}

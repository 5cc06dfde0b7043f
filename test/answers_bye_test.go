package test

import (
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestByesToThePBX: how an answered call ends, and what its BYE says.
func TestByesToThePBX(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		config func(*config.Config)
		does   func(t *testing.T, r *rig.Rig, c *fakemeta.Customer, call *faketrunk.Call)
		mute   bool
		want   answer
	}{
		"the customer hangs up": {
			does: func(_ *testing.T, _ *rig.Rig, c *fakemeta.Customer, _ *faketrunk.Call) { c.HangUp() },
			want: answer{q850: 16, cause: "hangup"},
		},
		"the app loses the media": {
			does: func(_ *testing.T, _ *rig.Rig, c *fakemeta.Customer, _ *faketrunk.Call) { c.Break(138021) },
			want: answer{q850: 41, cause: "media_failed", meta: 138021},
		},
		"the phone is silent": {
			config: func(c *config.Config) { c.Media.Timeout = time.Second }, mute: true,
			want: answer{q850: 41, cause: "media_lost"},
		},
		"max_duration": {
			config: func(c *config.Config) { c.Limits.MaxDuration = time.Second },
			want:   answer{q850: 31, cause: "max_duration"},
		},
		"drain deadline": {
			config: func(c *config.Config) { c.Limits.DrainTimeout = 100 * time.Millisecond },
			does:   func(_ *testing.T, r *rig.Rig, _ *fakemeta.Customer, _ *faketrunk.Call) { r.Gateway.Drain() },
			want:   answer{q850: 31, cause: "draining"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
				rig.DialOut(c)
				if row.config != nil {
					row.config(c)
				}
			}})
			r.Meta.Callee("", fakemeta.Callee{Answer: 50 * time.Millisecond})
			call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
				To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "201", Script: faketrunk.Script{NoAudio: row.mute},
			})
			must(t, err)
			must(t, call.Wait(ctx, faketrunk.Up))
			customer, err := r.Meta.WaitCallee(ctx, dialledCustomer)
			must(t, err)
			if row.does != nil {
				row.does(t, r, customer, call)
			}
			must(t, call.Wait(ctx, faketrunk.Ended))
			byes := 0
			for _, m := range call.Messages() {
				if m.In && m.Method == "BYE" {
					byes++
					row.want.judgeReason(t, m)
					if m.Get("X-WA-Call") == "" {
						t.Error("no X-WA-Call")
					}
				}
			}
			if byes == 0 {
				t.Error("no BYE came")
			}
		})
	}
}

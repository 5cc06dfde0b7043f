//go:build soak

package test

import (
	"context"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/peers"
)

const (
	soakHold = 5 * time.Minute
	holdStep = 10 * time.Second // the music is listened for so often
)

// TestSoakHold: a customer waits for five minutes, with Asterisk's music, and
// with a hold that Asterisk passes on to the gateway. Both calls live, and what
// WhatsApp gets is one stream from the first packet to the last.
func TestSoakHold(t *testing.T) {
	for name, passed := range map[string]bool{"music": false, "passed on": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := opened(t, "201", peers.AsteriskOptions{Change: func(c peers.Files) {
				if passed {
					c.Replace(t, "pjsip.conf", "context=from-whatsapp", "context=from-whatsapp\nmoh_passthrough=yes")
				}
			}}, nil)
			ctx, cancel := context.WithTimeout(t.Context(), soakHold+4*patience)
			defer cancel()
			customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
			must(t, err)
			agent, err := f.phones["201"].Next(ctx)
			must(t, err)
			conversing(ctx, t, customer, agent, "201")
			hold(ctx, t, agent)
			held := len(customer.Packets())
			for waited := holdStep; waited <= soakHold && !t.Failed(); waited += holdStep {
				if !passed {
					customer.Meter().Reset()
					must(t, customer.WaitHeard(ctx, peers.MusicTone))
				}
				awaitPackets(ctx, t, customer, held+int(waited/packetTime))
			}
			resume(ctx, t, agent)
			conversing(ctx, t, customer, agent, "201")
			must(t, agent.Hangup(ctx))
			must(t, customer.Wait(ctx, fakemeta.Ended))
			wantRecord(t, recordOf(t, f.closed(ctx, t, customer), customer), "hangup", "pbx")
		})
	}
}

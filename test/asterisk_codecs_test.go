//go:build system

package test

import (
	"strings"
	"testing"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
)

// TestAsteriskTalksAndReads with every codec that the gateway has besides G.711,
// and with keys by SIP INFO: the IVR reads the customer's digits, and then the
// customer and an agent hear each other.
func TestAsteriskTalksAndReads(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, allow, dtmf, codec, says string }{
		{"G722", "g722", "rfc4733", "G722", " G722/8000"},
		{"opus", "opus", "rfc4733", "opus", " opus/48000/2"},
		{"INFO", "alaw", "info", "PCMA", "INFO sip:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, ctx := opened(t, "700", peers.AsteriskOptions{Change: func(files peers.Files) {
				files.Replace(t, "pjsip.conf", "allow=alaw,ulaw\ndtmf_mode=rfc4733", "allow="+c.allow+"\ndtmf_mode="+c.dtmf)
			}}, func(cfg *config.Config) {
				cfg.Trunks[0].Codecs, cfg.Trunks[0].DTMF = []string{c.codec}, c.dtmf
			})
			customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
			must(t, err)
			must(t, order(ctx, f, customer, "0123456789012345"))
			agent, err := f.phones["201"].Next(ctx)
			must(t, err)
			must(t, agent.Wait(ctx, faketrunk.Up))
			conversing(ctx, t, customer, agent, "201")
			must(t, agent.Hangup(ctx))
			must(t, customer.Wait(ctx, fakemeta.Ended))
			rec := recordOf(t, f.closed(ctx, t, customer), customer)
			wantRecord(t, rec, "hangup", "pbx")
			if rec.CodecSIP != c.codec {
				t.Errorf("the record says %s", rec.CodecSIP)
			}
			if !strings.Contains(f.pbx.Log(), c.says) {
				t.Errorf("Asterisk saw no %s", c.says)
			}
		})
	}
}

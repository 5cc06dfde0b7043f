//go:build system

package test

import (
	"strings"
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/peers"
)

// TestAsteriskTransfersByItself: its dialplan sends the customer to a phone, as
// soon as it has answered (REFER) or before that (302). Only a phone of the PBX
// is dialled: Asterisk names a registered phone by the phone's own address, which
// is refused, and the dialplan goes on.
func TestAsteriskTransfersByItself(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first, to, told string
		transfers       int
	}{
		"refer":     {"Answer", "PJSIP/sip:202@192.0.2.10", "SIP/2.0 202 ", 1},
		"elsewhere": {"Answer", "PJSIP/202", "SIP/2.0 403 ", 0},
		"redirect":  {"Ringing", "PJSIP/sip:202@192.0.2.10", "SIP/2.0 302 ", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ctx := opened(t, "800", peers.AsteriskOptions{Change: func(files peers.Files) {
				files["extensions.conf"] += "[from-whatsapp]\nexten => 800,1," + c.first + "()\n same => n,Transfer(" + c.to + ")\n same => n,Dial(PJSIP/202)\n"
			}}, nil)
			customer, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear()})
			must(t, err)
			phone, err := f.phones["202"].Next(ctx)
			must(t, err)
			must(t, phone.Wait(ctx, faketrunk.Up))
			conversing(ctx, t, customer, phone, "202")
			must(t, phone.Hangup(ctx))
			must(t, customer.Wait(ctx, fakemeta.Ended))
			rec := recordOf(t, f.closed(ctx, t, customer), customer)
			wantRecord(t, rec, "hangup", "pbx")
			if rec.Transfers != c.transfers {
				t.Errorf("the record has %d transfers, want %d", rec.Transfers, c.transfers)
			}
			if !strings.Contains(f.pbx.Log(), c.told) {
				t.Errorf("nobody said %s", c.told)
			}
		})
	}
}

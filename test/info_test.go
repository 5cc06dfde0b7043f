package test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestKeysByInfo: on a trunk that has digits in SIP INFO, what the customer
// presses comes as INFO, and what the phone sends by INFO the customer's side
// gets as keys, once each and in order.
func TestKeysByInfo(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { c.Trunks[0].DTMF = "info" }})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	const pressed, sent = "15#", "0*D"
	must(t, customer.Press(ctx, pressed))
	for _, key := range sent {
		body := fmt.Sprintf("Signal=%c\r\nDuration=100\r\n", key)
		answer, err := phone.Request(ctx, "INFO", []faketrunk.Header{{Name: "Content-Type", Value: "application/dtmf-relay"}}, []byte(body))
		must(t, err)
		if answer.Status != 200 {
			t.Errorf("INFO got %d", answer.Status)
		}
	}
	eventually(ctx, t, "the keys of the customer", func() bool { return len(phone.Audio().Infos()) >= len(pressed) })
	eventually(ctx, t, "the keys of the phone", func() bool { return len(customer.Report().Digits) >= len(sent) })
	if got := customer.Report().Digits; got != sent {
		t.Errorf("the customer's side got %q, want %q", got, sent)
	}
	infos := phone.Audio().Infos()
	if len(infos) != len(pressed) || slices.ContainsFunc(infos, func(s string) bool { return !strings.Contains(s, "Duration=") }) {
		t.Fatalf("unexpected INFO: %q", infos)
	}
	for i, key := range pressed {
		if !strings.HasPrefix(infos[i], "Signal="+string(key)+"\r\n") {
			t.Errorf("INFO %d is %q, want key %c", i, infos[i], key)
		}
	}
	hearing(ctx, t, customer, phone)
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
}

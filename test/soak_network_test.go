//go:build soak

package test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/impair"
	"wagate/test/rig"
)

// TestSoakBadNetworks is TestBadNetworks for the better part of a minute each,
// and each network on either leg.
func TestSoakBadNetworks(t *testing.T) {
	t.Parallel()
	const bad = 40 * time.Second
	all := []struct {
		name string
		net  impair.Network
	}{
		{"1 %", impair.Network{Loss: 0.01}},
		{"bursts of 2", impair.Network{Loss: 0.05, Burst: 2}},
		{"3 %", impair.Network{Loss: 0.03}},
		{"jitter", impair.Network{Jitter: 80 * ms}},
		{"5 %", impair.Network{Loss: 0.05}},
		{"reordered and twice", impair.Network{Reorder: 0.05, Duplicate: 0.05}},
		{"10 %", impair.Network{Loss: 0.10}},
		{"everything", jumbles},
	}
	for i, one := range all {
		other := all[(i+3)%len(all)]
		c := impairedCase{one.name + " and " + other.name, one.net, other.net}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.play(t, bad)
		})
	}
}

// TestSoakHeavyLoss: with 30 % of all packets lost on both legs, both ways, a
// call stays for five minutes, and of the keys that are pressed meanwhile, both
// ways, 99 of 100 arrive.
func TestSoakHeavyLoss(t *testing.T) {
	t.Parallel()
	const (
		keys  = "0123456789*#ABCD"
		lasts = 5 * time.Minute
		share = 0.99
	)
	heavy := impair.Network{Loss: 0.30}
	meta, pbx := &badNetwork{o: impair.Options{Seed: 1}}, &badNetwork{o: impair.Options{Seed: 2}}
	t.Cleanup(meta.close)
	t.Cleanup(pbx.close)
	r, ctx := riggedFor(t, rig.Options{Meta: fakemeta.Options{Via: meta.whatsapp}, Via: pbx.pbx, Config: unprobed}, lasts+2*patience)
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	meta.set(heavy)
	pbx.set(heavy)
	end := time.Now().Add(lasts)
	var pressed strings.Builder
	for time.Now().Before(end) {
		bothPress(ctx, t, customer, phone, keys)
		pressed.WriteString(keys)
		select {
		case <-customer.Reached(fakemeta.Ended):
			t.Fatal("the call did not last")
		default:
		}
	}
	meta.set(impair.Network{})
	pbx.set(impair.Network{})
	hearing(ctx, t, customer, phone)
	for who, got := range map[string]string{"phone": phone.Audio().Digits(), "customer": customer.Report().Digits} {
		n := inOrder(got, pressed.String())
		t.Logf("the %s got %d of %d keys", who, n, pressed.Len())
		if n != len(got) {
			t.Errorf("the %s got %d keys, %d of them in their order: some are wrong or twice", who, len(got), n)
		}
		if n < int(math.Ceil(share*float64(pressed.Len()))) {
			t.Errorf("the %s got %d of %d keys", who, n, pressed.Len())
		}
	}
	customer.HangUp()
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "hangup", "customer")
	for leg, s := range map[string]float64{"WhatsApp": rec.Media.WhatsApp.MOS, "PBX": rec.Media.SIP.MOS} {
		t.Logf("MOS from %s: %.2f", leg, s)
	}
}

func bothPress(ctx context.Context, t *testing.T, customer *fakemeta.Customer, phone *faketrunk.Call, keys string) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- customer.Press(ctx, keys) }()
	must(t, phone.Audio().Press(ctx, keys))
	must(t, <-done)
}

// inOrder is how many of the keys that came are among those that were pressed,
// in their order.
func inOrder(got, pressed string) (n int) {
	for i := range len(got) {
		at := strings.IndexByte(pressed, got[i])
		if at < 0 {
			return n
		}
		n++
		pressed = pressed[at+1:]
	}
	return n
}

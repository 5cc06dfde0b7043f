package test

import (
	"net/netip"
	"sync"
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/impair"
	"wagate/test/rig"
)

// badNetwork holds the relays of a rig's far ends.
type badNetwork struct {
	o      impair.Options
	mu     sync.Mutex
	relays []*impair.UDP
	net    [2]impair.Network
}

// whatsapp is for fakemeta.Options.Via.
func (b *badNetwork) whatsapp(relay netip.AddrPort) (netip.AddrPort, error) {
	r, err := impair.NewUDP(relay, b.o)
	if err != nil {
		return netip.AddrPort{}, err
	}
	b.add(r)
	return r.Addr(), nil
}

// pbx is for rig.Options.Via.
func (b *badNetwork) pbx(rtp, rtcp netip.AddrPort) (faketrunk.Path, faketrunk.Path, error) {
	one, two, err := impair.NewPair(rtp, rtcp, b.o)
	if err != nil {
		return nil, nil, err
	}
	b.add(one, two)
	return one, two, nil
}

func (b *badNetwork) add(relays ...*impair.UDP) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range relays {
		r.Set(impair.Up, b.net[impair.Up])
		r.Set(impair.Down, b.net[impair.Down])
	}
	b.relays = append(b.relays, relays...)
}

// set changes both ways.
func (b *badNetwork) set(n impair.Network) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.net = [2]impair.Network{n, n}
	for _, r := range b.relays {
		r.Set(impair.Up, n)
		r.Set(impair.Down, n)
	}
}

func (b *badNetwork) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.relays {
		_ = r.Close()
	}
}

// TestBothLegsThroughRelays: ICE, DTLS and media pass a relay on either leg, and
// what the relay does is seen in the record.
func TestBothLegsThroughRelays(t *testing.T) {
	t.Parallel()
	meta, pbx := &badNetwork{o: impair.Options{Seed: 1}}, &badNetwork{o: impair.Options{Seed: 2}}
	t.Cleanup(meta.close)
	t.Cleanup(pbx.close)
	r, ctx := rigged(t, rig.Options{Meta: fakemeta.Options{Via: meta.whatsapp}, Via: pbx.pbx})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	if got := phone.Audio().Reception().Sources; len(got) != 1 {
		t.Errorf("the phone heard from %v", got)
	}
}

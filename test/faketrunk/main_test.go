package faketrunk

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"wagate/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

func start(t *testing.T, o Options) *Trunk {
	t.Helper()
	pbx, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pbx.Close() })
	return pbx
}

var pbxAddr = netip.MustParseAddrPort("127.0.0.1:5060")

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair is a PBX and a caller, who dials it.
func pair(t *testing.T, s Script) (pbx, caller *Trunk) {
	t.Helper()
	pbx = start(t, Options{Tone: 620, Listen: []float64{440}})
	caller = start(t, Options{Tone: 440, Listen: []float64{620}})
	pbx.Handle(func(*Message) Script { return s })
	return pbx, caller
}

func dial(t *testing.T, from, to *Trunk, transport string, s Script) *Call {
	t.Helper()
	c, err := from.Dial(soon(t), Outgoing{To: "sip:600@" + to.Addr().String() + ";transport=" + transport, From: "+34600111222", Name: `Ana "A"`, Script: s})
	must(t, err)
	return c
}

// clean says that both books are closed and nobody complained.
func clean(t *testing.T, trunks ...*Trunk) {
	t.Helper()
	for _, p := range trunks {
		if err := p.Settled(soon(t)); err != nil {
			t.Error(err)
		}
		for _, f := range p.Faults() {
			t.Errorf("fault: %s", f)
		}
	}
}

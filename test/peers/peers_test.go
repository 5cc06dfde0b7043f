//go:build system

package peers_test

import (
	"context"
	"os"
	"testing"
	"time"

	"wagate/test/faketrunk"
	"wagate/test/leak"
	"wagate/test/peers"
	"wagate/test/tone"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

const customer = 440.0

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// call dials a stranger's phone with the tone of a customer.
func call(t *testing.T, addr string) (*faketrunk.Trunk, *faketrunk.Call) {
	t.Helper()
	caller, err := faketrunk.Start(t.Context(), faketrunk.Options{Tone: customer, Listen: []float64{customer, peers.ToneFreq}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caller.Close() })
	c, err := caller.Dial(soon(t), faketrunk.Outgoing{To: "sip:" + peers.Extension + "@" + addr, From: "+34600111222"})
	if err != nil {
		t.Fatal(err)
	}
	return caller, c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSIPp(t *testing.T) {
	for _, c := range []struct {
		name     string
		scenario peers.Scenario
		play     func(t *testing.T, c *faketrunk.Call)
	}{
		{"echo", peers.Echo, func(t *testing.T, c *faketrunk.Call) {
			t.Helper()
			must(t, c.Audio().Meter().Wait(soon(t), customer))
			must(t, c.Hangup(soon(t)))
		}},
		{"tone", peers.Tone, func(t *testing.T, c *faketrunk.Call) {
			t.Helper()
			must(t, c.Audio().Meter().Wait(soon(t), peers.ToneFreq))
			must(t, c.Hangup(soon(t)))
		}},
		{"move", peers.Move, func(t *testing.T, c *faketrunk.Call) {
			t.Helper()
			must(t, c.Audio().Meter().Wait(soon(t), customer))
			for len(c.Audio().Reception().Sources) < 2 {
				time.Sleep(50 * time.Millisecond)
			}
			c.Audio().Meter().Reset()
			must(t, c.Audio().Meter().Wait(soon(t), customer))
			must(t, c.Hangup(soon(t)))
		}},
		{"hangup", peers.Hangup, func(t *testing.T, c *faketrunk.Call) {
			t.Helper()
			must(t, c.Wait(soon(t), faketrunk.Ended))
			if !c.EndedByThem() {
				t.Error("SIPp did not hang up")
			}
		}},
		{"busy", peers.Busy, func(t *testing.T, c *faketrunk.Call) {
			t.Helper()
			must(t, c.Wait(soon(t), faketrunk.Refused))
			if c.Status() != 486 {
				t.Errorf("status %d", c.Status())
			}
		}},
		{"no answer", peers.NoAnswer, func(t *testing.T, c *faketrunk.Call) {
			t.Helper()
			must(t, c.Wait(soon(t), faketrunk.Rung))
			must(t, c.Hangup(soon(t)))
			if c.Status() != 487 {
				t.Errorf("status %d", c.Status())
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := peers.StartSIPp(t, c.scenario, 0)
			caller, out := call(t, s.Addr.String())
			c.play(t, out)
			must(t, s.Finish(soon(t)))
			must(t, caller.Settled(soon(t)))
			if f := caller.Faults(); len(f) != 0 {
				t.Errorf("faults: %v", f)
			}
		})
	}
}

func TestBaresip(t *testing.T) {
	for _, phoneHangsUp := range []bool{false, true} {
		b := peers.StartBaresip(t, "", 0, "")
		_, c := call(t, b.Addr.String())
		must(t, c.Wait(soon(t), faketrunk.Up))
		must(t, c.Audio().Meter().Wait(soon(t), peers.ToneFreq))
		for c.Audio().PacketsSent() < 75 {
			time.Sleep(50 * time.Millisecond)
		}
		if phoneHangsUp {
			must(t, b.Hangup(soon(t)))
			must(t, c.Wait(soon(t), faketrunk.Ended))
		} else {
			must(t, c.Hangup(soon(t)))
		}
		pcm, rate := b.Heard(t)
		m := tone.NewMeter(rate, customer, peers.ToneFreq)
		m.Write(pcm)
		if l, heard := m.Level(customer); !heard {
			t.Errorf("baresip heard %v Hz at %.1f dBFS in %d samples", customer, l, len(pcm))
		}
		if _, heard := m.Level(peers.ToneFreq); heard {
			t.Error("baresip heard itself")
		}
		if g := m.Gaps(); len(g) > 0 {
			t.Errorf("gaps %v", g)
		}
	}
}

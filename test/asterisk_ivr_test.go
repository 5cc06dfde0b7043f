//go:build system || soak

package test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/peers"
)

// TestAsteriskReadsDigits: an IVR gets 16 digits of every customer as they were
// pressed, whatever the customer's network loses.
func TestAsteriskReadsDigits(t *testing.T) {
	f, ctx := opened(t, "700", peers.AsteriskOptions{Phones: []string{}}, nil)
	for _, loss := range []float64{0, 0.05, 0.10} {
		t.Run(fmt.Sprintf("%v of 100 packets lost", 100*loss), func(t *testing.T) {
			orders(ctx, t, f, 0, loss)
		})
	}
	settled(ctx, t, f.Rig)
}

// orders lets twenty customers press their keys at the same time. Another first
// one presses other keys, and the network loses other packets.
func orders(ctx context.Context, t *testing.T, f *office, first uint64, loss float64) {
	t.Helper()
	var wg sync.WaitGroup
	for seed := first; seed < first+20; seed++ {
		c, err := f.Meta.Call(ctx, fakemeta.CallOptions{Sound: ear(), Loss: fakemeta.Loss{Share: loss, Seed: seed}})
		must(t, err)
		wg.Go(func() {
			defer c.HangUp()
			if err := order(ctx, f, c, digits(seed)); err != nil {
				t.Errorf("customer %d: %v", seed, err)
			}
			missing := 0
			for _, s := range c.Report().Streams {
				missing += s.Missing
			}
			if (missing > 0) != (loss > 0) {
				t.Errorf("customer %d missed %d packets with a loss of %v", seed, missing, loss)
			}
		})
	}
	wg.Wait()
}

// digits are 16 of a kind: some follow themselves.
func digits(seed uint64) string {
	dice, out := rand.New(rand.NewPCG(seed, 7)), ""
	for range 16 {
		out += string("0123456789"[dice.IntN(10)])
	}
	return out
}

// order waits for the question, presses the keys and hears what Asterisk read.
func order(ctx context.Context, f *office, c *fakemeta.Customer, keys string) error {
	if err := c.WaitHeard(ctx, peers.QuestionTone); err != nil {
		return fmt.Errorf("the question: %w", err)
	}
	if err := c.Press(ctx, keys); err != nil {
		return err
	}
	read, err := f.pbx.WaitEvent(ctx, "VarSet", "Variable", "ORDER", "CallerIDNum", "+"+c.User().Number)
	if err != nil {
		return err
	}
	if got := read["Value"]; got != keys {
		return fmt.Errorf("pressed %s, Asterisk read %s", keys, got)
	}
	return nil
}

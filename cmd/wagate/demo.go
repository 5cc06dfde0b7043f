package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
	"wagate/test/tone"
)

// demoCmd runs the main job on loopback: a real gateway between a simulated
// Meta and a simulated PBX.
type demoCmd struct {
	Calls  int           `default:"1" help:"How many customers call at once, and how many desk phones then call back."`
	Talk   time.Duration `default:"4s" help:"How long both talk after they hear each other."`
	Listen bool          `help:"Keep everything running until interrupted, one call after the other, with the admin address printed."`
	Ladder bool          `help:"Print the ladder of every call, however many there are."`
}

const (
	demoPatience   = 30 * time.Second // to be answered, and to hear each other
	demoRing       = 400 * time.Millisecond
	demoLadders    = 3 // so many calls are shown in full
	demoMarkers    = time.Second
	demoBetween    = 2 * time.Second
	customerRate   = 16000
	packetLength   = 20 * time.Millisecond
	settlePatience = 15 * time.Second
)

// Run places the calls and says what was heard. It fails unless audio was heard
// both ways in every call, and both far ends agree that all is over.
func (d demoCmd) Run(ctx context.Context, term terminal) (err error) {
	if d.Calls < 1 || d.Calls > 500 {
		return usageError{errors.New("--calls takes 1 to 500")}
	}
	r, err := rig.Start(ctx, rig.Options{Meta: fakemeta.Options{StrictPermissions: true}, Config: func(c *config.Config) {
		c.Limits.Calls = max(c.Limits.Calls, d.Calls)
		rig.DialOut(c)
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script {
		s := faketrunk.Answer(demoRing)
		s.Marker = demoMarkers
		return s
	})
	term.say("gateway on loopback: SIP %s, webhook %s, admin http://%s",
		r.Gateway.SIPAddr("udp"), r.Gateway.WebhookAddr(), r.Gateway.AdminAddr())
	if d.Listen {
		return d.listen(ctx, term, r)
	}
	return d.round(ctx, term, r)
}

// listen plays one round after the other until somebody interrupts.
func (d demoCmd) listen(ctx context.Context, term terminal, r *rig.Rig) error {
	term.say("metrics: http://%s/metrics   calls: wagate calls --admin http://%s   end with Ctrl-C",
		r.Gateway.AdminAddr(), r.Gateway.AdminAddr())
	for {
		if err := d.round(ctx, term, r); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(demoBetween):
		}
	}
}

// round is d.Calls calls at once from customers to desk phones, then as many
// from desk phones to these customers, from the first ring to the books.
func (d demoCmd) round(ctx context.Context, term terminal, r *rig.Rig) error {
	calls := make([]*demoCall, 2*d.Calls)
	phones := phoneBook{found: map[string]*faketrunk.Call{}}
	collecting, stop := context.WithCancel(ctx)
	defer stop()
	var collector, talking sync.WaitGroup
	collector.Go(func() { phones.collect(collecting, r.PBX) })
	for i := range calls {
		calls[i] = &demoCall{number: i + 1, byPhone: i%2 == 1, outbound: i >= d.Calls}
	}
	for _, c := range calls[:d.Calls] {
		talking.Go(func() { c.err = c.play(ctx, r, &phones, d.Talk) })
	}
	talking.Wait()
	resting, cancel := context.WithTimeout(ctx, settlePatience)
	err := idle(resting, r)
	cancel()
	for i, c := range calls[d.Calls:] {
		if calls[i].customer == nil {
			c.err = errors.New("there is no customer to call")
			continue
		}
		c.who = calls[i].customer.User().Number // whose call has opened the window for a request
		talking.Go(func() { c.err = c.playOut(ctx, r, d.Talk) })
	}
	talking.Wait()
	stop()
	collector.Wait()
	settling, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	err = errors.Join(err, r.Meta.WaitQuiet(settling), r.PBX.Settled(settling))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(d.tell(term, r, calls), err, complaints(r))
}

// complaints are what Meta or the PBX would hold against the gateway.
func complaints(r *rig.Rig) error {
	var all []error
	for _, v := range r.Meta.Violations() {
		all = append(all, fmt.Errorf("meta would complain: %+v", v))
	}
	for _, f := range r.PBX.Faults() {
		all = append(all, fmt.Errorf("the PBX would complain: %s", f))
	}
	return errors.Join(all...)
}

// demoCall is one customer and the phone that rang for it.
type demoCall struct {
	number   int
	byPhone  bool // who hangs up
	outbound bool
	who      string          // the customer that a desk phone calls
	refused  *faketrunk.Call // the try without permission
	customer *fakemeta.Customer
	phone    *faketrunk.Call
	marker   *tone.Marker
	ear      *tone.Listener
	err      error
}

// play is the call: ring, answer, hear each other, talk, hang up.
func (c *demoCall) play(ctx context.Context, r *rig.Rig, phones *phoneBook, talk time.Duration) (err error) {
	c.marker = tone.NewMarker(customerRate, demoMarkers)
	c.ear = tone.NewListener(customerRate)
	patient, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	c.customer, err = r.Meta.Call(patient, fakemeta.CallOptions{
		User: fakemeta.User{Name: fmt.Sprintf("Customer %d", c.number)},
		Sound: fakemeta.Sound{
			Voice: tone.Mix(tone.NewSource(rig.CustomerTone, customerRate), c.marker),
			Hear:  []float64{rig.PhoneTone}, Ear: c.ear,
		},
	})
	if err != nil {
		return fmt.Errorf("place the call: %w", err)
	}
	if err := c.customer.Wait(patient, fakemeta.Connected); err != nil {
		return fmt.Errorf("wait for the answer: %w", err)
	}
	c.phone = phones.wait(patient, c.customer.ID())
	if c.phone == nil {
		return errors.New("no phone rang")
	}
	return c.converse(ctx, patient, talk)
}

// converse is a call that is up: both hear each other, talk, and one hangs up.
func (c *demoCall) converse(ctx, patient context.Context, talk time.Duration) error {
	if err := errors.Join(c.customer.WaitHeard(patient, rig.PhoneTone), c.phone.Audio().Meter().Wait(patient, rig.CustomerTone)); err != nil {
		return err
	}
	select {
	case <-time.After(talk):
	case <-ctx.Done():
	}
	if !c.byPhone {
		c.customer.HangUp()
		return c.phone.Wait(patient, faketrunk.Ended)
	}
	if err := c.phone.Hangup(patient); err != nil {
		return fmt.Errorf("hang up the phone: %w", err)
	}
	return c.customer.Wait(patient, fakemeta.Ended)
}

// phoneBook finds the phone that rang for a customer, by the X-WA-ID that the
// PBX was told.
type phoneBook struct {
	mu      sync.Mutex
	found   map[string]*faketrunk.Call
	changed chan struct{}
}

func (b *phoneBook) collect(ctx context.Context, pbx *faketrunk.Trunk) {
	for {
		call, err := pbx.Next(ctx)
		if err != nil {
			return
		}
		b.mu.Lock()
		b.found[call.Invite().Get("X-WA-ID")] = call
		if b.changed != nil {
			close(b.changed)
			b.changed = nil
		}
		b.mu.Unlock()
	}
}

// wait returns nil when no phone rang in time.
func (b *phoneBook) wait(ctx context.Context, wacid string) *faketrunk.Call {
	for {
		b.mu.Lock()
		call := b.found[wacid]
		if b.changed == nil {
			b.changed = make(chan struct{})
		}
		changed := b.changed
		b.mu.Unlock()
		if call != nil {
			return call
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

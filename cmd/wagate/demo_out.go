package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
	"wagate/test/tone"
)

// playOut is a call from a desk phone: refused as long as the customer has not
// said yes, while the customer is asked; then placed again.
func (c *demoCall) playOut(ctx context.Context, r *rig.Rig, talk time.Duration) error {
	patient, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	c.marker = tone.NewMarker(customerRate, demoMarkers)
	c.ear = tone.NewListener(customerRate)
	r.Meta.Consent(c.who, fakemeta.Consent{Answer: fakemeta.GrantTemporary, After: demoRing})
	r.Meta.Callee(c.who, fakemeta.Callee{
		Answer: demoRing,
		Sound: fakemeta.Sound{
			Voice: tone.Mix(tone.NewSource(rig.CustomerTone, customerRate), c.marker),
			Hear:  []float64{rig.PhoneTone}, Ear: c.ear,
		},
	})
	first, err := c.dial(patient, r)
	if err != nil {
		return err
	}
	if err := first.Wait(patient, faketrunk.Refused); err != nil {
		return fmt.Errorf("a call without permission was not refused: %w", err)
	}
	c.refused = first
	if err := c.granted(patient, r); err != nil {
		return err
	}
	if c.phone, err = c.dial(patient, r); err != nil {
		return err
	}
	if err := c.phone.Wait(patient, faketrunk.Up); err != nil {
		return fmt.Errorf("wait for the answer: %w", err)
	}
	if c.customer, err = r.Meta.WaitCallee(patient, c.who); err != nil {
		return fmt.Errorf("wait for the customer: %w", err)
	}
	return c.converse(ctx, patient, talk)
}

func (c *demoCall) dial(ctx context.Context, r *rig.Rig) (*faketrunk.Call, error) {
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
		To: "sip:+" + c.who + "@" + r.Gateway.SIPAddr("udp"), From: "201", Script: faketrunk.Script{Marker: demoMarkers},
	})
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	return call, nil
}

// granted waits until the customer's yes is with the gateway.
func (c *demoCall) granted(ctx context.Context, r *rig.Rig) error {
	if _, err := r.Meta.WaitMessage(ctx, c.who); err != nil {
		return fmt.Errorf("the customer was not asked: %w", err)
	}
	return until(ctx, "the customer did not answer the request", func() bool {
		var known struct{ State string }
		return adminGet(ctx, r, "/api/v1/permissions/support/"+c.who, &known) && known.State == "temporary"
	})
}

// idle waits until the gateway has written the calls down that are over: as long
// as it has not, their customers are busy.
func idle(ctx context.Context, r *rig.Rig) error {
	return until(ctx, "the gateway is not done with the calls of the customers", func() bool {
		var live struct{ Calls []liveCall }
		return adminGet(ctx, r, callsPath, &live) && len(live.Calls) == 0
	})
}

// until asks again and again; otherwise says what did not come about.
func until(ctx context.Context, otherwise string, come func() bool) error {
	poll := time.NewTicker(demoPoll)
	defer poll.Stop()
	for !come() {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return errors.New(otherwise)
		}
	}
	return nil
}

// adminGet reads an answer of the gateway's admin API, if it is one.
func adminGet(ctx context.Context, r *rig.Rig, path string, into any) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Gateway.AdminAddr()+path, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	return res.StatusCode == http.StatusOK && json.NewDecoder(res.Body).Decode(into) == nil
}

const demoPoll = 20 * time.Millisecond

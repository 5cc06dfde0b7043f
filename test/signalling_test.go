package test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

const (
	signallingRate  = 50 // calls a second
	signallingGraph = 20 * time.Millisecond
	signallingRings = 300 * time.Millisecond
	signallingDelay = 50 * time.Millisecond
)

// TestSignalling: two seconds of it.
func TestSignalling(t *testing.T) {
	t.Parallel()
	signalling(t, 2)
}

// signalling lets fifty calls a second begin, in turn of customers and of agents,
// that ring and are then refused or given up, without a packet of audio. All take
// their course, and what we add to their set-up is told.
func signalling(t *testing.T, seconds int) {
	t.Helper()
	calls := signallingRate * seconds
	r, ctx := riggedFor(t, rig.Options{
		Meta: fakemeta.Options{Keep: 8 * calls},
		Config: func(c *config.Config) {
			unprobed(c)
			rig.DialOut(c)
			c.Limits.Calls = 1000
		},
	}, time.Duration(seconds)*time.Second+4*patience)
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script {
		return faketrunk.Script{Status: 486, Answer: signallingRings, NoAudio: true}
	})
	agents := calls / 2
	for i := range agents {
		r.Meta.Grant(signallingCustomer(i))
	}
	awaitMetric(ctx, t, r, float64(agents), "wagate_permission_replies_total")
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.LateReply, Delay: signallingGraph})

	var running sync.WaitGroup
	var mu sync.Mutex
	phones := map[string]*faketrunk.Call{} // by the customer's number
	offers := map[string]string{}          // Meta's id of a call, by its payload
	pace := time.NewTicker(time.Second / signallingRate)
	defer pace.Stop()
	for i := range calls {
		<-pace.C
		running.Go(func() {
			if i%2 == 0 {
				id := customerRings(ctx, t, r, i)
				mu.Lock()
				defer mu.Unlock()
				offers[strconv.Itoa(i)] = id
				return
			}
			who := signallingCustomer(i / 2)
			phone := agentRings(ctx, t, r, who)
			mu.Lock()
			defer mu.Unlock()
			phones[who] = phone
		})
	}
	running.Wait()
	rs := settled(ctx, t, r)
	for _, rec := range rs {
		if want := map[string]string{"inbound": "busy", "outbound": "cancelled"}[rec.Direction]; rec.Cause != want {
			t.Errorf("an %s call ended as %s, want %s", rec.Direction, rec.Cause, want)
		}
	}
	in, out, rung := setUpDelays(r, phones, maps.Clone(offers))
	if len(in)+len(out) != calls || len(rung) != len(out) {
		t.Errorf("%d calls reached the PBX, %d Meta, and %d of these rang; want %d", len(in), len(out), len(rung), calls)
	}
	t.Logf("L1: %d calls at %d a second; added until the PBX is asked %v, until Meta is asked %v, until an agent hears that it rings %v (half of them, 99 %%), want at most %v",
		len(rs), signallingRate, halfAndMost(in), halfAndMost(out), halfAndMost(rung), signallingDelay)
}

func signallingCustomer(i int) string { return fmt.Sprintf("34620%06d", i) }

// customerRings is a call that the phone refuses when it has rung.
func customerRings(ctx context.Context, t *testing.T, r *rig.Rig, i int) (id string) {
	t.Helper()
	c, err := r.Meta.Call(ctx, fakemeta.CallOptions{
		User: fakemeta.User{Number: fmt.Sprintf("34630%06d", i)}, Payload: strconv.Itoa(i), Flaw: fakemeta.Unshaken,
	})
	if err != nil {
		t.Errorf("customer %d: %v", i, err)
		return ""
	}
	if err := c.Wait(ctx, fakemeta.Ended); err != nil {
		t.Errorf("customer %d: %v", i, err)
	}
	return c.ID()
}

// agentRings is a call that the agent gives up when it has rung.
func agentRings(ctx context.Context, t *testing.T, r *rig.Rig, who string) *faketrunk.Call {
	t.Helper()
	r.Meta.Callee(who, fakemeta.Callee{Never: true})
	phone, err := r.PBX.Dial(ctx, faketrunk.Outgoing{
		To: "sip:+" + who + "@" + r.Gateway.SIPAddr("udp"), From: "201", Script: faketrunk.Script{NoAudio: true},
	})
	if err == nil {
		err = phone.Wait(ctx, faketrunk.Rung)
	}
	if err == nil {
		pause(ctx, signallingRings)
		err = phone.Hangup(ctx)
	}
	if err != nil {
		t.Errorf("call to %s: %v", who, err)
	}
	return phone
}

// setUpDelays are the times between what reached us and what we made of it: from
// the offer's webhook to the INVITE, from an agent's INVITE to the connect, and
// from the RINGING webhook to 180.
func setUpDelays(r *rig.Rig, phones map[string]*faketrunk.Call, offers map[string]string) (in, out, rung []time.Duration) {
	offered, ringing := map[string]time.Time{}, map[string]time.Time{}
	for _, d := range r.Meta.Deliveries() {
		for i, kind := range d.Kinds {
			first := map[fakemeta.Kind]map[string]time.Time{fakemeta.KindConnect: offered, fakemeta.KindRinging: ringing}[kind]
			if _, known := first[d.CallIDs[i]]; first != nil && !known {
				first[d.CallIDs[i]] = d.At
			}
		}
	}
	for _, m := range r.PBX.Requests("INVITE") { // its repeats find nothing any more
		if at, ok := offered[offers[m.Get("X-WA-Payload")]]; m.In && ok {
			in = append(in, m.At.Sub(at))
			delete(offers, m.Get("X-WA-Payload"))
		}
	}
	for _, q := range r.Meta.Requests() {
		phone := phones[strings.TrimPrefix(q.To, "+")]
		if q.Action != "connect" || phone == nil {
			continue
		}
		all := phone.Messages()
		out = append(out, q.At.Sub(all[0].At)) // the first is the INVITE
		i := slices.IndexFunc(all, func(m *faketrunk.Message) bool { return m.In && m.Status == 180 })
		if at, ok := ringing[q.CallID]; ok && i >= 0 {
			rung = append(rung, all[i].At.Sub(at))
		}
	}
	return in, out, rung
}

// halfAndMost are the median and the 99th percentile.
func halfAndMost(all []time.Duration) []time.Duration {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return []time.Duration{all[len(all)/2], all[len(all)*99/100]}
}

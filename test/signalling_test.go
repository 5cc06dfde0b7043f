package test

import (
	"context"
	"fmt"
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
	m := &moments{invited: map[string]time.Time{}, offers: map[string]string{}, phones: map[string]alerted{}}
	r.PBX.Handle(func(invite *faketrunk.Message) faketrunk.Script {
		m.note(invite)
		return faketrunk.Script{Status: 486, Answer: signallingRings, NoAudio: true}
	})
	agents := calls / 2
	for i := range agents {
		r.Meta.Grant(crowdCustomer(i))
	}
	awaitMetric(ctx, t, r, float64(agents), "wagate_permission_replies_total")
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.LateReply, Delay: signallingGraph})

	var running sync.WaitGroup
	pace := time.NewTicker(time.Second / signallingRate)
	defer pace.Stop()
	for i := range calls {
		<-pace.C
		running.Go(func() {
			if i%2 == 0 {
				m.customerRings(ctx, t, r, i)
			} else {
				m.agentRings(ctx, t, r, crowdCustomer(i/2))
			}
		})
	}
	running.Wait()
	rs := settled(ctx, t, r)
	for _, rec := range rs {
		if want := map[string]string{"inbound": "busy", "outbound": "cancelled"}[rec.Direction]; rec.Cause != want {
			t.Errorf("an %s call ended as %s, want %s", rec.Direction, rec.Cause, want)
		}
	}
	in, out, rung := m.delays(r)
	if len(in)+len(out) != calls || len(rung) != len(out) {
		t.Errorf("%d calls reached the PBX, %d Meta, and %d of these rang; want %d", len(in), len(out), len(rung), calls)
	}
	t.Logf("L1: %d calls at %d a second; added until the PBX is asked %v, until Meta is asked %v, until an agent hears that it rings %v (half of them, 99 %%), want at most %v",
		len(rs), signallingRate, halfAndMost(in), halfAndMost(out), halfAndMost(rung), signallingDelay)
}

// crowdCustomer is one of the many whom agents call.
func crowdCustomer(i int) string { return fmt.Sprintf("34620%06d", i) }

// moments are when what reached the PBX and left it.
type moments struct {
	mu      sync.Mutex
	invited map[string]time.Time // by payload: the INVITE at the PBX
	offers  map[string]string    // by payload: Meta's id of the call
	phones  map[string]alerted   // by the customer's number
}

// alerted is when an agent's INVITE left and its first 180 came.
type alerted struct{ asked, rung time.Time }

// note takes an INVITE; its repeats are no news.
func (m *moments) note(invite *faketrunk.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	payload := invite.Get("X-WA-Payload")
	if _, known := m.invited[payload]; !known {
		m.invited[payload] = invite.At
	}
}

// customerRings is a call that the phone refuses when it has rung.
func (m *moments) customerRings(ctx context.Context, t *testing.T, r *rig.Rig, n int) {
	t.Helper()
	payload := strconv.Itoa(n)
	c, err := r.Meta.Call(ctx, fakemeta.CallOptions{
		User: fakemeta.User{Number: fmt.Sprintf("34630%06d", n)}, Payload: payload, Flaw: fakemeta.Unshaken,
	})
	if err == nil {
		err = c.Wait(ctx, fakemeta.Ended)
	}
	if err != nil {
		t.Errorf("customer %s: %v", payload, err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offers[payload] = c.ID()
}

// agentRings is a call that the agent gives up when it has rung.
func (m *moments) agentRings(ctx context.Context, t *testing.T, r *rig.Rig, who string) {
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
		return
	}
	all := phone.Messages()
	i := slices.IndexFunc(all, func(m *faketrunk.Message) bool { return m.In && m.Status == 180 })
	m.mu.Lock()
	defer m.mu.Unlock()
	if i < 0 {
		t.Errorf("call to %s: no 180 among %d messages", who, len(all))
		return
	}
	m.phones[who] = alerted{all[0].At, all[i].At}
}

// delays are the times between what reached us and what we made of it: from the
// offer's webhook to the INVITE, from an agent's INVITE to the connect, and from
// the RINGING webhook to 180.
func (m *moments) delays(r *rig.Rig) (in, out, rung []time.Duration) {
	first := map[fakemeta.Kind]map[string]time.Time{fakemeta.KindConnect: {}, fakemeta.KindRinging: {}}
	for _, d := range r.Meta.Deliveries() {
		for i, kind := range d.Kinds {
			if _, known := first[kind][d.CallIDs[i]]; first[kind] != nil && !known {
				first[kind][d.CallIDs[i]] = d.At
			}
		}
	}
	for payload, id := range m.offers {
		at, asked := m.invited[payload]
		if offered, known := first[fakemeta.KindConnect][id]; asked && known {
			in = append(in, at.Sub(offered))
		}
	}
	for _, q := range r.Meta.Requests() {
		h, ours := m.phones[strings.TrimPrefix(q.To, "+")]
		if q.Action != "connect" || !ours {
			continue
		}
		out = append(out, q.At.Sub(h.asked))
		if at, known := first[fakemeta.KindRinging][q.CallID]; known {
			rung = append(rung, h.rung.Sub(at))
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

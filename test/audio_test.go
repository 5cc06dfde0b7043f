package test

import (
	"context"
	"math"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

const packetTime = 20 * time.Millisecond

// TestLongCall: in a minute no packet is missing in either direction, one
// source says everything, and its clock never jumps.
func TestLongCall(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		codec  string
		length time.Duration
	}{
		{"PCMA", "PCMA", time.Minute},
		{"PCMU", "PCMU", 10 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { c.Trunks[0].Codecs = []string{row.codec} }})
			r.PBX.Handle(answering(200 * time.Millisecond))
			customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
			over := time.NewTimer(row.length)
			defer over.Stop()
			select {
			case <-over.C:
			case <-customer.Reached(fakemeta.Ended):
				t.Error("the call did not last")
			}
			hearing(ctx, t, customer, phone)
			customer.HangUp()
			rec := recordOf(t, settled(ctx, t, r), customer)
			wantRecord(t, rec, "hangup", "customer")
			if rec.CodecSIP != row.codec || rec.DurationS < row.length.Seconds() {
				t.Errorf("the record says %s, %v s", rec.CodecSIP, rec.DurationS)
			}
			wantSteadyAtCustomer(t, customer)
			wantSteadyAtPhone(t, phone)
		})
	}
}

// wantSteadyAtCustomer asserts that what the customer got is one unbroken
// stream that began after accept's 200.
func wantSteadyAtCustomer(t *testing.T, c *fakemeta.Customer) {
	t.Helper()
	rep := c.Report()
	if rep.Early != 0 || rep.Bad != 0 {
		t.Errorf("the customer got %d packets before accept's 200, and %d bad ones", rep.Early, rep.Bad)
	}
	if len(rep.Streams) != 1 {
		t.Fatalf("the customer got %d sources: %+v", len(rep.Streams), rep.Streams)
	}
	s := rep.Streams[0]
	if s.Missing != 0 || s.Duplicates != 0 || s.Jumps != 0 {
		t.Errorf("the customer's stream has %d missing, %d double, %d jumps", s.Missing, s.Duplicates, s.Jumps)
	}
	wantCount(t, "customer", s.Packets, s.Last.Sub(s.First), s.MaxGap)
	packets := c.Packets()
	for i, p := range packets[1:] {
		q := packets[i]
		if d := p.Sequence - q.Sequence; d != 1 && s.Reordered == 0 {
			t.Errorf("sequence number %d follows %d", p.Sequence, q.Sequence)
		}
	}
	t.Logf("customer: %d packets, longest pause %v, jitter %v", s.Packets, s.MaxGap.Round(time.Millisecond), s.Jitter.Round(time.Microsecond))
}

func wantSteadyAtPhone(t *testing.T, phone *faketrunk.Call) {
	t.Helper()
	rec := phone.Audio().Reception()
	if len(rec.SSRCs) != 1 || rec.Missing != 0 || rec.Duplicates != 0 || rec.SequenceJumps != 0 || rec.TimestampJumps != 0 || rec.Strange != 0 {
		t.Errorf("the phone's stream is %+v", rec)
	}
	if len(rec.Sources) != 1 {
		t.Errorf("the phone's stream came from %v", rec.Sources)
	}
	wantCount(t, "phone", rec.Packets, rec.Last.Sub(rec.First), rec.LongestPause)
	t.Logf("phone: %d packets, longest pause %v, 99 of 100 under %v", rec.Packets, rec.LongestPause.Round(time.Millisecond), rec.P99Pause)
}

// calmPause is the longest pause between packets on a machine that has time for
// all of them. Figures of time mean nothing where it had not.
const calmPause = 60 * time.Millisecond

// wantCount asserts that there was a packet for every 20 ms.
func wantCount(t *testing.T, who string, got int, span, longest time.Duration) {
	t.Helper()
	want := float64(span/packetTime) + 1
	switch off := math.Abs(float64(got) - want); {
	case off <= math.Ceil(want/100)+5:
	case longest > calmPause:
		t.Logf("the %s got %d packets of %.0f, but the machine is too busy to judge", who, got, want)
	default:
		t.Errorf("the %s got %d packets in %v, want about %.0f", who, got, span.Round(time.Millisecond), want)
	}
}

// TestAnswerIsTheSameTwice: accept carries the session description of
// pre_accept byte for byte, and our call's id as the tag.
func TestAnswerIsTheSameTwice(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(answering(100 * time.Millisecond))
	customer, _ := talking(ctx, t, r, fakemeta.CallOptions{IPv6: fakemeta.DeadIPv6})
	customer.HangUp()
	rec := recordOf(t, settled(ctx, t, r), customer)
	var pre, accept fakemeta.Request
	for _, q := range r.Meta.Requests() {
		switch q.Action {
		case "pre_accept":
			pre = q
		case "accept":
			accept = q
		}
	}
	if pre.SDP == "" || pre.SDP != accept.SDP {
		t.Errorf("pre_accept had\n%q\naccept has\n%q", pre.SDP, accept.SDP)
	}
	if pre.Tag != "" || accept.Tag != rec.ID {
		t.Errorf("tags are %q and %q, want none and %q", pre.Tag, accept.Tag, rec.ID)
	}
}

// TestPreAcceptIsLost: the phone rings for 7 s while Meta knows nothing of our
// address; after accept both hear each other within two seconds.
func TestPreAcceptIsLost(t *testing.T) {
	t.Parallel()
	const rings, limit = 7 * time.Second, 2 * time.Second
	r, ctx := rigged(t, rig.Options{})
	r.Meta.Fail(fakemeta.Fault{Kind: fakemeta.Hang, Action: "pre_accept"})
	r.PBX.Handle(answering(rings))
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	began := time.Now()
	hearing(ctx, t, customer, phone)
	took := time.Since(began)
	rep := customer.Report()
	t.Logf("after accept: first packet %v, both heard 300 ms of the other's tone %v", rep.FirstPacket.Sub(rep.Connected).Round(time.Millisecond), took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("both heard each other %v after accept, want at most %v", took, limit)
	}
	if rep.Connected.Sub(rep.Placed) < rings-time.Second {
		t.Errorf("the call was connected after %v", rep.Connected.Sub(rep.Placed))
	}
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	wantAsked(t, r, customer, "pre_accept", "accept")
	wantSteadyAtCustomer(t, customer)
}

// TestCustomerPressesKeys: all sixteen arrive once each, in order, on the 8 kHz
// clock, with their length.
func TestCustomerPressesKeys(t *testing.T) {
	t.Parallel()
	const keys = "0123456789*#ABCD"
	const pressed = 100 * time.Millisecond
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	must(t, customer.Press(ctx, keys))
	must(t, phone.Audio().WaitDigits(ctx, keys))
	hearing(ctx, t, customer, phone) // the voice is back
	must(t, customer.Press(ctx, "1122"))
	must(t, phone.Audio().WaitDigits(ctx, keys+"1122"))
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	rec := phone.Audio().Reception()
	for _, d := range phone.Audio().DigitEvents() {
		exact := d.Duration == pressed && d.Ends == 3
		if d.Ends == 0 || !d.Marked || d.Shrunk || !exact && rec.LongestPause <= calmPause {
			t.Errorf("key %c arrived as %+v, want %v", d.Key, d, pressed)
		}
	}
	if len(rec.SSRCs) != 1 || rec.Missing != 0 || rec.SequenceJumps != 0 || rec.Strange != 0 {
		t.Errorf("the phone's stream is %+v", rec)
	}
}

// TestHold: the PBX holds, plays music, falls silent and comes back; the stream
// towards the customer knows nothing of it, and Meta is not asked anything.
func TestHold(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) { c.Media.Timeout = 2 * time.Second }})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	reinvite := func(d faketrunk.Direction) {
		t.Helper()
		status, err := phone.Reinvite(ctx, d)
		if err != nil || status != 200 {
			t.Fatalf("re-INVITE %s: %d, %v", d, status, err)
		}
	}
	reinvite(faketrunk.SendOnly)
	customer.Meter().Reset()
	if err := customer.WaitHeard(ctx, rig.PhoneTone); err != nil {
		t.Errorf("the customer hears no music: %v", err)
	}
	reinvite(faketrunk.Inactive)
	silent := time.NewTimer(3 * time.Second) // longer than the PBX may be silent in a call
	defer silent.Stop()
	select {
	case <-silent.C:
	case <-customer.Reached(fakemeta.Ended):
		t.Fatal("the call ended on hold")
	}
	reinvite(faketrunk.SendRecv)
	hearing(ctx, t, customer, phone)
	must(t, phone.Hangup(ctx))
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "pbx")
	wantSteadyAtCustomer(t, customer)
	wantVerbs(t, r, customer, "pre_accept", "accept", "terminate")
}

// TestPhoneIsQuiet: a customer who says nothing, or a phone that does, still has
// a call; what is sent towards Meta never stops.
func TestPhoneIsQuiet(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Script{NoAudio: true} })
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, customer.WaitMedia(ctx))
	awaitPackets(ctx, t, customer, 150)
	customer.HangUp()
	wantRecord(t, recordOf(t, settled(ctx, t, r), customer), "hangup", "customer")
	wantSteadyAtCustomer(t, customer)
}

// awaitPackets waits until the customer has got so many packets.
func awaitPackets(ctx context.Context, t *testing.T, c *fakemeta.Customer, n int) {
	t.Helper()
	poll := time.NewTicker(packetTime)
	defer poll.Stop()
	for len(c.Packets()) < n {
		select {
		case <-ctx.Done():
			t.Errorf("%d packets of %d", len(c.Packets()), n)
			return
		case <-c.Reached(fakemeta.Ended):
			t.Errorf("the call ended after %d packets of %d", len(c.Packets()), n)
			return
		case <-poll.C:
		}
	}
}

// TestSameCodecOnBothSides: where the number has G.711 at Meta and the trunk
// speaks it too, nothing is decoded, in calls of either direction; the sound and
// the streams are as good.
func TestSameCodecOnBothSides(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"PCMA", "PCMU"} {
		t.Run(codec, func(t *testing.T) {
			t.Parallel()
			r, ctx := rigged(t, rig.Options{Meta: fakemeta.Options{Codecs: []string{"PCMA", "PCMU"}}, Config: func(c *config.Config) {
				c.Trunks[0].Codecs = []string{codec}
				c.WhatsApp.Numbers[0].Codecs = []string{"opus", "PCMA", "PCMU"}
			}})
			r.PBX.Handle(answering(0))
			customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
			must(t, customer.Press(ctx, "12#"))
			must(t, phone.Audio().WaitDigits(ctx, "12#"))
			hearing(ctx, t, customer, phone)
			customer.HangUp()
			rec := recordOf(t, settled(ctx, t, r), customer)
			wantRecord(t, rec, "hangup", "customer")
			if rec.CodecSIP != codec || rec.CodecWhatsApp != codec {
				t.Errorf("the record says %s and %s, want %s twice", rec.CodecWhatsApp, rec.CodecSIP, codec)
			}
			wantSteadyAtCustomer(t, customer)
			wantSteadyAtPhone(t, phone)
		})
	}
}

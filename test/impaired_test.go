package test

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/impair"
	"wagate/test/rig"
	"wagate/test/tone"
)

// badNetwork is a network on one leg of the calls of a rig.
type badNetwork struct {
	o      impair.Options
	mu     sync.Mutex
	relays []*impair.UDP
	net    [2]impair.Network
	trace  []passage // of the packets to the gateway, where it is watched
}

// passage is an RTP packet that was relayed or lost.
type passage struct {
	number uint16
	lost   bool
}

// badSound is a network that is bad to RTP alone and notes what it does to the
// packets towards the gateway.
func badSound(seed uint64) *badNetwork {
	b := &badNetwork{}
	b.o = impair.Options{Seed: seed, Only: impair.RTP, Watch: b.watch}
	return b
}

func (b *badNetwork) watch(w impair.Way, packet []byte, f impair.Fate) {
	if w == impair.Down {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.trace = append(b.trace, passage{uint16(packet[2])<<8 | uint16(packet[3]), f.Copies == 0})
	}
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
	b.setWay(impair.Up, n)
	b.setWay(impair.Down, n)
}

// setWay changes the way from the gateway, Up, or the one to it, Down.
func (b *badNetwork) setWay(w impair.Way, n impair.Network) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.net[w] = n
	for _, r := range b.relays {
		r.Set(w, n)
	}
}

func (b *badNetwork) close() {
	b.mu.Lock()
	relays := b.relays
	b.mu.Unlock()
	for _, r := range relays {
		_ = r.Close()
	}
}

// passed is the trace so far.
func (b *badNetwork) passed() []passage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.trace)
}

// longLosses counts the rows of more than three packets that were lost.
func longLosses(trace []passage) (rows int) {
	row := 0
	for _, p := range trace {
		if !p.lost {
			row = 0
		} else if row++; row == 4 {
			rows++
		}
	}
	return rows
}

// buzzTone is what is listened for in a buzz.
const buzzTone = 400

// buzz is 200 Hz with harmonics: to a speech codec a voice, which it carries
// over a loss as well as any. A single sine it guesses badly.
func buzz(rate int) tone.Reader {
	var parts []tone.Reader
	for k := 1; k <= 8; k++ {
		s := tone.NewSource(200*float64(k), rate)
		s.SetLevel(-16 - float64(k))
		parts = append(parts, s)
	}
	return tone.Mix(parts...)
}

// impairedCase is a call whose sound meets bad networks on its way to the
// gateway.
type impairedCase struct {
	name          string
	whatsapp, pbx impair.Network
}

const ms = time.Millisecond

var (
	jumbled = impair.Network{Jitter: 80 * ms, Reorder: 0.05, Duplicate: 0.05}
	jumbles = impair.Network{Jitter: 80 * ms, Reorder: 0.05, Duplicate: 0.05, Loss: 0.03}

	impairedCases = []impairedCase{
		{"1 % and 3 %", impair.Network{Loss: 0.01}, impair.Network{Loss: 0.03}},
		{"5 % and 10 %", impair.Network{Loss: 0.05}, impair.Network{Loss: 0.10}},
		{"bursts", impair.Network{Loss: 0.05, Burst: 2}, impair.Network{Loss: 0.05, Burst: 3}},
		{"jitter, reordered and twice", jumbled, jumbles},
	}
)

// TestBadNetworks: with loss, bursts, jitter, reordering and duplicates on both
// legs the sound has gaps only where more than three packets in a row were
// lost, keys arrive exactly, and ten seconds after the networks are good again
// so is the delay. The estimated quality is what the trace gives by the table.
func TestBadNetworks(t *testing.T) {
	t.Parallel()
	for _, c := range impairedCases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.play(t, 8*time.Second)
		})
	}
}

// lateness watches how late the machine is: what is heard while it has no time
// for its work says nothing about the gateway.
type lateness struct{ most, recent atomic.Int64 }

func watchLateness(t *testing.T) *lateness {
	t.Helper()
	const every = 10 * ms
	l := &lateness{}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		last := time.Now()
		for {
			select {
			case <-tick.C:
			case <-stop:
				return
			}
			now := time.Now()
			late := int64(now.Sub(last) - every)
			l.most.Store(max(l.most.Load(), late))
			l.recent.Store(max(l.recent.Load(), late))
			last = now
		}
	})
	t.Cleanup(func() {
		close(stop)
		wg.Wait()
	})
	return l
}

// worst is the most so far.
func (l *lateness) worst() time.Duration { return time.Duration(l.most.Load()) }

// lately is the most since it was asked last.
func (l *lateness) lately() time.Duration { return time.Duration(l.recent.Swap(0)) }

func (c *impairedCase) play(t *testing.T, bad time.Duration) {
	t.Helper()
	late := watchLateness(t)
	// fault is an error where the machine had time for its work.
	fault := func(format string, args ...any) {
		t.Helper()
		if worst := late.worst(); worst > calmPause {
			t.Logf("the machine was %v late: "+format, append([]any{worst}, args...)...)
			return
		}
		t.Errorf(format, args...)
	}
	const keys, back, limit = "0123456789*#ABCD", 10 * time.Second, 40 * ms
	meta, pbx := badSound(1), badSound(2)
	t.Cleanup(meta.close)
	t.Cleanup(pbx.close)
	r, ctx := riggedFor(t, rig.Options{Meta: fakemeta.Options{Via: meta.whatsapp}, Via: pbx.pbx, Listen: []float64{buzzTone}, Config: unprobed}, 4*patience+bad)
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script {
		return faketrunk.Script{Marker: time.Second, Voice: buzz(8000)}
	})
	listener, says := tone.NewListener(customerRate), tone.NewMarker(customerRate, time.Second)
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Sound: fakemeta.Sound{
		Voice: &markedVoice{marker: says, under: buzz(customerRate)}, Hear: []float64{buzzTone}, Ear: listener,
	}})
	must(t, err)
	phone, err := r.PBX.Next(ctx)
	must(t, err)
	ear := phone.Audio().Meter()
	audible := func() {
		t.Helper()
		customer.Meter().Reset()
		ear.Reset()
		must(t, customer.Meter().Wait(ctx, buzzTone))
		must(t, ear.Wait(ctx, buzzTone))
	}
	audible()
	toCustomer := func() []time.Duration { return tone.Delays(phone.Audio().MarkersSent(), listener.Heard()) }
	toPhone := func() []time.Duration { return phone.Audio().Delays(says.Sent()) }
	there, here := slices.Min(await(ctx, t, toCustomer, 3)), slices.Min(await(ctx, t, toPhone, 3))

	meta.setWay(impair.Down, c.whatsapp)
	pbx.setWay(impair.Down, c.pbx)
	lasts(ctx, t, customer, bad)
	gapsThere, gapsHere := customer.Meter().Gaps(), ear.Gaps()
	must(t, customer.Press(ctx, keys))
	must(t, phone.Audio().WaitDigits(ctx, keys))
	meta.set(impair.Network{})
	pbx.set(impair.Network{})
	late.lately()
	lasts(ctx, t, customer, back)
	audible()
	for name, w := range map[string]struct {
		delays func() []time.Duration
		before time.Duration
		gaps   []tone.Gap
		trace  []passage
	}{
		"to the customer": {toCustomer, there, gapsThere, pbx.passed()},
		"to the phone":    {toPhone, here, gapsHere, meta.passed()},
	} {
		got := delayNow(ctx, t, w.delays)
		// Packets that a busy machine delays are bad network to the gateway too.
		for again := 0; got > w.before+limit && late.lately() > 20*ms && again < 3; again++ {
			t.Logf("%s: the delay is %v, but the machine is busy: again in %v", name, got, back)
			lasts(ctx, t, customer, back)
			got = delayNow(ctx, t, w.delays)
		}
		if got > w.before+limit {
			fault("%s: %v after the networks are good the delay is %v, before it was %v", name, back, got, w.before)
		}
		if n := longLosses(w.trace); len(w.gaps) > n {
			fault("%s: more than three packets in a row were lost %d times, the gaps are %v", name, n, w.gaps)
		}
	}
	customer.HangUp()
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "hangup", "customer")
	// What came too late was lost to the ear, and only the gateway knows of it.
	const within = 0.3
	side, want := rec.Media.WhatsApp, scriptedMOS(t, meta.passed())
	if d := math.Abs(side.MOS - want); d > within && side.Late == 0 {
		fault("MOS %.2f, by the script %.2f", side.MOS, want)
	}
	t.Logf("MOS %.2f, by the script %.2f", side.MOS, want)
}

// delayNow is the least delay of the next few markers.
func delayNow(ctx context.Context, t *testing.T, delays func() []time.Duration) time.Duration {
	t.Helper()
	so := len(delays())
	return slices.Min(await(ctx, t, delays, so+3)[so:])
}

// scriptedMOS is what a script makes of the packets' fates and a table, for
// Opus without copies.
func scriptedMOS(t *testing.T, trace []passage) float64 {
	t.Helper()
	var b strings.Builder
	b.WriteString("redundancy 0\n")
	for _, p := range trace {
		fate := "here"
		if p.lost {
			fate = "lost"
		}
		fmt.Fprintln(&b, fate)
	}
	path := filepath.Join(t.TempDir(), "trace")
	must(t, os.WriteFile(path, []byte(b.String()), 0o600))
	out, err := exec.CommandContext(t.Context(), "awk", "-f", "tools/mos.awk", "../media/testdata/mos.csv", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	must(t, err)
	return want
}

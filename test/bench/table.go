package main

import (
	"fmt"
	"slices"
	"time"
)

// result is one line of the table.
type result struct {
	subject       string
	calls         int
	cpu, took     time.Duration
	rss           int64
	toPhone, toWA sum
	setups        []time.Duration
	worst         time.Duration
	slipped       float64
}

// sum is the outcome of one direction of all calls.
type sum struct {
	expected, received, late, shifted int
	delays, gaps                      []time.Duration
}

func (s *sum) add(o outcome) {
	s.expected += o.expected
	s.received += o.received
	s.shifted += o.shifted
	for _, d := range o.delays {
		if d > lateAfter {
			s.late++
		}
	}
	s.delays = append(s.delays, o.delays...)
	s.gaps = append(s.gaps, o.gaps...)
}

// bad is the share of packets that were lost or late.
func (s *sum) bad() float64 {
	lost := max(s.expected-s.received, 0) + s.shifted
	return float64(lost+s.late) / float64(max(s.expected, 1))
}

// perCall is the CPU of one call, in milliseconds per second.
func (r *result) perCall() float64 {
	return 1000 * r.cpu.Seconds() / r.took.Seconds() / float64(r.calls)
}

// table prints as it goes: a run takes minutes.
type table struct {
	say   func(format string, args ...any)
	cpu   map[string][]float64 // per call, by subject
	pairs [][2]string          // to be compared
}

func (b *bench) newTable(title string) *table {
	b.say("\n%s", title)
	b.say("%-21s %5s | %7s %5s | %6s | %-21s | %-21s | %-15s | %-11s | %s",
		"", "", "CPU ms", "core", "KiB", "delay to PBX, ms", "delay to WhatsApp, ms", "spacing p99, ms", "lost/late %", "set-up")
	b.say("%-21s %5s | %7s %5s | %6s | %6s %6s %7s | %6s %6s %7s | %7s %7s | %5s %5s | %s",
		"", "calls", "/call s", "%", "/call", "p50", "p99", "worst", "p50", "p99", "worst", "PBX", "WA", "PBX", "WA", "p50 ms")
	return &table{say: b.say, cpu: map[string][]float64{}}
}

func (t *table) row(r *result) {
	a, b := &r.toPhone, &r.toWA
	t.say("%-21s %5d | %7.2f %5.1f | %6d | %6.2f %6.2f %7.1f | %6.2f %6.2f %7.1f | %7.2f %7.2f | %5.2f %5.2f | %.0f%s",
		r.subject, r.calls, r.perCall(), 100*r.cpu.Seconds()/r.took.Seconds(), r.rss/int64(r.calls)/1024,
		millis(quantile(a.delays, 0.5)), millis(quantile(a.delays, 0.99)), millis(quantile(a.delays, 1)),
		millis(quantile(b.delays, 0.5)), millis(quantile(b.delays, 0.99)), millis(quantile(b.delays, 1)),
		millis(quantile(a.gaps, 0.99)), millis(quantile(b.gaps, 0.99)), 100*a.bad(), 100*b.bad(),
		millis(quantile(r.setups, 0.5)), r.doubt())
	t.cpu[r.subject] = append(t.cpu[r.subject], r.perCall())
}

// doubt says when the load itself was not what it should be: the machine had
// other things to do.
func (r *result) doubt() string {
	if r.slipped < slipsAllowed {
		return ""
	}
	return fmt.Sprintf("   (the load was late itself: %.1f%% of its turns, up to %.0f ms)", 100*r.slipped, millis(r.worst))
}

const slipsAllowed = 0.001

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// ratios sums up what was compared, by the medians of all rounds.
func (t *table) ratios() {
	seen := map[[2]string]bool{}
	for _, p := range t.pairs {
		if !seen[p] {
			ours, theirs := median(t.cpu[p[0]]), median(t.cpu[p[1]])
			t.say("CPU per call, %s / %s: %.2f / %.2f = %.2f", p[0], p[1], ours, theirs, ours/theirs)
		}
		seen[p] = true
	}
}

func median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

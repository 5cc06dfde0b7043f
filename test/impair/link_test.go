package impair

import (
	"math"
	"os"
	"testing"
	"time"

	"wagate/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

const packets = 30_000

// run passes packets 20 ms apart.
func run(seed uint64, n Network) []Fate {
	l := NewLink(seed, 0)
	l.Set(n)
	fates := make([]Fate, packets)
	for i := range fates {
		fates[i] = l.Pass(time.Unix(0, 0).Add(time.Duration(i) * 20 * time.Millisecond))
	}
	return fates
}

func TestLossIsWhatWasAskedFor(t *testing.T) {
	for _, c := range []struct {
		net   Network
		burst float64 // mean length
	}{
		{Network{Loss: 0.01}, 1.01},
		{Network{Loss: 0.10}, 1.11},
		{Network{Loss: 0.05, Burst: 2}, 2},
		{Network{Loss: 0.10, Burst: 5}, 5},
		{Network{}, 0},
	} {
		lost, bursts, before := 0, 0, false
		for _, f := range run(3, c.net) {
			gone := f.Copies == 0
			if gone {
				lost++
			}
			if gone && !before {
				bursts++
			}
			before = gone
		}
		if share := float64(lost) / packets; math.Abs(share-c.net.Loss) > 0.15*c.net.Loss {
			t.Errorf("%+v: lost %.4f", c.net, share)
		}
		if mean := float64(lost) / math.Max(float64(bursts), 1); math.Abs(mean-c.burst) > 0.15*c.burst {
			t.Errorf("%+v: bursts of %.2f packets, want %.2f", c.net, mean, c.burst)
		}
	}
}

func TestDelayReorderAndDuplicate(t *testing.T) {
	n := Network{Delay: 40 * time.Millisecond, Jitter: 80 * time.Millisecond, Reorder: 0.05, Duplicate: 0.05}
	held, double := 0, 0
	var sum time.Duration
	for _, f := range run(5, n) {
		if f.Delay < n.Delay || f.Delay > n.Delay+n.Jitter+HoldBack {
			t.Fatalf("delayed by %v", f.Delay)
		}
		if f.Delay > n.Delay+n.Jitter {
			held++
		}
		if f.Copies == 2 {
			double++
		}
		sum += f.Delay
	}
	if mean := sum / packets; (mean - n.Delay - n.Jitter/2 - HoldBack/20).Abs() > time.Millisecond {
		t.Errorf("mean delay %v", mean)
	}
	if share := float64(double) / packets; math.Abs(share-0.05) > 0.005 {
		t.Errorf("%.4f came twice", share)
	}
	if held < packets/100 { // those of the 5 % that were late already
		t.Errorf("%d packets of %d were held back visibly", held, packets)
	}
}

func TestInOrderNothingOvertakes(t *testing.T) {
	last := time.Duration(0)
	for i, f := range run(7, Network{Jitter: 80 * time.Millisecond, InOrder: true}) {
		out := time.Duration(i)*20*time.Millisecond + f.Delay
		if out < last {
			t.Fatalf("packet %d comes out %v before its predecessor", i, last-out)
		}
		last = out
	}
}

// TestSameSeedSameFates: a run can be repeated, another seed is another run, and
// what is lost does not depend on what else happens.
func TestSameSeedSameFates(t *testing.T) {
	rough := Network{Loss: 0.05, Jitter: 80 * time.Millisecond, Reorder: 0.05, Duplicate: 0.05}
	a, b, other := run(1, rough), run(1, rough), run(2, rough)
	plain := run(1, Network{Loss: 0.05})
	differ := 0
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("packet %d: %+v and %+v from one seed", i, a[i], b[i])
		}
		if (a[i].Copies == 0) != (plain[i].Copies == 0) {
			t.Fatalf("packet %d is lost because of the jitter", i)
		}
		if a[i] != other[i] {
			differ++
		}
	}
	if differ < packets/2 {
		t.Errorf("only %d packets differ between two seeds", differ)
	}
}

func TestCutLetsNothingThrough(t *testing.T) {
	l := NewLink(1, 1)
	l.Set(Network{Cut: true})
	if f := l.Pass(time.Unix(0, 0)); f.Copies != 0 {
		t.Errorf("cut: %+v", f)
	}
	l.Set(Network{})
	if f := l.Pass(time.Unix(1, 0)); f != (Fate{Copies: 1}) {
		t.Errorf("no longer cut: %+v", f)
	}
}

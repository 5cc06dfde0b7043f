package media

import (
	"math"
	"strconv"
	"testing"

	"wagate/test/tone"
)

func power(pcm []int16) float64 {
	sum := 0.0
	for _, v := range pcm {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(pcm)))
}

func TestConcealedTonesGoOn(t *testing.T) {
	for _, rate := range []int{narrowRate, wideRate} {
		t.Run(strconv.Itoa(rate), func(t *testing.T) { testConcealedTones(t, rate) })
	}
}

func testConcealedTones(t *testing.T, rate int) {
	t.Helper()
	for _, freq := range []float64{100, 180, 440, 620} {
		var c concealer
		c.at(rate)
		source := tone.NewSource(freq, rate)
		pcm := make([]int16, rate/50)
		for range 10 {
			source.Read(pcm)
			c.good(pcm)
		}
		last := pcm[len(pcm)-1]
		level := power(pcm)
		made := make([]int16, rate/50)
		c.lost(made)
		if d := math.Abs(float64(made[0]) - float64(last)); d > level {
			t.Errorf("%v Hz: a jump of %.0f at the seam", freq, d)
		}
		if p := power(made); p < 0.7*level || p > 1.2*level {
			t.Errorf("%v Hz: the made-up frame has level %.0f, the one before %.0f", freq, p, level)
		}
		for range 4 {
			c.lost(made)
		}
		if p := power(made); p > 0.4*level {
			t.Errorf("%v Hz: not faded after 100 ms: %.0f of %.0f", freq, p, level)
		}
		c.lost(made)
		if p := power(made); p != 0 {
			t.Errorf("%v Hz: not silent after 120 ms: %.0f", freq, p)
		}
		source.Read(pcm)
		c.good(pcm)
		if p := math.Abs(float64(pcm[0])); p > level/2 {
			t.Errorf("%v Hz: comes back with a jump of %.0f", freq, p)
		}
	}
}

func TestConcealingNothingIsSilent(t *testing.T) {
	var c concealer
	pcm := make([]int16, 480)
	c.lost(pcm)
	if p := power(pcm); p != 0 {
		t.Errorf("level %.0f out of nothing", p)
	}
}

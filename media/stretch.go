package media

import (
	"math"
	"time"
)

// drift watches for a far end whose clock is not ours. It shows as a slow
// movement of the quickest packets' transit time; a sudden one is the network's.
type drift struct {
	started bool
	next    time.Time     // when to look again
	base    time.Duration // when looked at last
	anchor  time.Duration // what it would be without drift
}

const (
	driftLook = 10 * time.Second
	driftLeap = 10 * time.Millisecond // between two looks: not a clock
)

// note takes the transit of the quickest packets lately. It returns how many
// frames the sound is to grow by, -1 to 1.
func (d *drift) note(now time.Time, base time.Duration) int {
	if !d.started {
		*d = drift{started: true, next: now.Add(driftLook), base: base, anchor: base}
	}
	if now.Before(d.next) {
		return 0
	}
	if leap := base - d.base; leap.Abs() > driftLeap {
		d.anchor += leap
	}
	d.base, d.next = base, now.Add(driftLook)
	switch moved := base - d.anchor; {
	case moved <= -frameTime: // they come sooner and sooner
		d.anchor -= frameTime
		return -1
	case moved >= frameTime:
		d.anchor += frameTime
		return 1
	}
	return 0
}

// stretch makes sound longer or shorter by some samples without a seam: for a
// while it is played a little too slow or too fast, which nobody hears.
type stretch struct {
	rate int
	line [2*stretchReach + maxPCM]int16 // what was heard before, then what is new
	have int                            // samples in line
	pos  int                            // of the next sample to make, before its fraction
	part int                            // the fraction, in 1/slow of a sample
	made int                            // samples since begin
	grow int                            // samples more or less; 0: not at work
	slow int                            // samples to make for one of them
}

const (
	stretchReach  = 16  // samples on either side of a new one
	stretchPhases = 64  // positions between two samples in the table
	stretchDrift  = 500 // slow enough for a thirtieth of a semitone, which is time enough for a clock
	stretchSpare  = 150 // a ninth, for what has come to wait
)

// stretchTaps weigh the samples around a place between two of them: sinc under
// Blackman's window.
var stretchTaps = makeStretchTaps()

func makeStretchTaps() (taps [stretchPhases + 1][2 * stretchReach]float32) {
	for phase := range taps {
		sum := 0.0
		var weights [2 * stretchReach]float64
		for k := range weights {
			x := float64(k-stretchReach+1) - float64(phase)/stretchPhases
			w := 1.0
			if math.Abs(x) > 1e-9 {
				w = math.Sin(math.Pi*x) / (math.Pi * x)
			}
			y := x / stretchReach
			w *= max(0.42+0.5*math.Cos(math.Pi*y)+0.08*math.Cos(2*math.Pi*y), 0)
			weights[k] = w
			sum += w
		}
		for k, w := range weights {
			taps[phase][k] = float32(w / sum)
		}
	}
	return taps
}

// active says whether it is at work.
func (s *stretch) active() bool { return s.grow != 0 }

// remember takes what is heard while it is not, to begin without a seam.
func (s *stretch) remember(pcm []int16, rate int) {
	if s.rate != rate {
		*s = stretch{rate: rate}
	}
	const past = stretchReach
	if n := len(pcm); n >= past {
		copy(s.line[:past], pcm[n-past:])
	} else {
		copy(s.line[:past], s.line[n:past])
		copy(s.line[past-n:past], pcm)
	}
}

// begin lets the sound grow by that many samples, one in so many.
func (s *stretch) begin(grow, slow int) {
	s.have, s.pos, s.part, s.made, s.grow, s.slow = stretchReach, stretchReach, 0, 0, grow, slow
}

// append puts what becomes of pcm behind out. The last call gives what it still
// kept, and ends the work.
func (s *stretch) append(out, pcm []int16) []int16 {
	s.have += copy(s.line[s.have:], pcm)
	total, step := s.slow*s.grow, s.slow-1 // samples to make, parts of the input for each
	if s.grow < 0 {
		total, step = -total, s.slow+1
	}
	for s.pos+stretchReach < s.have {
		if s.made == total {
			out = append(out, s.line[s.pos:s.have]...)
			s.grow = 0
			return out
		}
		out = append(out, s.at())
		s.made++
		s.part += step
		s.pos += s.part / s.slow
		s.part %= s.slow
	}
	drop := s.pos - stretchReach
	s.have = copy(s.line[:], s.line[drop:s.have])
	s.pos = stretchReach
	return out
}

// at is the sample at the place.
func (s *stretch) at() int16 {
	where := float32(s.part) * stretchPhases / float32(s.slow)
	phase := int(where)
	rest := where - float32(phase)
	near, far := &stretchTaps[phase], &stretchTaps[phase+1]
	line := s.line[s.pos-stretchReach+1:][:2*stretchReach]
	var sum float32
	for k, v := range line {
		sum += float32(v) * (near[k] + rest*(far[k]-near[k]))
	}
	return int16(math.Round(float64(min(max(sum, math.MinInt16), math.MaxInt16))))
}

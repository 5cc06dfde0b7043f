package media

import (
	"math"
	"time"
)

// Sound is something that a Player plays. It never changes: any number of
// Players may play one at the same time. The zero Sound is over at once.
type Sound struct {
	narrow  []int16 // at narrowRate, whole frames
	wide    []int16 // the same at wideRate; nil: there is no more to hear than in narrow
	endless bool
}

// Length is how long the sound lasts, 0 if it has no end.
func (s Sound) Length() time.Duration {
	if s.endless {
		return 0
	}
	return time.Duration(len(s.narrow)) * time.Second / narrowRate
}

// fitting returns the samples that suit a codec best, and their rate.
func (s Sound) fitting(c Codec) ([]int16, int) {
	if s.wide != nil && c.wide() {
		return s.wide, wideRate
	}
	return s.narrow, narrowRate
}

// The ringback tone of most of Europe (ITU-T E.180 supplement 2).
const (
	ringbackPitch = 425 // Hz
	ringbackLevel = -13 // dBFS, the -10 dBm0 of ITU-T E.180
	ringbackOn    = time.Second
	ringbackOff   = 4 * time.Second
)

var ringback = makeRingback()

func makeRingback() []int16 {
	pcm := make([]int16, narrowRate*int((ringbackOn+ringbackOff)/time.Second))
	peak := math.MaxInt16 * math.Pow(10, ringbackLevel/20.0)
	for i := range narrowRate * int(ringbackOn/time.Second) { // whole periods: it ends without a click
		pcm[i] = int16(peak * math.Sin(2*math.Pi*ringbackPitch*float64(i)/narrowRate))
	}
	return pcm
}

// Ringback is the tone that tells a caller that the other phone rings: one
// second of tone, four of silence, without end. It begins with the tone.
func Ringback() Sound { return Sound{narrow: ringback, endless: true} }

// halve takes 16 kHz down to 8 kHz. What a telephone cannot carry is taken
// away before, else it would come back as a false lower pitch.
func halve(pcm []int16) []int16 {
	const (
		reach  = 32            // samples that count on either side
		cutoff = 3600.0 / 16e3 // of the rate
	)
	var taps [reach + 1]float64 // from the middle to one side
	taps[0] = 2 * cutoff
	sum := taps[0]
	for k := 1; k <= reach; k++ {
		x := math.Pi * float64(k)
		window := 0.42 + 0.5*math.Cos(x/(reach+1)) + 0.08*math.Cos(2*x/(reach+1)) // Blackman's
		taps[k] = math.Sin(2*cutoff*x) / x * window
		sum += 2 * taps[k]
	}
	half := make([]int16, len(pcm)/2)
	for i := range half {
		at := 2 * i
		v := taps[0] * float64(pcm[at])
		for k := 1; k <= reach; k++ {
			if at >= k {
				v += taps[k] * float64(pcm[at-k])
			}
			if at+k < len(pcm) {
				v += taps[k] * float64(pcm[at+k])
			}
		}
		half[i] = int16(min(max(math.Round(v/sum), math.MinInt16), math.MaxInt16))
	}
	return half
}

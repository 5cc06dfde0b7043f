package media

import "math"

// doubler takes telephone audio up to 16 kHz for an encoder that works there:
// every other sample is the input's, those between are interpolated. It goes on
// from one frame to the next and adds a millisecond.
type doubler struct {
	line [2*doubleReach - 1 + narrowRate*maxOpusFrame/1000]int16
	out  [wideRate * maxOpusFrame / 1000]int16
}

const (
	doubleReach = 8 // samples on either side of a new one
	doubleShift = 15
)

// doubleTaps weigh the samples next to, second next to … the new one.
var doubleTaps = makeDoubleTaps()

func makeDoubleTaps() (taps [doubleReach]int32) {
	var weights [doubleReach]float64
	sum := 0.0
	for k := range weights {
		x := float64(k) + 0.5
		window := 0.42 + 0.5*math.Cos(math.Pi*x/doubleReach) + 0.08*math.Cos(2*math.Pi*x/doubleReach) // Blackman's
		weights[k] = math.Sin(math.Pi*x) / (math.Pi * x) * window
		sum += 2 * weights[k]
	}
	for k, w := range weights {
		taps[k] = int32(math.Round(w / sum * (1 << doubleShift)))
	}
	return taps
}

// double returns two samples for each of pcm, valid until the next call. pcm is
// at most a packet of Opus long.
func (d *doubler) double(pcm []int16) []int16 {
	const past = 2*doubleReach - 1
	copy(d.line[past:], pcm)
	for i := range pcm {
		at := i + doubleReach - 1
		sum := int32(1 << (doubleShift - 1))
		for k, w := range doubleTaps {
			sum += w * (int32(d.line[at-k]) + int32(d.line[at+1+k]))
		}
		d.out[2*i] = d.line[at]
		d.out[2*i+1] = int16(min(max(sum>>doubleShift, math.MinInt16), math.MaxInt16))
	}
	copy(d.line[:past], d.line[len(pcm):len(pcm)+past])
	return d.out[:2*len(pcm)]
}

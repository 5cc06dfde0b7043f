package media

// concealer makes up G.711 audio for packets that never came: it goes on with
// the last pitch period and fades out, in the manner of ITU-T G.711 appendix I
// but without its delay. All lengths are in samples at 8 kHz.
type concealer struct {
	past   [pastLength]int16
	cycle  [maxPitch]int16
	period int
	phase  int
	made   int // since the last good sample; 0: nothing to join
}

const (
	pastLength = 400 // 50 ms
	minPitch   = 40  // 200 Hz
	maxPitch   = 120 // 66 Hz
	pitchSpan  = 160 // compared when looking for the pitch
	fadeStart  = 160 // 20 ms at full level
	fadeEnd    = 800 // silent from 100 ms on
	joinLength = 40  // crossfade back into what was received
)

// good takes received audio. When it follows made-up audio its beginning is
// blended with it, in place.
func (c *concealer) good(pcm []int16) {
	if c.made > 0 {
		n := min(joinLength, len(pcm))
		for i := range n {
			made := int(c.next())
			pcm[i] = int16((made*(n-i) + int(pcm[i])*i) / n)
		}
		c.made = 0
	}
	c.remember(pcm)
}

// lost fills pcm with a continuation.
func (c *concealer) lost(pcm []int16) {
	if c.made == 0 {
		c.period = c.pitch()
		copy(c.cycle[:], c.past[pastLength-c.period:])
		c.phase = 0
	}
	for i := range pcm {
		pcm[i] = c.next()
	}
	c.remember(pcm)
}

// next is the sample that would follow.
func (c *concealer) next() int16 {
	v := int(c.cycle[c.phase])
	if c.phase++; c.phase == c.period {
		c.phase = 0
	}
	c.made++
	switch {
	case c.made >= fadeEnd:
		return 0
	case c.made > fadeStart:
		v = v * (fadeEnd - c.made) / (fadeEnd - fadeStart)
	}
	return int16(v)
}

func (c *concealer) remember(pcm []int16) {
	if len(pcm) >= pastLength {
		copy(c.past[:], pcm[len(pcm)-pastLength:])
		return
	}
	copy(c.past[:], c.past[len(pcm):])
	copy(c.past[pastLength-len(pcm):], pcm)
}

// pitch finds the lag at which the recent past is most like itself.
func (c *concealer) pitch() int {
	recent := c.past[pastLength-pitchSpan:]
	best, bestScore := maxPitch, 0.0
	for lag := minPitch; lag <= maxPitch; lag++ {
		before := c.past[pastLength-pitchSpan-lag : pastLength-lag]
		var like, power int64
		for i, v := range before {
			like += int64(v) * int64(recent[i])
			power += int64(v) * int64(v)
		}
		if like <= 0 || power == 0 {
			continue
		}
		if score := float64(like) * float64(like) / float64(power); score > bestScore {
			best, bestScore = lag, score
		}
	}
	return best
}

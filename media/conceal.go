package media

// concealer makes up G.711 and G.722 audio for packets that never came: it goes
// on with the last pitch period and fades out, in the manner of ITU-T G.711
// appendix I but without its delay. All lengths are in samples at 8 kHz and
// count double at 16 kHz.
type concealer struct {
	double bool // at 16 kHz
	past   [2 * pastLength]int16
	cycle  [2 * maxPitch]int16
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

// at sets the rate, 8 or 16 kHz. Another one than before begins anew.
func (c *concealer) at(rate int) {
	if double := rate == wideRate; double != c.double {
		*c = concealer{double: double}
	}
}

// scaled is a length in samples at the rate of the audio.
func (c *concealer) scaled(length int) int {
	if c.double {
		return 2 * length
	}
	return length
}

// good takes received audio. When it follows made-up audio its beginning is
// blended with it, in place.
func (c *concealer) good(pcm []int16) {
	if c.made > 0 {
		n := min(c.scaled(joinLength), len(pcm))
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
		copy(c.cycle[:], c.past[c.scaled(pastLength)-c.period:c.scaled(pastLength)])
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
	case c.made >= c.scaled(fadeEnd):
		return 0
	case c.made > c.scaled(fadeStart):
		v = v * (c.scaled(fadeEnd) - c.made) / c.scaled(fadeEnd-fadeStart)
	}
	return int16(v)
}

func (c *concealer) remember(pcm []int16) {
	past := c.past[:c.scaled(pastLength)]
	if len(pcm) >= len(past) {
		copy(past, pcm[len(pcm)-len(past):])
		return
	}
	copy(past, past[len(pcm):])
	copy(past[len(past)-len(pcm):], pcm)
}

// pitch finds the lag at which the recent past is most like itself.
func (c *concealer) pitch() int {
	end, step := c.scaled(pastLength), c.scaled(1)
	recent := c.past[end-c.scaled(pitchSpan) : end]
	best, bestScore := c.scaled(maxPitch), 0.0
	for lag := c.scaled(minPitch); lag <= c.scaled(maxPitch); lag++ {
		before := c.past[end-c.scaled(pitchSpan)-lag : end-lag]
		var like, power int64
		for i := 0; i < len(before); i += step { // 8 kHz tell the pitch
			v := before[i]
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

package media

import "time"

// settle makes good for a far end's clock and for what has come to wait: in
// silence by sound that is left out or comes twice, and where there is none by
// a stretch.
func (o *output) settle(pcm []int16) []int16 {
	grow := int(o.owed * time.Duration(o.rate) / time.Second)
	if o.waited++; o.waited > stretchPatience {
		o.stretch.begin(grow, o.slow)
		o.owed, o.waited = 0, 0
		return pcm
	}
	if len(pcm) == 0 || !silent(pcm) {
		return pcm
	}
	n := min(max(grow, -grow), len(pcm))
	o.spare.packets = 0
	if part := time.Duration(n) * time.Second / time.Duration(o.rate); grow > 0 {
		o.queue = append(o.queue, pcm[:n]...)
		o.owed -= part
	} else {
		pcm = pcm[n:]
		o.owed += part
	}
	if o.owed == 0 {
		o.waited = 0
	}
	return pcm
}

// spare finds out how much of what waits never has to, once packets have
// changed their length: that is left behind then. At other times it is what a
// slow clock is made good for with.
type spare struct {
	looks          bool
	packets, least int
}

const spareLook = 25 // packets

// note takes what waits as a packet comes. Now and then it returns how much of
// it could go.
func (s *spare) note(waits int) int {
	if !s.looks {
		return 0
	}
	if s.packets == 0 || waits < s.least {
		s.least = waits
	}
	if s.packets++; s.packets < spareLook {
		return 0
	}
	s.packets, s.looks = 0, s.least > 0
	return s.least
}

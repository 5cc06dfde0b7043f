package whatsapp

import "time"

// span is how far back requests count, in seconds.
const span = 10

// tally counts over the last span seconds, all of something and some of it. Its
// zero value is empty.
type tally struct {
	last  int64 // the second that was counted last
	slots [span]struct{ all, some int }
}

// add counts one, at a time that is given as the time since an arbitrary start.
func (t *tally) add(at time.Duration, some bool) {
	t.turn(at)
	slot := &t.slots[t.last%span]
	slot.all++
	if some {
		slot.some++
	}
}

// sum is what was counted in the last span seconds.
func (t *tally) sum(at time.Duration) (all, some int) {
	t.turn(at)
	for _, slot := range t.slots {
		all += slot.all
		some += slot.some
	}
	return all, some
}

// turn forgets what is older than the span.
func (t *tally) turn(at time.Duration) {
	second := int64(at / time.Second)
	for range min(second-t.last, span) {
		t.last++
		t.slots[t.last%span].all, t.slots[t.last%span].some = 0, 0
	}
	t.last = max(t.last, second)
}

package media

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// Key is a digit as SIP INFO carries one: told once, with the time it was held.
type Key struct {
	Code     uint8 // 0-9, 10 '*', 11 '#', 12-15 A-D
	Duration time.Duration
}

// The limits of keys that are played.
const (
	leastKey    = 40 * time.Millisecond // RFC 4733 section 2.6.3 has no less
	longestKey  = 5 * time.Second
	keyPause    = 100 * time.Millisecond // its ends go out in it, and a gap
	maxKeysHeld = 64
)

// Errors of Press.
var (
	errNoKey    = errors.New("not a key of a telephone")
	errManyKeys = errors.New("too many keys are waiting")
)

// keysOut tells of the digits that are pushed to a leg whose far end takes them
// by SIP INFO. One is told when it ends, or when nothing was heard of it for so
// long that its end must have got lost.
type keysOut struct {
	tell func(Key)
	task *task

	mu     sync.Mutex
	known  bool
	active bool
	source uint32
	digit  Digit
	heard  time.Time
	closed bool
}

func newKeysOut(p *pacer, tell func(Key)) *keysOut {
	k := &keysOut{tell: tell}
	k.task = p.task(k.tick)
	return k
}

// push takes an Event.
func (k *keysOut) push(f *Frame) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || k.known && f.Timestamp == k.source && !k.active {
		return // said again
	}
	if !k.known || f.Timestamp != k.source {
		k.finish()
		k.known, k.active, k.source, k.digit = true, true, f.Timestamp, f.Digit
		k.task.wake(now.Add(digitLost))
	}
	k.heard = now
	k.digit.Duration = max(k.digit.Duration, f.Digit.Duration)
	if f.Digit.End {
		k.finish()
	}
}

func (k *keysOut) finish() {
	if k.active {
		k.active = false
		k.tell(Key{k.digit.Code, PCMA.span(uint32(k.digit.Duration))})
	}
}

func (k *keysOut) tick(now time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.active || k.closed {
		return time.Time{}
	}
	if over := k.heard.Add(digitLost); over.After(now) {
		return over
	}
	k.finish()
	return time.Time{}
}

func (k *keysOut) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
}

// keysIn plays keys that came by SIP INFO to a receiver's sink, one after the
// other, each at its own length, as if they had come as telephone-events.
type keysIn struct {
	to   *receiver
	task *task

	mu     sync.Mutex
	queue  []Key
	past   time.Duration // of the first in queue
	due    time.Time     // nothing before
	stamp  uint32
	closed bool
}

func newKeysIn(p *pacer, to *receiver) *keysIn {
	k := &keysIn{to: to, stamp: rand.Uint32()}
	k.task = p.task(k.tick)
	return k
}

func (k *keysIn) press(key Key) error {
	if key.Code > maxDigit {
		return errNoKey
	}
	key.Duration = min(max(key.Duration, leastKey), longestKey)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.closed:
		return errClosed
	case len(k.queue) == maxKeysHeld:
		return errManyKeys
	}
	k.queue = append(k.queue, key)
	k.task.wake(time.Now())
	return nil
}

func (k *keysIn) tick(now time.Time) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed || len(k.queue) == 0 {
		return time.Time{}
	}
	if k.due.After(now) { // woken for a key that has to wait
		return k.due
	}
	key := k.queue[0]
	if k.past == 0 {
		k.stamp += PCMA.ticks(longestKey + keyPause) // no two keys have one
	}
	k.past = min(k.past+frameTime, key.Duration)
	over := k.past == key.Duration
	k.to.inject(&Frame{
		Kind: Event, Digit: Digit{Code: key.Code, Volume: keyVolume, End: over, Duration: uint16(PCMA.ticks(k.past))},
		Timestamp: k.stamp, Duration: frameTime,
	})
	k.due = now.Add(frameTime)
	if over {
		k.queue, k.past = k.queue[1:], 0
		k.due = now.Add(keyPause)
	}
	return k.due
}

// keyVolume is -10 dBm0, the usual level of a key.
const keyVolume = 10

func (k *keysIn) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
}

// Press plays a key that the PBX told of by SIP INFO to the other leg.
func (s *Socket) Press(key Key) error { return s.pressed.press(key) }

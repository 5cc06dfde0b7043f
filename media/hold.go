package media

import (
	"sync"
	"time"
)

// hold keeps what a far end says from the moment it answers until the other
// side can take it: nobody's first word is lost while the other leg is still
// being connected. What was kept then leaves at its own pace, and what has become
// late by it is won back in the pauses of whoever speaks: a frame of a pause is
// left out here and there, and where there is no pause for too long, two frames
// are blended into one. When nothing is kept any more, frames pass through.
type hold struct {
	metrics *sideMetrics
	task    *task
	expects Codec // of the other side, as far as one can know before

	mu      sync.Mutex
	state   holdState
	to      Sink
	frames  [holdRing]heldFrame // nothing is allocated once they have been used
	first   int
	count   int
	loudest int       // peak lately
	pause   int       // quiet frames that were passed on in a row
	began   time.Time // to pass on what was kept
	spared  time.Time // when a frame was left out last
	due     time.Time
	out     Frame
}

type holdState uint8

const (
	holdKeeping  holdState = iota // there is nobody to hear it yet
	holdCatching                  // what was kept is passed on, what comes meanwhile waits its turn
	holdPassing
	holdOver // there was a sink and it was taken away
)

// heldFrame is a frame and what it carries.
type heldFrame struct {
	Frame

	peak int
}

const (
	holdFrames  = 25                      // half a second
	holdRing    = holdFrames + 5          // and what comes while it is passed on
	holdLead    = 2                       // quiet frames that are kept before the first sound
	holdPause   = 2                       // quiet frames of a pause that stay in any case
	holdPatient = 2500 * time.Millisecond // for pauses to leave frames out of
	holdLimit   = 4500 * time.Millisecond // nothing is late any more
	quietShare  = 32                      // a frame is quiet when it is so many times fainter than the loudest, -30 dB
)

// newHold makes a hold for audio that will go to a side with that codec. It is
// nil, which holds nothing, for NoCodec.
func newHold(p *pacer, m *sideMetrics, expects Codec) *hold {
	if expects == NoCodec {
		return nil
	}
	h := &hold{metrics: m, expects: expects}
	h.task = p.task(h.tick)
	return h
}

// begin makes r push to the hold, now that its codec is known.
func (h *hold) begin(r *receiver, codec Codec) {
	if h == nil {
		return
	}
	h.mu.Lock()
	keeping := h.state == holdKeeping
	h.mu.Unlock() // r pushes under its own lock
	if keeping {
		r.setSink(h, between(codec, h.expects))
	}
}

// attach returns the sink that a receiver is to have for s: the hold itself as
// long as it has something to pass on. When it returned the former sink is not
// pushed to any more.
func (h *hold) attach(s Sink) Sink {
	if h == nil {
		return s
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state == holdCatching && h.out.More && s != h.to {
		h.to.Push(&Frame{Kind: Silence, Duration: frameTime}) // it waits for more
	}
	switch {
	case h.state == holdOver:
		return s
	case s == nil:
		h.state, h.to, h.count = holdOver, nil, 0
		return nil
	}
	h.to = s
	if h.state == holdKeeping {
		h.state = holdCatching
		h.due = time.Now().Add(frameTime / 2) // the sender's own first packet leaves now
		h.task.wake(h.due)
	}
	return h
}

// taker is a sink that may not be able to take audio yet. It is asked with the
// hold's lock held.
type taker interface{ takes() bool }

// stocked says whether what is pushed has to wait for its turn, so that it is
// early enough if it comes late.
func (h *hold) stocked() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state == holdKeeping || h.state == holdCatching
}

// Push takes a frame of the far end. See Sink.
func (h *hold) Push(f *Frame) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.state == holdPassing || h.state == holdCatching && f.Kind == Event:
		h.to.Push(f)
	case h.state == holdOver || f.Kind != Audio:
	default:
		h.keep(f)
	}
}

// keep puts a frame at the end. When there is no room the oldest quiet one
// goes, else the oldest.
func (h *hold) keep(f *Frame) {
	peak := peakOf(f)
	h.loudest = max(peak, h.loudest-h.loudest/64)
	if h.state == holdKeeping && peak <= quietPeak && h.count >= holdLead && h.silent() {
		h.remove(0) // nothing was said yet
	}
	if h.count == holdRing || h.state == holdKeeping && h.count == holdFrames {
		h.remove(h.needless())
		h.metrics.dropped.surplus.Inc()
	}
	s := h.at(h.count)
	h.count++
	pcm, payload := append(s.PCM[:0], f.PCM...), append(s.Payload[:0], f.Payload...)
	s.Frame, s.peak = *f, peak
	s.PCM, s.Payload = pcm, payload
}

// at is the frame with n others before it.
func (h *hold) at(n int) *heldFrame { return &h.frames[(h.first+n)%holdRing] }

// remove takes a frame out of its place. Its room stays in the ring.
func (h *hold) remove(n int) {
	for ; n > 0; n-- {
		a, b := h.at(n-1), h.at(n)
		*a, *b = *b, *a
	}
	h.first = (h.first + 1) % holdRing
	h.count--
}

// silent says whether nothing audible is kept.
func (h *hold) silent() bool {
	for i := range h.count {
		if h.at(i).peak > quietPeak {
			return false
		}
	}
	return true
}

// needless is the place of the frame to do without: the oldest of a pause that is
// longer than a word has in it, else the oldest quiet one, else the oldest.
func (h *hold) needless() int {
	quiet, pause := -1, 0
	for n := range h.count {
		if !h.faint(h.at(n)) {
			pause = 0
			continue
		}
		if quiet < 0 {
			quiet = n
		}
		if pause++; pause > holdPause {
			return n
		}
	}
	return max(quiet, 0)
}

func (h *hold) faint(f *heldFrame) bool { return f.peak <= max(quietPeak, h.loudest/quietShare) }

// tick runs on the pacer and passes one frame on.
func (h *hold) tick(now time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != holdCatching {
		return time.Time{}
	}
	if now.Before(h.due) {
		return h.due
	}
	if h.due = h.due.Add(frameTime); !h.due.After(now) {
		h.due = now.Add(frameTime) // late: never two at once
	}
	if t, ok := h.to.(taker); ok && !t.takes() {
		return h.due
	}
	if h.began.IsZero() {
		h.began, h.spared = now, now
		if h.silent() {
			h.count = 0
		}
	}
	h.spare(now)
	if h.count > 0 {
		h.pass()
	}
	if h.count == 0 {
		h.state = holdPassing
		h.frames = [holdRing]heldFrame{}
		return time.Time{}
	}
	return h.due
}

// spare leaves a frame out if there is one too many and it will not be missed,
// or if it is time that it goes.
func (h *hold) spare(now time.Time) {
	late := h.count - 1
	if late <= 0 {
		return
	}
	if h.pause >= holdPause && h.faint(h.at(0)) {
		h.leave(now)
		return
	}
	if since := now.Sub(h.began); since > holdPatient {
		left := max(holdLimit-since, 0)
		if now.Sub(h.spared) >= left/time.Duration(late) {
			h.blend(h.at(0), h.at(1))
			h.leave(now)
		}
	}
}

func (h *hold) leave(now time.Time) {
	h.remove(0)
	h.spared = now
	h.metrics.dropped.surplus.Inc()
}

// blend makes the second frame one that begins as the first and ends as itself.
// Payloads are left as they are.
func (h *hold) blend(one, two *heldFrame) {
	if len(one.PCM) != len(two.PCM) || one.Rate != two.Rate {
		return
	}
	n := len(two.PCM)
	for i := range two.PCM {
		two.PCM[i] = int16((int(one.PCM[i])*(n-i) + int(two.PCM[i])*i) / n)
	}
	two.peak = max(one.peak, two.peak)
}

// pass hands on the first frame.
func (h *hold) pass() {
	s := h.at(0)
	if h.pause++; !h.faint(s) {
		h.pause = 0
	}
	h.out = s.Frame
	h.out.More = h.count > 1
	if len(h.out.PCM) == 0 {
		h.out.PCM = nil
	}
	if len(h.out.Payload) == 0 {
		h.out.Payload = nil
	}
	h.to.Push(&h.out)
	h.remove(0)
}

// peakOf is the loudest sample of a frame. Of a payload of Opus only its length
// tells that there is next to nothing in it.
func peakOf(f *Frame) int {
	const nearlyNothing = 10 // bytes
	peak := 0
	for _, v := range f.PCM {
		peak = max(peak, int(v), -int(v))
	}
	if l := lawOf(f.Codec); l != nil {
		for _, b := range f.Payload {
			v := int(l.linear[b])
			peak = max(peak, v, -v)
		}
	} else if len(f.Payload) > nearlyNothing {
		peak = 1 << 15
	}
	return peak
}

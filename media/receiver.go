package media

import (
	"math"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// receiver turns the RTP packets of a far end into frames: in order, once each,
// with lost ones made up for, in the format the sink wants. Frames are pushed
// from the goroutine that read the packet, or from the pacer when the packet
// had to wait.
type receiver struct {
	metrics *sideMetrics
	task    *task
	first   chan struct{} // closed with the first audio packet

	mu     sync.Mutex
	types  [128]payloadKind
	closed bool
	source source
	past   totals // of sources before this one
	rival  rival
	next   int64 // number of the packet whose turn it is
	buffer buffer
	delays delays
	drift  drift
	out    output

	packets, late, dropped uint64
	opened, firstAudio     time.Time
	reported               int64 // lost packets that the metric knows
}

// totals are the counts of sources that were replaced.
type totals struct{ lost, duplicates int64 }

// rival is an SSRC that is not the source yet. It takes over with a second
// packet in sequence: one stray packet must not cut the audio (RFC 3550
// appendix A.1, 8.2).
type rival struct {
	ssrc uint32
	next uint16
	set  bool
}

// newReceiver makes a receiver that knows no payload types and has no sink. Its
// jitter buffer grows to maxDelay and no further.
func newReceiver(p *pacer, m *sideMetrics, maxDelay time.Duration) *receiver {
	r := &receiver{metrics: m, first: make(chan struct{})}
	r.delays.limit = maxDelay
	r.out.metrics = m
	r.out.uncopied = copiesLately
	r.task = p.task(r.tick)
	return r
}

// heard is closed with the first audio packet.
func (r *receiver) heard() <-chan struct{} { return r.first }

// open notes when the call was answered: what is heard is counted from there.
func (r *receiver) open(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opened.IsZero() {
		r.opened = now
		r.countFirst()
	}
}

// countFirst observes the time from opening to first audio once both were.
func (r *receiver) countFirst() {
	if !r.opened.IsZero() && !r.firstAudio.IsZero() {
		r.metrics.first.Observe(max(r.firstAudio.Sub(r.opened), 0).Seconds())
	}
}

// accept lets packets with payload type pt in as audio of a codec. All codecs
// that were agreed on may be accepted at once: the far end may change between
// them without a word (RFC 7874 section 3).
func (r *receiver) accept(pt uint8, c Codec) { r.allow(pt, payloadKind{codec: c}) }

// acceptEvents lets telephone-events in, whose durations are on that clock.
func (r *receiver) acceptEvents(pt uint8, clock int) { r.allow(pt, payloadKind{events: clock}) }

// acceptNoise lets comfort noise (RFC 3389) in, as silence.
func (r *receiver) acceptNoise(pt uint8) { r.allow(pt, payloadKind{noise: true}) }

func (r *receiver) allow(pt uint8, k payloadKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.types[pt&0x7f] = k
}

// knows says whether a payload type was let in.
func (r *receiver) knows(pt uint8) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.types[pt&0x7f].known()
}

// setSink chooses where frames go and in which format. When it returns the
// former sink is not pushed to any more. See Endpoint.
func (r *receiver) setSink(s Sink, want Format) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.out.attach(s, want)
}

// close ends it: nothing is pushed after it returned.
func (r *receiver) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	r.countLost()
	r.observe()
	r.out.attach(nil, Format{})
	r.buffer.clear()
}

// receive takes a packet. It keeps neither header nor payload.
func (r *receiver) receive(h *rtp.Header, payload []byte, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if !r.belongs(h) {
		r.drop(r.metrics.dropped.source)
		return
	}
	number, v := r.source.place(h.SequenceNumber)
	switch v {
	case ahead, behind:
	case duplicate:
		r.metrics.dropped.duplicate.Inc()
		return
	case adrift:
		r.drop(r.metrics.dropped.source)
		return
	case restarted:
		r.restart(number)
	}
	r.packets++
	r.metrics.in.Inc()
	media := r.types[h.PayloadType&0x7f]
	if !media.known() {
		r.drop(r.metrics.dropped.payloadType) // but it has its place in the sequence
	}
	if number < r.next {
		r.late++
		r.metrics.late.Inc()
		if media.audio() {
			r.delays.missed(at, h.Timestamp, media.codec)
		}
		return
	}
	if media.audio() {
		r.source.time(r.delays.packet(at, h.Timestamp, media.codec))
		if grow := r.drift.note(at, r.delays.base()); grow != 0 {
			r.out.owed, r.out.slow = time.Duration(grow)*frameTime, stretchDrift
		}
		if r.firstAudio.IsZero() {
			r.firstAudio = at
			r.countFirst()
			close(r.first)
		}
	}
	if number >= r.next+slotCount {
		r.skipTo(number, at)
	}
	r.buffer.put(number, h.Timestamp, at, media, payload)
	if due := r.release(at); !due.IsZero() {
		r.task.wake(due)
	}
}

// inject pushes a frame that did not come as a packet.
func (r *receiver) inject(f *Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && r.out.sink != nil {
		r.out.sink.Push(f)
	}
}

// belongs says whether a packet is of the source we listen to, and changes the
// source when another has shown that it means it.
func (r *receiver) belongs(h *rtp.Header) bool {
	if r.source.started && h.SSRC == r.source.ssrc {
		return true
	}
	if r.source.started {
		if !r.rival.set || r.rival.ssrc != h.SSRC || r.rival.next != h.SequenceNumber {
			r.rival = rival{ssrc: h.SSRC, next: h.SequenceNumber + 1, set: true}
			return false
		}
		r.past.lost += r.source.lost()
		r.past.duplicates += r.source.duplicates
		r.countLost()
		r.reported = r.past.lost
	}
	r.rival = rival{}
	r.source.start(h.SSRC, h.SequenceNumber)
	r.restart(r.source.base)
	return true
}

// restart begins a new timeline at a packet.
func (r *receiver) restart(number int64) {
	r.buffer.clear()
	r.next = number
	r.delays.started, r.drift.started = false, false
	r.out.restart()
}

func (r *receiver) drop(c interface{ Inc() }) {
	r.dropped++
	c.Inc()
}

// tick runs on the pacer while something waits.
func (r *receiver) tick(now time.Time) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return time.Time{}
	}
	return r.release(now)
}

// release pushes what is due and says when more will be; the zero time means
// not before the next packet.
func (r *receiver) release(now time.Time) time.Time {
	for {
		first := r.buffer.after(r.next)
		if first == nil {
			break
		}
		due := r.delays.due(first)
		if missing := first.number - r.next; missing > 0 {
			if due = r.gapDue(first, due, missing); due.After(now) {
				return r.rest(due, now)
			}
			r.out.conceal(first, missing, now)
			r.next++
			r.countLost()
			continue
		}
		if due.After(now) {
			return r.rest(due, now)
		}
		r.next++
		if !r.out.emit(first, now) {
			r.drop(r.metrics.dropped.undecodable)
		}
		r.buffer.free(first)
	}
	return r.rest(time.Time{}, now)
}

// rest does what is left to do until a packet is due, or one comes, and says
// when there will be something again.
func (r *receiver) rest(due, now time.Time) time.Time {
	next := sooner(due, r.out.drain(now))
	if !due.IsZero() && due.Sub(now) <= reorderWait {
		return next // no need to guess
	}
	return sooner(next, r.out.guess(now))
}

// gapDue is how long to wait for the earliest of the packets that are missing
// before first: until it would have been its turn, and in any case a moment, in
// case two changed places.
func (r *receiver) gapDue(first *slot, due time.Time, missing int64) time.Time {
	least := first.arrived.Add(reorderWait)
	if turn := due.Add(-time.Duration(missing) * r.out.packetTime()); turn.After(least) {
		return turn
	}
	return least
}

// skipTo makes room for a packet far ahead by giving up on what is missing.
func (r *receiver) skipTo(number int64, now time.Time) {
	for r.next+slotCount <= number {
		first := r.buffer.after(r.next)
		if first == nil {
			r.next = number
			break
		}
		if first.number+slotCount > number && first.number > r.next {
			r.next = first.number
			break
		}
		r.next = first.number + 1
		r.out.emit(first, now)
		r.buffer.free(first)
	}
	r.countLost()
}

// countLost brings the metric up to date. A packet that is late after all was
// counted as lost; the counter cannot go back and stays ahead until real losses
// catch up.
func (r *receiver) countLost() {
	if lost := r.past.lost + r.source.lost(); lost > r.reported {
		r.metrics.lost.Add(float64(lost - r.reported))
		r.reported = lost
	}
}

// sooner is the earlier of two times of which the zero one means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// stats is the receiving half of an endpoint's Stats.
func (r *receiver) stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := Stats{
		PacketsIn: r.packets, Late: r.late, Dropped: r.dropped,
		Lost:       uint64(r.past.lost + r.source.lost()),
		Duplicates: uint64(r.past.duplicates + r.source.duplicates),
		Jitter:     time.Duration(r.source.jitter * float64(time.Second)),
		Concealed:  r.out.concealed,
		MOS:        r.mos(),
	}
	if !r.opened.IsZero() && !r.firstAudio.IsZero() {
		st.FirstAudio = max(r.firstAudio.Sub(r.opened), 1) // zero would mean never
	}
	return st
}

// mos estimates the quality of what was received so far.
func (r *receiver) mos() float64 {
	if r.packets == 0 {
		return 0
	}
	lost := uint64(r.past.lost+r.source.lost()) + r.late
	all, repaired := float64(r.packets+lost), min(r.out.repaired, lost)
	q := receptionQuality{lost: float64(lost-repaired) / all, repaired: float64(repaired) / all, delay: r.delays.target}
	if r.out.gaps > 0 {
		q.burst = float64(r.out.missing) / float64(r.out.gaps)
	}
	return estimateMOS(r.out.codec, q)
}

// observe puts the leg's quality into the metrics when it ends.
func (r *receiver) observe() {
	switch {
	case r.opened.IsZero():
	case r.firstAudio.IsZero():
		r.metrics.silent.Inc()
	default:
		r.metrics.jitter.Observe(r.source.jitter)
		r.metrics.buffer.Observe(r.delays.most.Seconds())
		r.metrics.mos.Observe(r.mos())
	}
}

// reception is the report block about this stream; nil before anything came.
// The fraction lost counts from the call before.
func (r *receiver) reception() *reception {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.source
	if !s.started {
		return nil
	}
	return &reception{
		ssrc:     s.ssrc,
		fraction: s.fraction(),
		lost:     int32(min(s.lost(), math.MaxInt32)),
		highest:  uint32(s.newest - 1<<16),
		jitter:   uint32(s.jitter * float64(r.out.codec.clock())),
	}
}

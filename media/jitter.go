package media

import "time"

// The limits of buffering.
const (
	slotCount    = 64                    // packets a buffer can hold
	reorderWait  = 8 * time.Millisecond  // for a missing packet whose successor is here, while nothing is delayed
	delayBin     = 5 * time.Millisecond  // resolution of the histogram
	delayBins    = 41                    // up to 200 ms
	delayForget  = 0.99                  // per packet: about two seconds of memory
	delayTail    = 0.05                  // of the packets may be later than the target
	delayCalm    = 10 * time.Millisecond // below it nothing is delayed
	delayWindow  = 2500 * time.Millisecond
	delayLeap    = time.Second // off by this much is a new timeline
	delayHold    = 5 * time.Second
	delayShrink  = 500 * time.Millisecond // between two steps down
	pbxDelayMax  = 100 * time.Millisecond
	peerDelayMax = 200 * time.Millisecond
)

// slot is a packet that waits.
type slot struct {
	taken   bool
	number  int64 // extended sequence number
	stamp   uint32
	arrived time.Time
	media   payloadKind
	payload []byte
}

// payloadKind is what a payload type stands for.
type payloadKind struct {
	codec  Codec
	events int  // telephone-events: the clock of their durations, in Hz
	noise  bool // RFC 3389
}

func (k payloadKind) known() bool { return k.events > 0 || k.noise || k.codec != NoCodec }
func (k payloadKind) audio() bool { return k.codec != NoCodec }

// buffer keeps packets in order, by number. It holds them encoded.
type buffer struct {
	slots [slotCount]slot
	held  int
}

// put copies a packet in.
func (b *buffer) put(n int64, stamp uint32, at time.Time, media payloadKind, payload []byte) {
	s := &b.slots[n%slotCount]
	if !s.taken {
		b.held++
	}
	s.taken, s.number, s.stamp, s.arrived, s.media = true, n, stamp, at, media
	s.payload = append(s.payload[:0], payload...)
}

// at returns the packet with the number, nil if it is not here.
func (b *buffer) at(n int64) *slot {
	if s := &b.slots[n%slotCount]; s.taken && s.number == n {
		return s
	}
	return nil
}

// after returns the first packet that is here from n on, nil without one.
func (b *buffer) after(n int64) *slot {
	if b.held == 0 {
		return nil
	}
	for i := range int64(slotCount) {
		if s := b.at(n + i); s != nil {
			return s
		}
	}
	return nil
}

func (b *buffer) free(s *slot) {
	s.taken = false
	b.held--
}

// clear forgets everything.
func (b *buffer) clear() {
	for i := range b.slots {
		b.slots[i].taken = false
	}
	b.held = 0
}

// delays measures how much later than the quickest packets the others come and
// sets the target from it: how long a packet is held so that nearly all have
// come when it is their turn. While the network is calm the target is zero and
// packets go on as they come: the far ends have jitter buffers of their own,
// and two in a row only add delay.
type delays struct {
	limit   time.Duration
	started bool
	stamp   uint32 // newest, with its place on the sender's timeline
	place   time.Duration
	origin  time.Time

	floor, lower time.Duration // smallest transit in the last whole window and in this one
	window       time.Time
	bins         [delayBins]float32
	target       time.Duration
	most         time.Duration // that the target ever was
	hold         time.Time     // no step down before
}

// packet notes the arrival of an audio packet and returns its transit time,
// which has a meaning only in comparison with others.
func (d *delays) packet(at time.Time, stamp uint32, c Codec) time.Duration {
	if !d.started {
		d.begin(at, stamp)
	}
	if step := int32(stamp - d.stamp); step > 0 {
		d.place += c.span(uint32(step))
		d.stamp = stamp
	}
	transit := d.transit(at, stamp, c)
	if base := d.base(); transit-base > delayLeap || base-transit > delayLeap {
		d.begin(at, stamp)
		transit = 0
	}
	if !at.Before(d.window) {
		d.floor, d.lower = d.lower, transit
		d.window = at.Add(delayWindow)
	}
	d.lower = min(d.lower, transit)
	d.count(transit - d.base())
	d.review(at)
	return transit
}

func (d *delays) begin(at time.Time, stamp uint32) {
	*d = delays{limit: d.limit, started: true, origin: at, stamp: stamp, window: at.Add(delayWindow), target: d.target, most: d.most, hold: d.hold}
	d.bins[0] = 1
}

// transit is the time from a packet's place on its sender's timeline to at.
func (d *delays) transit(at time.Time, stamp uint32, c Codec) time.Duration {
	place := d.place
	if back := int32(d.stamp - stamp); back >= 0 {
		place -= c.span(uint32(back))
	} else {
		place += c.span(uint32(-back))
	}
	return at.Sub(d.origin) - place
}

// base is the transit of the quickest packets lately.
func (d *delays) base() time.Duration { return min(d.floor, d.lower) }

// due is when a packet that is here should go on. It is never before the
// packet came, and never much later whatever its timestamp says.
func (d *delays) due(s *slot) time.Time {
	if d.target == 0 || !s.media.audio() {
		return s.arrived
	}
	early := d.target - (d.transit(s.arrived, s.stamp, s.media.codec) - d.base())
	return s.arrived.Add(min(max(early, 0), d.target))
}

func (d *delays) count(late time.Duration) {
	for i := range d.bins {
		d.bins[i] *= delayForget
	}
	bin := min(int(late/delayBin), delayBins-1)
	d.bins[max(bin, 0)] += 1 - delayForget
}

// review sets the target: up at once, down by a frame at a time.
func (d *delays) review(now time.Time) {
	want := d.wanted()
	switch {
	case want > d.target:
		d.target, d.hold = want, now.Add(delayShrink)
		d.most = max(d.most, want)
	case want < d.target && !now.Before(d.hold):
		d.target, d.hold = d.target-frameTime, now.Add(delayShrink)
	}
}

// wanted is the delay that all but the tail would need.
func (d *delays) wanted() time.Duration {
	var tail float32
	for i := delayBins - 1; i >= 0; i-- {
		if tail += d.bins[i]; tail > delayTail {
			return d.whole(time.Duration(i+1) * delayBin)
		}
	}
	return 0
}

// whole rounds up to frames and keeps to the limit.
func (d *delays) whole(delay time.Duration) time.Duration {
	if delay <= delayCalm {
		return 0
	}
	return min((delay+frameTime-1)/frameTime*frameTime, d.limit)
}

// missed notes a packet that came after its place was filled: the buffer was
// too short for it, and stays longer for a while.
func (d *delays) missed(at time.Time, stamp uint32, c Codec) {
	if !d.started {
		return
	}
	need := d.transit(at, stamp, c) - d.base()
	if need <= 0 || need > d.limit {
		return
	}
	d.target = max(d.target, d.whole(need+delayCalm))
	d.most = max(d.most, d.target)
	d.hold = at.Add(delayHold)
}

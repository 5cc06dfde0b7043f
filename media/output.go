package media

import "time"

// output is the second half of a receiver: it turns packets, now in order, into
// frames of frameTime in the format that the sink wants. Everything it needs
// per frame lives in it.
type output struct {
	metrics *sideMetrics
	sink    Sink
	want    Format

	frame  Frame
	pcm    [maxPCM]int16 // what was decoded last
	opus   *opusDecoder
	g722   *g722Decoder
	plc    concealer
	queue  []int16 // audio that does not fill a frame, or waits for its time
	rate   int     // of queue
	turn   time.Time
	ticks  uint32 // of the last audio packet, in its codec's clock
	codec  Codec  // of the last audio packet
	stamp  uint32 // of the last audio packet
	audio  bool   // the last packet was audio
	toc    [1]byte
	digit  digitIn
	pushed time.Time
	paused bool // the far end says that it is silent
	gap    int  // packets missing since the last that was here
	// Packets made up since then before it was known whether they are missing.
	guessed int
	guessAt time.Time // of the next one
	early   bool      // one is being made

	stretch stretch
	owed    time.Duration // that the sound has to grow by
	slow    int           // samples for each of it where there is no silence
	waited  int           // packets that were too loud for it
	spare   spare

	concealed time.Duration
	missing   uint64 // packets that were lost
	gaps      uint64 // rows of them
	repaired  uint64 // of them, those that the next packet brought back
	uncopied  int    // packets since the last one with a copy of the one before
}

// digitIn remembers the digit that is coming in.
type digitIn struct {
	known bool
	code  uint8
	stamp uint32 // of its latest segment
	first uint32 // of its first one
	ended bool
}

// guessAfter is how long after a frame the audio is carried on although nothing
// came: a single lost packet is noticed earlier, by the one after it, which may
// bring its repair.
const guessAfter = 50 * time.Millisecond

// stocked is a sink that may have sound to go on with: nothing needs to be made
// up for it then. It is asked with the receiver's lock held.
type stocked interface{ stocked() bool }

const (
	maxPacket       = 200 * time.Millisecond // of G.711 and G.722 in one packet, RFC 3551 section 4.2
	maxPCM          = wideRate * int(maxPacket/time.Millisecond) / 1000
	maxConcealed    = 5   // frames for one gap; a longer one is silence
	stretchPatience = 100 // frames to wait for silence
	copiesLately    = 100 // packets without a copy until the far end is taken to send none
)

// attach sets sink and format and forgets audio that waited for the old ones.
func (o *output) attach(s Sink, want Format) {
	o.sink, o.want = s, want
	o.queue, o.turn = o.queue[:0], time.Time{}
	o.stretch.grow, o.owed, o.spare = 0, 0, spare{}
	if want.Codec != NoCodec {
		return
	}
	if o.opus != nil && want.Rate != o.opus.rate {
		o.opus = nil
	}
	if o.g722 != nil && want.Rate != o.g722.rate {
		o.g722 = nil
	}
}

// pcmRate is the rate to decode to.
func (o *output) pcmRate() int {
	switch {
	case o.want.Rate != 0:
		return o.want.Rate
	case o.want.Codec.wide(): // what cannot be passed through after all
		return wideRate
	}
	return narrowRate
}

// restart forgets the timeline.
func (o *output) restart() {
	o.audio, o.ticks = false, 0
	o.digit = digitIn{}
}

// emit handles the packet whose turn it is. It is false if the packet is not
// what its payload type says.
func (o *output) emit(s *slot, now time.Time) bool {
	switch {
	case s.media.events > 0:
		o.audio = false
		return o.emitDigit(s)
	case s.media.noise:
		o.audio = false
		o.push(Frame{Kind: Silence, Timestamp: s.stamp, Duration: frameTime}, now)
		return true
	case s.media.audio():
		return o.emitAudio(s, now)
	}
	return true // counted when it came
}

// emitDigit pushes the news about a digit: not those that an earlier packet
// told, and nothing of a digit that is over.
func (o *output) emitDigit(s *slot) bool {
	d, ok := parseDigit(s.payload)
	if !ok {
		return false
	}
	first, base := s.stamp, uint32(0)
	if o.digit.known {
		age := int32(s.stamp - o.digit.stamp)
		if age < 0 || age == 0 && o.digit.ended {
			return true
		}
		// A key that is held long comes in segments (RFC 4733 section 2.5.1.3).
		if !o.digit.ended && d.Code == o.digit.code && (age == 0 || age == digitMax) {
			first = o.digit.first
			base = s.stamp - first
		}
	}
	o.digit = digitIn{known: true, code: d.Code, stamp: s.stamp, first: first, ended: d.End}
	d.Duration = uint16(min((base+uint32(d.Duration))/uint32(s.media.events/narrowRate), digitMax))
	if o.sink != nil {
		o.frame = Frame{Kind: Event, Digit: d, Timestamp: first, Duration: frameTime}
		o.sink.Push(&o.frame)
	}
	return true
}

func (o *output) emitAudio(s *slot, now time.Time) bool {
	ticks := packetTicks(s)
	if ticks == 0 {
		return false
	}
	duration := s.media.codec.span(ticks)
	if duration != o.packetTime() {
		o.spare = spare{looks: true}
	}
	o.audio, o.codec, o.stamp, o.ticks = true, s.media.codec, s.stamp, ticks
	o.gap, o.guessed, o.paused = 0, 0, false
	if o.sink == nil {
		return true
	}
	if s.media.codec == Opus {
		pause := opusPause(s.payload)
		if pause {
			o.paused = true
			o.push(Frame{Kind: Silence, Codec: Opus, Payload: s.payload, Timestamp: s.stamp, Duration: frameTime}, now)
			return true
		}
		o.toc[0] = s.payload[0] &^ 3
		if o.uncopied++; opusRedundant(s.payload) {
			o.uncopied = 0
		}
		if o.want.Codec == Opus && duration == frameTime && len(o.queue) == 0 && s.payload[0]&opusStereo == 0 {
			o.push(Frame{Kind: Audio, Codec: Opus, Payload: s.payload, Timestamp: s.stamp, Duration: duration}, now)
			return true
		}
		if !o.ready() {
			return false
		}
		n, err := o.opus.Decode(s.payload, o.pcm[:])
		if err != nil {
			return false
		}
		o.frames(o.pcm[:n], o.opus.rate, now)
		return true
	}
	pcm, rate := o.decode(s)
	o.plc.at(rate)
	joins := o.plc.made > 0
	o.plc.good(pcm)
	if o.want.Codec == s.media.codec && duration == frameTime && len(o.queue) == 0 && !joins && o.owed == 0 && !o.stretch.active() {
		o.stretch.remember(pcm, rate)
		o.push(Frame{Kind: Audio, Codec: o.codec, Payload: s.payload, Timestamp: s.stamp, Duration: duration}, now)
		return true
	}
	o.frames(pcm, rate, now)
	return true
}

// decode turns a packet of G.711 or G.722 into PCM.
func (o *output) decode(s *slot) (pcm []int16, rate int) {
	if s.media.codec != G722 {
		return lawOf(s.media.codec).decode(o.pcm[:0], s.payload), narrowRate
	}
	if o.g722 == nil {
		o.g722 = newG722Decoder(o.pcmRate())
	}
	return o.g722.decode(o.pcm[:0], s.payload), o.g722.rate
}

// packetTicks is the length of an audio packet in its clock, 0 if it cannot be
// one.
func packetTicks(s *slot) uint32 {
	switch s.media.codec {
	case Opus:
		return opusTicks(s.payload)
	case PCMA, PCMU, G722: // a byte is a tick of their clock
		if len(s.payload) <= int(PCMA.ticks(maxPacket)) {
			return uint32(len(s.payload))
		}
	case NoCodec:
	}
	return 0
}

// packetTime is how long a packet of the far end lasts.
func (o *output) packetTime() time.Duration {
	if o.ticks == 0 {
		return frameTime
	}
	return o.codec.span(o.ticks)
}

// ready makes the decoder when it is first needed.
func (o *output) ready() bool {
	if o.opus == nil {
		d, err := newOpusDecoder(o.pcmRate())
		if err != nil {
			return false
		}
		o.opus = d
	}
	return true
}

// conceal stands in for the earliest of the packets that are missing before
// next, unless that was done already by guess.
func (o *output) conceal(next *slot, missing int64, now time.Time) {
	if !o.audio || !next.media.audio() || next.media.codec != o.codec || len(next.payload) == 0 || o.sink == nil {
		return
	}
	// A pause of the far end takes timestamps but no numbers, so the numbers
	// limit what was lost; packets that were not audio take no time.
	if behind := int32(next.stamp - o.stamp); behind <= 0 || int64(behind)/int64(o.ticks) <= 1 {
		return
	}
	o.stamp += o.ticks
	o.missing++
	if o.gap++; o.gap == 1 {
		o.gaps++
	}
	o.metrics.concealed.Add(float64(o.packetTime()) / float64(frameTime))
	o.concealed += o.packetTime()
	switch {
	case o.gap <= o.guessed:
	case o.gap > maxConcealed:
		o.silence()
	default:
		o.concealOne(next, missing == 1, now)
	}
}

// guess makes up audio when it is high time for some and nothing is here, and
// says when it wants to again; the zero time means not before the next packet.
// What was made up stands for what is found missing later.
func (o *output) guess(now time.Time) time.Time {
	if !o.audio || o.paused || o.sink == nil || o.guessed > maxConcealed {
		return time.Time{}
	}
	if o.guessed == 0 {
		o.guessAt = o.pushed.Add(guessAfter)
	}
	if o.guessAt.After(now) {
		return o.guessAt
	}
	if s, ok := o.sink.(stocked); ok && s.stocked() {
		return now.Add(frameTime)
	}
	o.early = true
	defer func() { o.early = false }()
	if o.guessed++; o.guessed > maxConcealed {
		o.silence()
		return time.Time{}
	}
	o.concealOne(nil, false, now)
	o.guessAt = now.Add(o.packetTime())
	return o.guessAt
}

// silence tells the sink that there is nothing to hear for now.
func (o *output) silence() {
	o.push(Frame{Kind: Silence, Timestamp: o.stamp, Duration: frameTime}, o.pushed)
}

// concealOne makes up one packet; last says that next is the one after it, and
// may carry a copy. Nobody knows the next one yet where it is nil.
func (o *output) concealOne(next *slot, last bool, now time.Time) {
	switch o.codec {
	case Opus:
		if o.want.Codec == Opus && o.packetTime() == frameTime {
			// A packet without a frame asks the far end's decoder to conceal
			// (RFC 6716 section 3.2.1).
			if next != nil {
				o.toc[0] = next.payload[0] &^ 3
			}
			o.push(Frame{Kind: Audio, Codec: Opus, Payload: o.toc[:], Duration: o.codec.span(opusTicks(o.toc[:]))}, now)
			return
		}
		if !o.ready() {
			return
		}
		n := int(o.ticks) * o.opus.rate / int(Opus.clock())
		pcm := o.pcm[:n:n] // the decoder fills the capacity
		var err error
		redundant := last && opusRedundant(next.payload)
		if redundant {
			err = o.opus.DecodeFEC(next.payload, pcm)
		} else {
			err = o.opus.DecodePLC(pcm)
		}
		// Where there are copies, one is missing where there was nothing to say.
		if redundant || last && o.uncopied < copiesLately {
			o.repaired++
		}
		if err == nil {
			o.frames(pcm, o.opus.rate, now)
		}
	case PCMA, PCMU, G722:
		rate := narrowRate
		if o.codec == G722 && o.g722 != nil {
			rate = o.g722.rate
		}
		o.plc.at(rate)
		pcm := o.pcm[:int(o.ticks)*rate/narrowRate]
		o.plc.lost(pcm)
		o.frames(pcm, rate, now)
	case NoCodec:
	}
}

// frames cuts audio into frames of frameTime. What comes in packets of another
// length leaves at an even pace all the same.
func (o *output) frames(pcm []int16, rate int, now time.Time) {
	if o.rate != rate {
		o.queue, o.rate = o.queue[:0], rate
		o.stretch, o.spare = stretch{rate: rate}, spare{}
	}
	if n := o.spare.note(len(o.queue)); n > 0 && (o.owed == 0 || o.slow == stretchSpare) && !o.stretch.active() {
		o.owed, o.slow = -time.Duration(n)*time.Second/time.Duration(rate), stretchSpare
	}
	if o.owed != 0 {
		pcm = o.settle(pcm)
	}
	if o.stretch.active() {
		o.queue = o.stretch.append(o.queue, pcm)
		o.drain(now)
		return
	}
	o.stretch.remember(pcm, rate)
	if len(o.queue) == 0 && len(pcm) == rate/50 {
		o.push(Frame{Kind: Audio, PCM: pcm, Rate: rate, Timestamp: o.stamp, Duration: frameTime}, now)
		return
	}
	o.queue = append(o.queue, pcm...)
	o.drain(now)
}

// drain pushes queued frames whose turn it is and says when the next one's is;
// the zero time means that there is none.
func (o *output) drain(now time.Time) time.Time {
	if o.rate == 0 || o.sink == nil {
		return time.Time{}
	}
	size := o.rate / 50
	crowd := int(o.packetTime())*o.rate/int(time.Second) + size
	for len(o.queue) >= size {
		if o.turn.After(now) && len(o.queue) <= crowd {
			return o.turn
		}
		o.push(Frame{Kind: Audio, PCM: o.queue[:size], Rate: o.rate, Timestamp: o.stamp, Duration: frameTime}, now)
		o.queue = o.queue[:copy(o.queue, o.queue[size:])]
		if slack := now.Add(-frameTime / 2); o.turn.Before(slack) {
			o.turn = slack
		}
		o.turn = o.turn.Add(frameTime)
	}
	return time.Time{}
}

// push hands a frame on.
func (o *output) push(f Frame, now time.Time) {
	o.pushed = now
	if o.sink == nil {
		return
	}
	f.Early = o.early
	o.frame = f
	o.sink.Push(&o.frame)
}

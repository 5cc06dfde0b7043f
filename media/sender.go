package media

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"

	"wagate/config"
)

// sender turns frames into one RTP stream: one SSRC, no gap in sequence or
// timestamp from the first packet to the last, whatever is swapped behind it
// (RFC 3550 section 5.1). A frame leaves in Push; when there is none for
// fillAfter, comfort silence leaves by the pacer's clock, a packet each
// frameTime, so that the far end never sees a pause.
type sender struct {
	metrics *sideMetrics
	write   func(*rtp.Header, []byte) error
	opusCfg config.Opus
	economy *economy // set before use; nil: nothing is saved
	task    *task

	mu      sync.Mutex
	codec   Codec
	types   payloadTypes
	opus    *opusEncoder
	law     *law
	g722    *g722Encoder
	up      *doubler // for g722
	out     []byte
	scratch [narrowRate * maxOpusFrame / 1000]int16
	rate    int // of the PCM pushed last; comfort has it too
	header  rtp.Header
	state   senderState
	fillAt  time.Time
	pace    pace
	loss    lossWatch
	tone    toneOut
	wanted  bool // open was called, perhaps before the codec was known
	hold    bool // paused, or will be when the gate opens
	marker  bool // the next audio packet begins a talkspurt (RFC 3551 section 4.1)
	filled  int  // comfort frames in a row

	sequence  uint16
	timestamp uint32 // of the next audio packet
	last      time.Time
	lastStamp uint32 // the audio's clock at last
	packets   uint64
	octets    uint64
	unsent    uint64
	lastErr   error
}

type senderState uint8

const (
	senderShut   senderState = iota // the gate has not opened
	senderOpen                      // a packet every frameTime
	senderPaused                    // the far end wants none: it holds the call
	senderClosed                    // for good
)

// payloadTypes are the RTP payload types agreed for what we send.
type payloadTypes struct {
	audio      uint8
	events     uint8 // telephone-event
	hasEvents  bool
	eventClock int // of their durations, in Hz; 0 is 8000
}

// fillAfter is how long after a packet the first comfort frame leaves: two
// frames are missing by then, and a third is not yet due, so that a single lost
// packet, whose successor brings its repair, is not filled in as well. Whoever
// pushes had time to carry on what was heard, after guessAfter.
const fillAfter = 58 * time.Millisecond

// fillMore is the same where the next frame is known to be at hand: it is late
// because the clock of whoever has it is, and silence would tear a word apart.
const fillMore = 200 * time.Millisecond

// newSender makes a sender that is shut. write sends one packet and keeps
// neither header nor payload; it is called by one goroutine at a time.
func newSender(p *pacer, m *sideMetrics, cfg config.Opus, write func(*rtp.Header, []byte) error) *sender {
	s := &sender{
		metrics:   m,
		write:     write,
		opusCfg:   cfg,
		out:       make([]byte, maxOpusPacket),
		rate:      narrowRate,
		header:    rtp.Header{Version: 2, SSRC: rand.Uint32()},
		marker:    true,
		sequence:  uint16(rand.Uint32()),
		timestamp: rand.Uint32(),
	}
	s.lastStamp = s.timestamp
	s.task = p.task(s.tick)
	return s
}

// limit keeps the Opus encoder to what the far end says it can take, unless
// there is one already.
func (s *sender) limit(f format) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opus == nil {
		s.opusCfg = f.limit(s.opusCfg)
	}
}

// use sets codec and payload types; again when a later offer changes them.
func (s *sender) use(c Codec, types payloadTypes) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch c {
	case Opus:
		if s.opus == nil {
			enc, err := newOpusEncoder(s.opusCfg, s.economy)
			if err != nil {
				return err
			}
			enc.lossy = s.loss.lossy
			s.opus = enc
		}
	case PCMA, PCMU:
		s.law = lawOf(c)
	case G722:
		if s.g722 == nil {
			s.g722, s.up = newG722Encoder(), &doubler{}
		}
	case NoCodec:
		return fmt.Errorf("send %q: %w", c, ErrNoCodec)
	}
	s.codec, s.types = c, types
	if s.wanted && s.state == senderShut {
		s.begin()
	}
	return nil
}

// heed takes what the far end has told of the stream.
func (s *sender) heed(f farEnd, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loss.heed(f, now)
	if s.opus != nil {
		s.opus.lossy = s.loss.lossy
	}
}

// ssrc is the stream's source identifier, fixed from the start.
func (s *sender) ssrc() uint32 { return s.header.SSRC }

// open lets the first packet go, as soon as there is a codec. Before it nothing
// is sent.
func (s *sender) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted = true; s.state == senderShut && s.codec != NoCodec {
		s.begin()
	}
}

// running says whether audio that is pushed can leave.
func (s *sender) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == senderOpen && !s.tone.active
}

func (s *sender) begin() {
	if s.state = senderPaused; !s.hold {
		s.start(time.Now())
	}
}

// start sends the first packet at once and then one each frameTime.
func (s *sender) start(now time.Time) {
	s.state = senderOpen
	s.fillAt = now
	s.task.wake(now)
}

// pause stops and resumes the stream for a far end that holds the call. The
// sequence goes on without a gap; the timestamps go on with the time.
func (s *sender) pause(hold bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.hold = hold
	switch {
	case hold && s.state == senderOpen:
		s.finishTone(now)
		s.state = senderPaused
	case !hold && s.state == senderPaused:
		if gone := now.Sub(s.last); s.packets > 0 && gone > frameTime {
			s.timestamp = s.lastStamp + s.codec.ticks(gone.Truncate(frameTime))
		}
		s.marker = true
		s.start(now)
	}
}

// close sends an unfinished digit's end and then nothing more.
func (s *sender) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == senderOpen {
		s.finishTone(time.Now())
	}
	s.state = senderClosed
	s.opus, s.g722, s.up = nil, nil, nil // whoever still counts what was sent needs no encoder
}

// Push sends a frame, encoded if it has to be. See Sink.
func (s *sender) Push(f *Frame) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != senderOpen {
		if s.state != senderPaused {
			s.metrics.dropped.closed.Inc()
		}
		return
	}
	if f.Kind == Event {
		if s.types.hasEvents {
			s.pushTone(f, now)
		}
		return
	}
	if s.tone.active {
		return // the digit takes the place of the audio
	}
	if f.Kind == Silence {
		s.pushSilence(now)
		return
	}
	if !s.pace.admit(now, f) {
		s.metrics.dropped.surplus.Inc()
		s.fillAt = now.Add(f.patience()) // there is sound; comfort in its place would keep the lead for ever
		return
	}
	payload, duration := s.encode(f)
	if payload == nil {
		s.metrics.dropped.undecodable.Inc()
		return
	}
	if s.filled >= longSilence {
		s.marker = true
	}
	s.filled = 0
	s.sendAudio(now, payload, duration)
	if f.Early {
		s.pace.fill(now, duration)
	} else {
		s.pace.sent(now, duration)
	}
	s.fillAt = now.Add(f.patience())
}

// patience is how long after a frame the next one may be missing.
func (f *Frame) patience() time.Duration {
	if f.More {
		return fillMore
	}
	return fillAfter
}

// pushSilence is told that the source pauses. What leaves meanwhile is comfort
// silence, from the next frame's time on; the far end's own sparse packets
// would only come on top of it.
func (s *sender) pushSilence(now time.Time) {
	if next := s.last.Add(frameTime); next.Before(s.fillAt) {
		s.fillAt = next
		if next.Before(now) {
			s.fillAt = now
		}
		s.task.wake(s.fillAt)
	}
}

// encode returns the payload of a frame, nil if it cannot be sent.
func (s *sender) encode(f *Frame) ([]byte, time.Duration) {
	if f.Payload != nil && f.Codec == s.codec && f.Duration > 0 && f.Duration <= maxOpusFrame*time.Millisecond {
		return f.Payload, f.Duration
	}
	if l := lawOf(f.Codec); l != nil && len(f.Payload) > 0 && len(f.Payload) <= len(s.scratch) {
		pcm := l.decode(s.scratch[:0], f.Payload) // the codec was changed after the bridge was built
		return s.encodePCM(pcm, narrowRate), f.Duration
	}
	if f.Rate <= 0 || len(f.PCM) == 0 || f.Payload != nil {
		return nil, 0
	}
	if f.Rate == narrowRate || f.Rate == wideRate {
		s.rate = f.Rate
	}
	return s.encodePCM(f.PCM, f.Rate), time.Duration(len(f.PCM)) * time.Second / time.Duration(f.Rate)
}

func (s *sender) encodePCM(pcm []int16, rate int) []byte {
	if s.codec == Opus {
		n, err := s.opus.encode(pcm, rate, s.out)
		if err != nil || n == 0 {
			s.lastErr = err
			return nil
		}
		return s.out[:n]
	}
	if s.codec == G722 {
		if rate == narrowRate && len(pcm) <= len(s.scratch) {
			pcm, rate = s.up.double(pcm), wideRate
		}
		if rate != wideRate {
			return nil
		}
		return s.g722.encode(s.out[:0], pcm)
	}
	if rate != narrowRate || len(pcm) > len(s.out) {
		return nil
	}
	return s.law.encode(s.out[:0], pcm)
}

// tick runs on the pacer: updates of a digit, else comfort silence when it is
// time for some.
func (s *sender) tick(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != senderOpen {
		return time.Time{}
	}
	if s.tone.active {
		return s.tickTone(now)
	}
	if !s.fillAt.After(now) {
		s.comfort(now)
		if s.fillAt = s.fillAt.Add(frameTime); !s.fillAt.After(now) {
			s.fillAt = now.Add(frameTime) // late: skip, never catch up
		}
	}
	return s.fillAt
}

// longSilence is how many frames of comfort make what follows a talkspurt of its
// own: a far end may set its buffer anew there.
const longSilence = 10

// stillness is a frame of silence, of either rate.
var stillness [wideRate * int(frameTime/time.Millisecond) / 1000]int16

// comfort sends a frame of silence: a real frame, encoded by the same encoder
// as the speech around it.
func (s *sender) comfort(now time.Time) {
	rate := narrowRate
	if s.codec.wide() {
		rate = s.rate
	}
	payload := s.encodePCM(stillness[:rate*int(frameTime/time.Millisecond)/1000], rate)
	if payload == nil {
		s.metrics.dropped.undecodable.Inc()
		return
	}
	s.filled++
	s.sendAudio(now, payload, frameTime)
	s.pace.fill(now, frameTime)
}

func (s *sender) sendAudio(now time.Time, payload []byte, duration time.Duration) {
	s.header.Marker = s.marker
	s.marker = false
	s.header.PayloadType = s.types.audio
	s.header.Timestamp = s.timestamp
	s.send(now, payload)
	s.timestamp += s.codec.ticks(duration)
}

// send writes one packet. A packet that the network refused counts as sent, so
// that the far end sees it as lost.
func (s *sender) send(now time.Time, payload []byte) {
	s.header.SequenceNumber = s.sequence
	s.sequence++
	s.packets++
	s.octets += uint64(len(payload))
	s.last, s.lastStamp = now, s.timestamp
	if err := s.write(&s.header, payload); err != nil {
		s.unsent++
		s.lastErr = err
		s.metrics.dropped.unsent.Inc()
		return
	}
	s.metrics.out.Inc()
}

// sendStats are what a sender report and a call's record need.
type sendStats struct {
	packets, octets uint64
	unsent          uint64
	timestamp       uint32 // RTP time that corresponds to the moment asked about
	err             error  // the last one, of encoder or network
}

// stats gives the counts and the RTP time at now.
func (s *sender) stats(now time.Time) sendStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := sendStats{packets: s.packets, octets: s.octets, unsent: s.unsent, timestamp: s.lastStamp, err: s.lastErr}
	if s.packets > 0 {
		st.timestamp += s.codec.ticks(max(now.Sub(s.last), 0))
	}
	return st
}

// quietPeak is the loudest sample of a frame that may be left out unheard,
// about -50 dB.
const quietPeak = 100

// inaudible says whether a frame has nothing to hear, or in Opus no voice.
func inaudible(f *Frame) bool {
	if l := lawOf(f.Codec); l != nil && len(f.Payload) > 0 {
		return !slices.ContainsFunc(f.Payload, func(b byte) bool { return l.linear[b] > quietPeak || l.linear[b] < -quietPeak })
	}
	if f.Codec == Opus {
		return opusIdle(f.Payload)
	}
	return len(f.PCM) > 0 && silent(f.PCM)
}

// silent says whether there is nothing to hear.
func silent(pcm []int16) bool {
	for _, v := range pcm {
		if v > quietPeak || v < -quietPeak {
			return false
		}
	}
	return true
}

package media

import (
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"

	"wagate/config"
	"wagate/test/tone"
)

// sentPacket is a packet as it left a sender.
type sentPacket struct {
	rtp.Header

	payload []byte
	at      time.Time
}

// wire keeps what a sender writes.
type wire struct {
	mu      sync.Mutex
	packets []sentPacket
	then    func(sentPacket) // sees each packet too
}

func (w *wire) write(h *rtp.Header, payload []byte) error {
	p := sentPacket{h.Clone(), append([]byte(nil), payload...), time.Now()}
	w.mu.Lock()
	w.packets = append(w.packets, p)
	then := w.then
	w.mu.Unlock()
	if then != nil {
		then(p)
	}
	return nil
}

func (w *wire) sent() []sentPacket {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]sentPacket(nil), w.packets...)
}

// testPacer stops with the test.
func testPacer(tb testing.TB) (*pacer, *metrics) {
	tb.Helper()
	m := newMetrics(nil)
	p := newPacer(m.lateTicks, slog.New(slog.DiscardHandler))
	tb.Cleanup(p.close)
	return p, m
}

// testOpus is the encoder's default configuration.
func testOpus() config.Opus { return config.Opus{Bitrate: 20000, Complexity: config.ComplexityAuto} }

const testEvents = 101

// testSender is a sender of codec with telephone-events, not yet open.
func testSender(tb testing.TB, p *pacer, m *metrics, c Codec, w func(*rtp.Header, []byte) error) *sender {
	tb.Helper()
	s := newSender(p, m.sip, testOpus(), w)
	if err := s.use(c, payloadTypes{audio: testType(c), events: testEvents, hasEvents: true}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.close)
	return s
}

func testType(c Codec) uint8 {
	if c == Opus {
		return 111
	}
	return staticType(c)
}

// testReceiver takes all codecs and gives 8 kHz PCM to sink.
func testReceiver(tb testing.TB, p *pacer, m *metrics, sink Sink) *receiver {
	tb.Helper()
	r := newReceiver(p, m.sip, pbxDelayMax)
	for _, c := range []Codec{Opus, PCMA, PCMU, G722} {
		r.accept(testType(c), c)
	}
	r.acceptEvents(testEvents, narrowRate)
	r.acceptNoise(comfortNoise)
	r.setSink(sink, Format{Rate: narrowRate})
	tb.Cleanup(r.close)
	return r
}

// heardFrame is a frame with a copy of what it carried.
type heardFrame struct {
	Frame

	at time.Time
}

// ear keeps what a receiver pushes and listens for a tone.
type ear struct {
	mu     sync.Mutex
	frames []heardFrame
	meter  *tone.Meter
}

func newEar(freqs ...float64) *ear { return &ear{meter: tone.NewMeter(narrowRate, freqs...)} }

func (e *ear) Push(f *Frame) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := heardFrame{*f, time.Now()}
	c.Payload = append([]byte(nil), f.Payload...)
	c.PCM = append([]int16(nil), f.PCM...)
	e.frames = append(e.frames, c)
	if len(f.PCM) > 0 {
		e.meter.Write(f.PCM)
	}
}

// came is heard without what was made up before it was known to be missing.
func (e *ear) came() []heardFrame {
	return slices.DeleteFunc(e.heard(), func(f heardFrame) bool { return f.Early })
}

// listen puts another meter in the place of the one that listened so far.
func (e *ear) listen(rate int, freqs ...float64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.meter = tone.NewMeter(rate, freqs...)
}

func (e *ear) heard() []heardFrame {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]heardFrame(nil), e.frames...)
}

// toneFrame is the next 20 ms of a tone.
func toneFrame(s *tone.Source) *Frame {
	pcm := make([]int16, narrowRate/50)
	s.Read(pcm)
	return &Frame{Kind: Audio, PCM: pcm, Rate: narrowRate, Duration: frameTime}
}

// anyTime lets a sender take frames faster than real time, without its clock.
func (s *sender) anyTime() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state, s.pace = senderOpen, pace{}
}

// anyTime makes each packet the first of its timeline.
func (r *receiver) anyTime() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delays.started = false
}

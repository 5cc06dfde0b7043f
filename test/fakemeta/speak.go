package fakemeta

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"

	"wagate/test/tone"
)

const (
	frame     = 20 * time.Millisecond
	catchUp   = 10  // frames that may leave in a burst after the machine was busy
	srEvery   = 250 // frames between sender reports
	dtxEvery  = 20  // frames between packets of a silent customer
	ntpEpoch  = 2208988800
	mtu       = 1500
	srtpExtra = 32
)

// Speech is what the customer does with the microphone.
type Speech uint8

// The ways to speak.
const (
	Speaking Speech = iota // the sound of CallOptions
	Muted                  // digital silence, packets go on
	Quiet                  // DTX: a packet every 400 ms
	RTCPOnly               // no RTP at all; reports go on
)

// timedReader is told when a packet leaves, as tone.Marker wants to be.
type timedReader interface {
	ReadAt(pcm []int16, leaves time.Time)
}

// voice is the customer's mouth. The sending goroutine owns all but the
// atomics and the queue.
type voice struct {
	ssrc   uint32
	speech atomic.Uint32
	sent   atomic.Int64 // RTP packets
	keys   keypad
	loss   losses // the sender's own

	mu    sync.Mutex
	sound tone.Reader
}

func (v *voice) init(sound tone.Reader) { v.ssrc, v.sound = rand.Uint32(), sound }

func (v *voice) read(pcm []int16, spoken time.Time) {
	v.mu.Lock()
	sound := v.sound
	v.mu.Unlock()
	if t, ok := sound.(timedReader); ok {
		t.ReadAt(pcm, spoken)
		return
	}
	sound.Read(pcm)
}

// mouth is the state of a running sender.
type mouth struct {
	p      *peer
	coder  *coder
	header rtp.Header
	pcm    [frameSamples]int16
	plain  []byte
	sealed []byte
	ticks  int
	bytes  uint32
	talk   bool // the last frame was audio
}

// speak sends a packet every 20 ms from the moment the call is connected.
func (p *peer) speak(ctx context.Context) {
	select {
	case <-p.c.reached[Connected]:
	case <-ctx.Done():
		return
	case <-p.closed:
		return
	}
	k, err := newCoder(p.agreed())
	if err != nil {
		p.c.s.opts.Log.Error("customer cannot speak", slog.Any("error", err))
		return
	}
	m := &mouth{
		p: p, coder: k, plain: make([]byte, 0, mtu), sealed: make([]byte, 0, mtu+srtpExtra),
		header: rtp.Header{Version: 2, SSRC: p.voice.ssrc, SequenceNumber: uint16(rand.Uint32()), Timestamp: rand.Uint32()},
	}
	next := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		case <-p.closed:
			return
		}
		now := time.Now()
		for late := now.Sub(next); late > catchUp*frame; late -= frame {
			next = next.Add(frame)
			m.header.Timestamp += k.step()
		}
		m.tick(now, next)
		next = next.Add(frame)
		timer.Reset(time.Until(next))
	}
}

// agreed is the codec of the call.
func (p *peer) agreed() coding {
	if p.c.outbound {
		return p.local.audio[0]
	}
	return p.remote.audio[0]
}

// tick sends what is due. A packet that leaves late was spoken when it was due,
// so the delay is part of the way that a marker measures.
func (m *mouth) tick(now, spoken time.Time) {
	v := &m.p.voice
	speech := Speech(v.speech.Load())
	m.ticks++
	switch {
	case m.digit():
		m.talk = false
	case speech == RTCPOnly, speech == Quiet && m.ticks%dtxEvery != 0:
		m.talk = false
	default:
		clear(m.pcm[:])
		if speech == Speaking {
			v.read(m.pcm[:], spoken)
		}
		m.audio()
	}
	m.header.Timestamp += m.coder.step()
	if m.ticks%srEvery == 1 {
		m.report(now)
	}
}

func (m *mouth) audio() {
	h := m.header
	h.PayloadType, h.Marker = m.coder.pt, !m.talk
	m.talk = true
	b, ok := m.start(&h)
	if !ok {
		return
	}
	b, err := m.coder.encode(b, m.pcm[:])
	if err != nil {
		return
	}
	m.seal(b)
}

// digit sends the packet of the key that is held, if there is one. Its
// timestamp is the begin of the key on the audio's clock, its duration counts
// in 1/8000 s whatever that clock is.
func (m *mouth) digit() bool {
	k, ok := m.p.voice.keys.tick(m.header.Timestamp)
	if !ok || k.pause {
		return false
	}
	h := m.header
	h.PayloadType, h.Marker, h.Timestamp = m.p.eventType(), k.first, k.timestamp
	b, ok := m.start(&h)
	if !ok {
		return true
	}
	end := byte(0)
	if k.end {
		end = 0x80
	}
	m.seal(append(b, k.code, end|keyVolume, byte(k.duration>>8), byte(k.duration)))
	return true
}

// eventType is what key presses are sent as; Meta does so even where it was
// not agreed.
func (p *peer) eventType() uint8 {
	if p.local.event != 0 {
		return p.local.event
	}
	return eventType
}

func (m *mouth) start(h *rtp.Header) ([]byte, bool) {
	n, err := h.MarshalTo(m.plain[:cap(m.plain)])
	return m.plain[:n], err == nil
}

func (m *mouth) seal(b []byte) {
	m.header.SequenceNumber++
	m.bytes += uint32(len(b) - 12)
	sealed, err := m.p.out.EncryptRTP(m.sealed, b, nil)
	if err != nil {
		return
	}
	if m.p.voice.loss.lose() || m.p.send(sealed) == nil {
		m.p.voice.sent.Add(1)
	}
}

// report sends a sender report that says what was heard, too.
func (m *mouth) report(now time.Time) {
	ntp := uint64(now.Unix()+ntpEpoch)<<32 | uint64(now.Nanosecond())<<32/1e9
	sr := &rtcp.SenderReport{
		SSRC: m.header.SSRC, NTPTime: ntp, RTPTime: m.header.Timestamp,
		PacketCount: uint32(m.p.voice.sent.Load()), OctetCount: m.bytes, Reports: m.p.heard.reception(),
	}
	name := &rtcp.SourceDescription{Chunks: []rtcp.SourceDescriptionChunk{{
		Source: m.header.SSRC,
		Items:  []rtcp.SourceDescriptionItem{{Type: rtcp.SDESCNAME, Text: "WhatsAppAudioStream1"}},
	}}}
	raw, err := rtcp.Marshal([]rtcp.Packet{sr, name})
	if err != nil {
		return
	}
	if sealed, err := m.p.out.EncryptRTCP(nil, raw, nil); err == nil {
		_ = m.p.send(sealed)
	}
}

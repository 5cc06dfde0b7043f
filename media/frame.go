// Package media moves audio: session descriptions, the WebRTC peer towards
// WhatsApp, the RTP socket towards the PBX, codecs, concealment and the bridge
// between two legs. It knows nothing of calls.
package media

import (
	"strings"
	"time"
)

// frameTime is the audio in one frame and in one packet we send.
const frameTime = 20 * time.Millisecond

// Codec is an audio encoding on the wire.
type Codec uint8

// The codecs of both legs.
const (
	NoCodec Codec = iota
	Opus
	PCMA
	PCMU
	G722
)

// String gives the name of the codec in session descriptions and records.
func (c Codec) String() string {
	switch c {
	case Opus:
		return "opus"
	case PCMA:
		return "PCMA"
	case PCMU:
		return "PCMU"
	case G722:
		return "G722"
	case NoCodec:
	}
	return ""
}

// ParseCodec reads the name of a codec as it stands in configuration and in
// session descriptions; case does not matter (RFC 8866 section 6.6).
func ParseCodec(name string) (Codec, bool) {
	for _, c := range []Codec{Opus, PCMA, PCMU, G722} {
		if strings.EqualFold(name, c.String()) {
			return c, true
		}
	}
	return NoCodec, false
}

// clock is the rate of the codec's RTP timestamps, in ticks per second:
// 48 kHz for Opus whatever it carries (RFC 7587 section 4.1), 8 kHz for G.722
// too (RFC 3551 section 4.5.2).
func (c Codec) clock() uint32 {
	if c == Opus {
		return 48000
	}
	return 8000
}

// ticks converts a duration to the codec's RTP clock.
func (c Codec) ticks(d time.Duration) uint32 {
	return uint32(int64(d) * int64(c.clock()) / int64(time.Second))
}

// span converts RTP ticks to a duration.
func (c Codec) span(ticks uint32) time.Duration {
	return time.Duration(int64(ticks) * int64(time.Second) / int64(c.clock()))
}

// Kind says what a Frame carries.
type Kind uint8

// The kinds of Frame.
const (
	Audio   Kind = iota // sound, as Payload or as PCM
	Event               // a telephone-event, RFC 4733
	Silence             // the sender is silent on purpose (DTX, comfort noise)
)

// Format is what a Sink wants to be given: encoded payloads of Codec where
// both legs share it (pass-through), else PCM at Rate.
type Format struct {
	Codec Codec // NoCodec: PCM
	Rate  int   // samples per second of PCM, 8000 or 16000
}

// Digit is one telephone-event packet, RFC 4733 section 2.3. Duration counts
// in 1/8000 s on every leg.
type Digit struct {
	Code     uint8 // 0-9, 10 '*', 11 '#', 12-15 A-D
	Volume   uint8 // -dBm0
	End      bool
	Duration uint16
}

// Frame is what one leg received and the other will send. It belongs to the
// pusher again as soon as Push returns.
type Frame struct {
	Kind      Kind
	Codec     Codec  // of Payload; NoCodec: PCM is set
	Payload   []byte // encoded, when both sides share a codec
	PCM       []int16
	Rate      int // of PCM
	Digit     Digit
	Timestamp uint32 // of the receiving leg, in its RTP clock; equal in all packets of one Digit
	Duration  time.Duration
	Early     bool // made up in place of audio that may still come
	More      bool // the next frame is here already and follows at its time
}

// Sink takes frames. Push must not keep the frame and must not block.
type Sink interface{ Push(*Frame) }

// Endpoint is one leg's audio. Its sender owns SSRC, sequence and timestamp
// from its first packet to Close, and sends comfort silence by its own clock
// when nothing has been pushed for two frames.
type Endpoint interface {
	Sink
	SetSink(s Sink, want Format) // nil: received audio is counted and dropped
	Codec() Codec
	Stats() Stats
	Close() error
}

// Stats is what an Endpoint has counted so far.
type Stats struct {
	PacketsIn, PacketsOut  uint64
	Lost, Late, Duplicates uint64
	Dropped                uint64 // from strangers, malformed, undecodable
	Jitter                 time.Duration
	RoundTrip              time.Duration // zero: unknown
	Concealed              time.Duration
	MOS                    float64       // estimated, 0: unknown
	FirstAudio             time.Duration // from the gate's opening to the first packet heard; 0: never
	ICE, DTLS              time.Duration // set-up times of a Peer
}

package media

import (
	"fmt"

	"github.com/hraban/opus"

	"wagate/config"
)

const (
	maxOpusPacket      = 1275
	narrowRate         = 8000
	wideRate           = 16000
	maxOpusFrame       = 120 // ms, RFC 6716 section 2.1.4
	opusClockPerMillis = 48
)

// opusEncoder encodes PCM of 8 and of 16 kHz, each with an encoder of its own:
// libopus encodes telephone audio best, and at half the price, when it is told
// that it is telephone audio.
type opusEncoder struct {
	cfg          config.Opus
	narrow, wide *tunedEncoder
	lossy        bool     // the far end misses packets
	save         *economy // of all encoders; nil: nothing is saved
}

// newOpusEncoder makes an encoder that is ready for 8 kHz.
func newOpusEncoder(cfg config.Opus, save *economy) (*opusEncoder, error) {
	e := &opusEncoder{cfg: cfg, save: save}
	_, err := e.at(narrowRate)
	return e, err
}

// encode writes one packet to out and returns its length. The PCM must last a
// duration that Opus knows: 10, 20, 40 or 60 ms.
func (e *opusEncoder) encode(pcm []int16, rate int, out []byte) (int, error) {
	enc, err := e.at(rate)
	if err != nil {
		return 0, err
	}
	return enc.Encode(pcm, out)
}

// at returns the encoder for a rate, set for the next frame, and makes it when
// it is first asked for.
func (e *opusEncoder) at(rate int) (*tunedEncoder, error) {
	var slot **tunedEncoder
	switch rate {
	case narrowRate:
		slot = &e.narrow
	case wideRate:
		slot = &e.wide
	default:
		return nil, fmt.Errorf("opus encoder: no encoder for %d Hz", rate)
	}
	if *slot == nil {
		enc, err := makeOpusEncoder(e.cfg, rate)
		if err != nil {
			return nil, fmt.Errorf("opus encoder for %d Hz: %w", rate, err)
		}
		*slot = enc
	}
	return *slot, (*slot).apply(tune(e.cfg, rate, e.lossy, e.save.now()))
}

// opusTicks is the duration of an Opus packet in its 48 kHz clock, read from
// its first bytes (RFC 6716 section 3.1); 0 if it cannot be a packet.
func opusTicks(payload []byte) uint32 {
	if len(payload) == 0 {
		return 0
	}
	config := payload[0] >> 3
	var frame uint32 // 1/48 ms
	switch {
	case config < 12: // SILK
		frame = [...]uint32{10, 20, 40, 60}[config&3] * opusClockPerMillis
	case config < 16: // hybrid
		frame = [...]uint32{10, 20}[config&1] * opusClockPerMillis
	default: // CELT
		frame = [...]uint32{120, 240, 480, 960}[config&3]
	}
	count := uint32(1)
	switch payload[0] & 3 {
	case 1, 2:
		count = 2
	case 3:
		if len(payload) < 2 {
			return 0
		}
		count = uint32(payload[1] & 0x3f)
	}
	if ticks := frame * count; ticks <= maxOpusFrame*opusClockPerMillis {
		return ticks
	}
	return 0
}

// opusStereo is the bit of two channels in a packet's first byte.
const opusStereo = 0x04

// The bits that begin one mono SILK or hybrid frame of up to 20 ms (RFC 6716
// section 4.2.3).
const (
	opusActive = 0x80 // somebody speaks
	opusCopy   = 0x40 // a coarse copy of the frame before it follows (LBRR)
)

// opusFlags are those bits, false for packets that have none or several.
func opusFlags(payload []byte) (byte, bool) {
	if len(payload) < 2 || payload[0]>>3 >= 16 || payload[0]&(opusStereo|3) != 0 {
		return 0, false
	}
	if config := payload[0] >> 3; config < 12 && config&3 > 1 {
		return 0, false
	}
	return payload[1], true
}

// opusRedundant says whether a packet carries a copy of the frame before it.
func opusRedundant(payload []byte) bool {
	flags, ok := opusFlags(payload)
	return ok && flags&opusCopy != 0
}

// opusIdle says whether the encoder of a packet heard nobody speak.
func opusIdle(payload []byte) bool {
	flags, ok := opusFlags(payload)
	return ok && flags&opusActive == 0
}

// opusPause says whether a packet is the encoder's sign that it pauses (DTX):
// no more than its first byte and perhaps a count.
func opusPause(payload []byte) bool { return len(payload) <= 2 }

// opusDecoder decodes to mono PCM of one rate.
type opusDecoder struct {
	*opus.Decoder

	rate int
}

func newOpusDecoder(rate int) (*opusDecoder, error) {
	d, err := opus.NewDecoder(rate, 1)
	if err != nil {
		return nil, fmt.Errorf("opus decoder for %d Hz: %w", rate, err)
	}
	return &opusDecoder{Decoder: d, rate: rate}, nil
}

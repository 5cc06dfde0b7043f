package fakemeta

import (
	"fmt"

	"github.com/hraban/opus"
	"github.com/zaf/g711"
)

const (
	frameSamples = rate / 50 // of 20 ms
	opusBitrate  = 20000     // what Meta's offers allow
	mostSamples  = rate * 60 / 1000
)

// coder encodes what the customer says, 20 ms at a time.
type coder struct {
	coding
	opus *opus.Encoder
}

// newCoder is cheap rather than good: a sine needs no more, and many customers
// share a test machine.
func newCoder(c coding) (*coder, error) {
	k := &coder{coding: c}
	if c.name != "opus" {
		return k, nil
	}
	e, err := opus.NewEncoder(rate, 1, opus.AppVoIP)
	if err != nil {
		return nil, fmt.Errorf("make an Opus encoder: %w", err)
	}
	for _, err := range []error{e.SetComplexity(0), e.SetBitrate(opusBitrate), e.SetInBandFEC(true)} {
		if err != nil {
			return nil, fmt.Errorf("set up the Opus encoder: %w", err)
		}
	}
	k.opus = e
	return k, nil
}

// step is how far the RTP clock goes in a frame.
func (k *coder) step() uint32 { return stepOf(k.name) }

func stepOf(name string) uint32 {
	if name == "opus" {
		return 48000 / 50 // whatever the sampling rate is, RFC 7587
	}
	return 8000 / 50
}

// encode appends the encoded frame to b.
func (k *coder) encode(b []byte, pcm []int16) ([]byte, error) {
	switch k.name {
	case "opus":
		n, err := k.opus.Encode(pcm, b[len(b):cap(b)])
		return b[:len(b)+n], err
	case "PCMA":
		for i := 0; i+1 < len(pcm); i += 2 {
			b = append(b, g711.EncodeAlawFrame(half(pcm[i], pcm[i+1])))
		}
	case "PCMU":
		for i := 0; i+1 < len(pcm); i += 2 {
			b = append(b, g711.EncodeUlawFrame(half(pcm[i], pcm[i+1])))
		}
	}
	return b, nil
}

func half(a, b int16) int16 { return int16((int(a) + int(b)) / 2) }

// decoder decodes what the customer hears.
type decoder struct {
	opus *opus.Decoder
	pcm  [mostSamples * 2]int16
	last int // samples of the last packet
}

func newDecoder() (*decoder, error) {
	d, err := opus.NewDecoder(rate, 1)
	if err != nil {
		return nil, fmt.Errorf("make an Opus decoder: %w", err)
	}
	return &decoder{opus: d, last: frameSamples}, nil
}

// decode returns PCM that is valid until the next call; nil where the payload
// makes no sense.
func (d *decoder) decode(name string, payload []byte) []int16 {
	pcm := d.pcm[:0]
	switch name {
	case "opus":
		n, err := d.opus.Decode(payload, d.pcm[:mostSamples])
		if err != nil {
			return nil
		}
		d.last = n
		return d.pcm[:n]
	case "PCMA":
		for _, b := range payload[:min(len(payload), mostSamples/2)] {
			v := g711.DecodeAlawFrame(b)
			pcm = append(pcm, v, v)
		}
	case "PCMU":
		for _, b := range payload[:min(len(payload), mostSamples/2)] {
			v := g711.DecodeUlawFrame(b)
			pcm = append(pcm, v, v)
		}
	}
	return pcm
}

// conceal makes up what a lost packet would have had.
func (d *decoder) conceal(name string) []int16 {
	pcm := d.pcm[:d.last]
	if name != "opus" || d.opus.DecodePLC(pcm) != nil {
		clear(pcm)
	}
	return pcm
}

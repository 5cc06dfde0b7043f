package media

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The encodings of a WAV file that are read.
const (
	wavPCM  = 1
	wavAlaw = 6
	wavUlaw = 7
)

// wavFormat is what the "fmt " chunk says.
type wavFormat struct {
	encoding, channels uint16
	rate               uint32
	block, bits        uint16
}

// parseWAV reads the samples of a WAV file (RIFF, little endian). It takes what
// it can play without guessing and refuses the rest; a file that its writer
// has not finished is refused too.
func parseWAV(b []byte) (rate int, pcm []int16, err error) {
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return 0, nil, errors.New("not a WAV file")
	}
	var f *wavFormat
	for b = b[12:]; len(b) >= 8; {
		name, size := string(b[:4]), binary.LittleEndian.Uint32(b[4:])
		if b = b[8:]; uint64(size) > uint64(len(b)) {
			return 0, nil, fmt.Errorf("its part %q has %d bytes of %d; the file was cut off or never finished", name, len(b), size)
		}
		part := b[:size]
		switch name {
		case "fmt ":
			if f != nil {
				return 0, nil, errors.New("two formats in one file")
			}
			if f, err = parseFormat(part); err != nil {
				return 0, nil, err
			}
		case "data":
			if f == nil {
				return 0, nil, errors.New("sound before its format")
			}
			pcm, err = f.samples(part)
			return int(f.rate), pcm, err
		}
		b = b[min(len(part)+len(part)%2, len(b)):]
	}
	return 0, nil, errors.New("no sound in it")
}

func parseFormat(b []byte) (*wavFormat, error) {
	le := binary.LittleEndian
	if len(b) < 16 {
		return nil, fmt.Errorf("a format of %d bytes; want 16 or more", len(b))
	}
	f := &wavFormat{
		encoding: le.Uint16(b), channels: le.Uint16(b[2:]), rate: le.Uint32(b[4:]),
		block: le.Uint16(b[12:]), bits: le.Uint16(b[14:]),
	}
	var bits uint16
	switch f.encoding {
	case wavPCM:
		bits = 16
	case wavAlaw, wavUlaw:
		bits = 8
	default:
		return nil, fmt.Errorf("encoding %d; want 16 bit PCM (%d) or G.711 (%d, %d)", f.encoding, wavPCM, wavAlaw, wavUlaw)
	}
	switch {
	case f.bits != bits:
		return nil, fmt.Errorf("%d bits in a sample; want %d", f.bits, bits)
	case f.channels != 1:
		return nil, fmt.Errorf("%d channels; want one", f.channels)
	case f.rate != narrowRate && f.rate != wideRate:
		return nil, fmt.Errorf("%d samples per second; want %d or %d", f.rate, narrowRate, wideRate)
	case f.block != bits/8:
		return nil, fmt.Errorf("%d bytes in a sample of %d bits", f.block, bits)
	}
	return f, nil
}

// samples decodes the "data" chunk.
func (f *wavFormat) samples(b []byte) ([]int16, error) {
	if len(b)%int(f.block) != 0 {
		return nil, fmt.Errorf("%d bytes of sound end within a sample", len(b))
	}
	pcm := make([]int16, 0, len(b)/int(f.block))
	switch f.encoding {
	case wavAlaw:
		return alaw.decode(pcm, b), nil
	case wavUlaw:
		return ulaw.decode(pcm, b), nil
	}
	for i := 0; i < len(b); i += 2 {
		pcm = append(pcm, int16(binary.LittleEndian.Uint16(b[i:])))
	}
	return pcm, nil
}

package tone

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// ErrWAV says that a file is not mono or stereo 16-bit PCM in a WAV.
var ErrWAV = errors.New("not a 16-bit PCM WAV file")

const wavHeader = 44

// WriteWAV writes mono samples as a WAV file.
func WriteWAV(path string, rate int, pcm []int16) error {
	size := 2 * len(pcm)
	b := make([]byte, 0, wavHeader+size)
	le := binary.LittleEndian
	b = append(b, "RIFF"...)
	b = le.AppendUint32(b, uint32(wavHeader-8+size))
	b = append(b, "WAVEfmt "...)
	b = le.AppendUint32(b, 16)
	b = le.AppendUint16(b, 1) // PCM
	b = le.AppendUint16(b, 1) // mono
	b = le.AppendUint32(b, uint32(rate))
	b = le.AppendUint32(b, uint32(2*rate))
	b = le.AppendUint16(b, 2)
	b = le.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(size))
	for _, v := range pcm {
		b = le.AppendUint16(b, uint16(v))
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("write WAV: %w", err)
	}
	return nil
}

// ReadWAV reads a WAV file, the first channel of it. A file that its writer has
// not closed (sizes still zero or too large) is read up to its end.
func ReadWAV(path string) (pcm []int16, rate int, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read WAV: %w", err)
	}
	if len(b) < 12 || string(b[:4]) != "RIFF" || string(b[8:12]) != "WAVE" {
		return nil, 0, fmt.Errorf("read %s: %w", path, ErrWAV)
	}
	le := binary.LittleEndian
	channels := 0
	for b = b[12:]; len(b) >= 8; {
		id, size := string(b[:4]), int(le.Uint32(b[4:]))
		b = b[8:]
		if id == "data" && size == 0 {
			size = len(b)
		}
		size = min(size, len(b))
		switch body := b[:size]; {
		case id == "fmt " && size >= 16:
			format := le.Uint16(body)
			channels, rate = int(le.Uint16(body[2:])), int(le.Uint32(body[4:]))
			if (format != 1 && format != 0xfffe) || le.Uint16(body[14:]) != 16 || channels < 1 || channels > 2 || rate == 0 {
				return nil, 0, fmt.Errorf("read %s: %w", path, ErrWAV)
			}
		case id == "data" && channels > 0:
			for ; len(body) >= 2*channels; body = body[2*channels:] {
				pcm = append(pcm, int16(le.Uint16(body)))
			}
			return pcm, rate, nil
		}
		b = b[min(size+size%2, len(b)):]
	}
	return nil, 0, fmt.Errorf("read %s: %w", path, ErrWAV)
}

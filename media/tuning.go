package media

import (
	"fmt"

	"github.com/hraban/opus"

	"wagate/config"
)

// What auto means. On a clean line redundancy costs more than it brings, so
// telephone audio has it only where the far end misses packets. Below
// lossComplexity libopus sends none at 20 kbit/s, and an expected loss of 1 % is
// the figure that costs least and helps most, whatever the real loss. Wideband
// has none: there is no room for it at that bitrate.
const (
	plainComplexity = 1
	lossComplexity  = 2
	wideComplexity  = 5 // for 16 kHz
	expectedLoss    = 1 // per cent
)

// tuning is what changes of an encoder in the middle of a call.
type tuning struct {
	complexity int
	fec        bool
}

// tune is how an encoder should be set. lossy says that the far end misses
// packets.
func tune(cfg config.Opus, rate int, lossy bool, save Economy) tuning {
	t := tuning{complexity: int(cfg.Complexity)}
	switch cfg.FEC {
	case config.On:
		t.fec = true
	case config.Off:
	case config.Auto:
		t.fec = lossy && rate == narrowRate && save < NoRedundancy
	}
	if cfg.Complexity != config.ComplexityAuto {
		return t
	}
	switch {
	case rate == wideRate && save < LowComplexity:
		t.complexity = wideComplexity
	case t.fec:
		t.complexity = lossComplexity
	default:
		t.complexity = plainComplexity
	}
	return t
}

// tunedEncoder is an encoder of libopus and how it is set.
type tunedEncoder struct {
	*opus.Encoder

	set tuning
}

// apply changes what is different. It is to be called between two frames; the
// encoder's memory of the sound goes on.
func (e *tunedEncoder) apply(t tuning) error {
	if t == e.set {
		return nil
	}
	if err := e.SetComplexity(t.complexity); err != nil {
		return fmt.Errorf("set complexity: %w", err)
	}
	if err := e.SetInBandFEC(t.fec); err != nil {
		return fmt.Errorf("set fec: %w", err)
	}
	e.set = t
	return nil
}

func makeOpusEncoder(cfg config.Opus, rate int) (*tunedEncoder, error) {
	enc, err := opus.NewEncoder(rate, 1, opus.AppVoIP)
	if err != nil {
		return nil, err
	}
	set := []struct {
		what string
		err  error
	}{
		{"bitrate", enc.SetBitrate(cfg.Bitrate)},
		{"expected loss", enc.SetPacketLossPerc(expectedLoss)},
		{"dtx", enc.SetDTX(false)},
		{"vbr", enc.SetVBR(true)},
	}
	for _, s := range set {
		if s.err != nil {
			return nil, fmt.Errorf("set %s: %w", s.what, s.err)
		}
	}
	return &tunedEncoder{Encoder: enc, set: tuning{complexity: -1}}, nil
}

package gateway

import (
	"log/slog"
	"strings"
	"time"

	"wagate/config"
	"wagate/media"
)

// byInfo is the way of trunks whose key presses travel as SIP INFO instead of
// in the audio.
const byInfo = "info"

// keyNames are the keys of a telephone by their event code (RFC 4733 section 3.2).
const keyNames = "0123456789*#ABCD"

// presser sends a key press to the PBX.
type presser interface {
	Press(key byte, duration time.Duration)
}

// keysTo returns what takes the customer's key presses to the PBX, nil where
// they go in the audio. to is asked for with each.
func keysTo(trunk config.Trunk, to func() presser) func(media.Key) {
	if trunk.DTMF != byInfo {
		return nil
	}
	return func(k media.Key) {
		if int(k.Code) < len(keyNames) {
			to().Press(keyNames[k.Code], k.Duration)
		}
	}
}

// keysFrom returns what takes the PBX's key presses to the customer, nil where
// they come in the audio: a phone that sends both would press twice.
func keysFrom(trunk config.Trunk, sock socket, log *slog.Logger) func(byte, time.Duration) {
	if trunk.DTMF != byInfo || sock == nil {
		return nil
	}
	return func(key byte, duration time.Duration) {
		code := strings.IndexByte(keyNames, key)
		if code < 0 {
			return
		}
		if err := sock.Press(media.Key{Code: uint8(code), Duration: duration}); err != nil {
			log.Warn("key press is lost", slog.Any("error", err))
		}
	}
}

package media

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"time"
)

// The limits of a prompt. Around what was recorded there is some silence: a
// phone takes a moment to play what comes before the answer, and still holds
// the last words in its buffer when the last packet has been sent.
const (
	promptLimit = 10 * time.Second
	promptLead  = 200 * time.Millisecond
	promptTail  = 200 * time.Millisecond
	promptFile  = 2*wideRate*int(promptLimit/time.Second) + 64<<10 // bytes; the rest is for titles and such
)

// noPermission says that the customer may not be called yet; it is made by
// test/tools/prompt.sh.
//
//go:embed prompt/no_permission.wav
var noPermission []byte

// BuiltinPrompt is the announcement, in English, that the customer has not
// allowed calls.
func BuiltinPrompt() Sound {
	s, _ := parsePrompt(noPermission) // a test reads it too
	return s
}

// ReadPrompt reads an announcement: a WAV file of one channel with 8000 or
// 16000 samples per second, in 16 bit PCM or G.711, of at most 10 s. The error
// says what is wrong with the file. An empty path is BuiltinPrompt.
func ReadPrompt(path string) (Sound, error) {
	if path == "" {
		return BuiltinPrompt(), nil
	}
	data, err := readSmall(path)
	if err != nil {
		return Sound{}, fmt.Errorf("prompt: %w", err)
	}
	s, err := parsePrompt(data)
	if err != nil {
		return Sound{}, fmt.Errorf("prompt %s: %w", path, err)
	}
	return s, nil
}

// readSmall reads a file that can be a prompt. A pipe or a device is not even
// opened, for that might wait for ever.
func readSmall(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", path)
	case info.Size() > int64(promptFile):
		return nil, fmt.Errorf("%s is larger than %d bytes; want at most %v of sound", path, promptFile, promptLimit)
	}
	return os.ReadFile(path)
}

// parsePrompt makes a Sound of a WAV file.
func parsePrompt(file []byte) (Sound, error) {
	rate, pcm, err := parseWAV(file)
	if err != nil {
		return Sound{}, err
	}
	switch length := time.Duration(len(pcm)) * time.Second / time.Duration(rate); {
	case length > promptLimit:
		return Sound{}, fmt.Errorf("%v of sound; want at most %v", length.Round(time.Millisecond), promptLimit)
	case len(pcm) == 0:
		return Sound{}, errors.New("no sound in it")
	}
	frame := rate * int(frameTime/time.Millisecond) / 1000
	lead, tail := rate*int(promptLead/time.Millisecond)/1000, rate*int(promptTail/time.Millisecond)/1000
	whole := (lead + len(pcm) + tail + frame - 1) / frame * frame
	padded := make([]int16, whole)
	copy(padded[lead:], pcm)
	if rate == wideRate {
		return Sound{narrow: halve(padded), wide: padded}, nil
	}
	return Sound{narrow: padded}, nil
}

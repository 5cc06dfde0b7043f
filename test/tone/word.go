package tone

import (
	"fmt"
	"sync"
	"time"
)

// wordBeats are when the chirps of a word begin, after a breath without which a
// speech codec would begin in the middle of a sound. Their distances differ, and
// they are too short to be a pause.
var wordBeats = [...]time.Duration{40 * time.Millisecond, 90 * time.Millisecond, 170 * time.Millisecond, 230 * time.Millisecond, 310 * time.Millisecond}

const (
	beatOff     = 5 * time.Millisecond   // how far a chirp may be from its place in a word
	beatFrame   = 20 * time.Millisecond  // a busy machine may put silent frames between two
	beatStretch = 200 * time.Millisecond // no more of them
)

// Word is a Reader that says one word of a third of a second, and then nothing.
// It is known again by its chirps.
type Word struct {
	mu  sync.Mutex
	pcm []int16
}

// NewWord returns a word at rate samples per second.
func NewWord(rate int) *Word {
	chirp := newChirp(rate)
	at := func(d time.Duration) int { return int(d.Seconds() * float64(rate)) }
	w := &Word{pcm: make([]int16, at(wordBeats[len(wordBeats)-1])+len(chirp))}
	for _, b := range wordBeats {
		for i, v := range chirp {
			w.pcm[at(b)+i] = int16(v * amplitude(chirpPeak))
		}
	}
	return w
}

// Read fills pcm with what is left of the word, then with silence.
func (w *Word) Read(pcm []int16) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := copy(pcm, w.pcm)
	w.pcm = w.pcm[n:]
	clear(pcm[n:])
}

// FindWord looks for one whole word in audio at rate samples per second, of which
// nothing may be missing or out of its order, and returns where its first chirp
// is.
func FindWord(pcm []int16, rate int) (time.Duration, error) {
	start := time.Unix(0, 0)
	l := NewListener(rate)
	l.WriteAt(pcm, start)
	l.WriteAt(make([]int16, rate/10), start.Add(time.Duration(len(pcm))*time.Second/time.Duration(rate))) // so that the last chirp is over
	var heard []time.Duration
	for _, at := range l.Heard() {
		heard = append(heard, at.Sub(start))
	}
	for i := 0; i+len(wordBeats) <= len(heard); i++ {
		whole := true
		for n := 1; n < len(wordBeats); n++ {
			more := heard[i+n] - heard[i+n-1] - (wordBeats[n] - wordBeats[n-1])
			whole = whole && more >= -beatOff && more <= beatStretch && (more-more.Round(beatFrame)).Abs() <= beatOff
		}
		if whole {
			return heard[i], nil
		}
	}
	return 0, fmt.Errorf("no whole word in %v of audio: chirps at %v", time.Duration(len(pcm))*time.Second/time.Duration(rate), heard)
}

package media

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtp"

	"wagate/test/tone"
)

// passed is a far end that talks with pauses, and whose clock is off. Its
// packets are passed through.
type passed struct {
	codec  Codec
	ppm    float64
	length time.Duration
	burst  int  // packets that leave at once
	dtx    bool // nothing is sent in pauses
}

// words is what it says again and again: six words with pauses between them in
// which somebody breathes, each packet different from the others.
func (c *passed) words(t *testing.T) (packets [][]byte, speech []bool) {
	t.Helper()
	f := &far{stream: stream{codec: c.codec}, opus: farEncoder(t, false)}
	breath := tone.NewSource(97, narrowRate)
	breath.SetLevel(-57)
	for i := range 6 * wordAndPause {
		f.sound = breath
		if i%wordAndPause < word {
			f.sound = vowel(i)
		}
		_, payload, _ := f.packet(t)
		said := i%wordAndPause < word
		if c.codec == Opus { // its encoder looks ahead
			said = !opusIdle(payload)
		}
		packets, speech = append(packets, payload), append(speech, said)
	}
	return packets, speech
}

// The frames of a word, and with the pause behind it.
const (
	word         = 50
	wordAndPause = 75
)

// vowel is the frame with that number of a vowel.
type vowel int

func (v vowel) Read(pcm []int16) { voice(pcm, int(v)*len(pcm)) }

// TestClocksDriftInPassThrough: a clock is off by as much as 100 ppm make of two
// hours while payloads are passed through, where nothing can be stretched. What
// the far end's clock is too fast is left out where nobody speaks, what it is too
// slow is passed on, nothing that was said is missing, and nothing piles up.
func TestClocksDriftInPassThrough(t *testing.T) {
	const hours, less = 2 * time.Hour, 12 * time.Minute
	for _, c := range []passed{
		{Opus, 100, hours, 1, false},
		{Opus, -500, less, 1, false},
		{Opus, 500, less, 3, false},
		{Opus, -500, less, 3, false},
		{Opus, 500, less, 1, true},
		{Opus, -500, less, 1, true},
		{PCMA, 500, less, 3, false},
		{PCMA, -500, less, 3, false},
	} {
		if raceDetector {
			c.length /= 10
		}
		t.Run(fmt.Sprintf("%v, %v ppm, %v at once, pauses %v", c.codec, c.ppm, c.burst, c.dtx), func(t *testing.T) {
			synctest.Test(t, c.play)
		})
	}
}

func (c *passed) play(t *testing.T) {
	words, speech := c.words(t)
	p, m := testPacer(t)
	start := time.Now()
	every := time.Duration(float64(frameTime) / (1 + c.ppm/1e6))
	begun := false
	var origin uint32
	var lead, late time.Duration
	next, left, cut, other := 0, 0, 0, 0 // word's packet to come; packets left out, those of speech, those made here
	w := func(h *rtp.Header, payload []byte) error {
		now := time.Now()
		if !begun {
			begun, origin = true, h.Timestamp
		}
		ahead := c.codec.span(h.Timestamp-origin) - now.Sub(start)
		lead = max(lead, ahead)
		const near = 4
		for skip := range near {
			if !bytes.Equal(payload, words[(next+skip)%len(words)]) {
				continue
			}
			for i := other; i < skip; i++ {
				if left++; speech[(next+i)%len(words)] {
					cut++
				}
			}
			other = 0
			next += skip + 1
			late = max(late, now.Sub(start.Add(time.Duration(next)*every)))
			return nil
		}
		other++
		return nil
	}
	s := testSender(t, p, m, c.codec, w)
	r := testReceiver(t, p, m, s)
	r.setSink(s, between(c.codec, c.codec))
	s.open()
	f := &stream{codec: c.codec, ssrc: 5}
	for n := 0; time.Duration(n)*every < c.length; n += c.burst {
		time.Sleep(time.Until(start.Add(time.Duration(n+c.burst) * every)))
		for i := range c.burst {
			payload := words[(n+i)%len(words)]
			h := f.header()
			f.stamp += c.codec.ticks(frameTime)
			if c.dtx && !speech[(n+i)%len(words)] {
				f.number--
				s.mu.Lock() // w runs under it
				next++
				s.mu.Unlock()
				continue
			}
			r.receive(h, payload, time.Now())
		}
	}
	r.mu.Lock()
	held, waits := r.buffer.held, len(r.out.queue)
	r.mu.Unlock()
	st := r.stats()
	s.close()
	t.Logf("%d left out, %d of them of speech; up to %v ahead of time, %v late; %d packets and %d samples wait", left, cut, lead, late, held, waits)
	if cut > 0 {
		t.Errorf("%d packets of speech were left out", cut)
	}
	spare := max(int(float64(c.length)*c.ppm/1e6/float64(frameTime)), 0)
	if c.dtx {
		spare = 0 // the pauses take it up
	}
	if c.codec == Opus && (left < spare-4 || left > spare+3) {
		t.Errorf("%d packets were left out, want %d", left, spare)
	}
	if limit := time.Duration(c.burst) * frameTime; lead > maxLead || late > limit || held > c.burst || waits > narrowRate/50 {
		t.Errorf("want at most %v ahead, %v late and %d packets waiting", maxLead, limit, c.burst)
	}
	if st.Lost+st.Late != 0 {
		t.Errorf("%+v", st)
	}
}

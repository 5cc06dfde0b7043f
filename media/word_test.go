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

// stall is a time in which something stands still around a first word.
type stall struct {
	network, hold, sender bool          // packets; the clock of who keeps the word, and of who sends it
	at, length            time.Duration // from the first packet
}

// heard is what the other side gets of a word, as PCMA, whose first packet comes
// at once and that is kept for 150 ms.
func (w stall) heard(t *testing.T) (heard []byte) {
	t.Helper()
	const answer, end = 150 * time.Millisecond, time.Second
	p, m := testPacer(t)
	h := newHold(p, m.sip, Opus)
	s := testSender(t, p, m, PCMA, func(_ *rtp.Header, payload []byte) error {
		heard = append(heard, payload...)
		return nil
	})
	r := testReceiver(t, p, m, nil)
	h.begin(r, PCMA)
	start := time.Now()
	until := func(at time.Duration) { time.Sleep(time.Until(start.Add(at))) }
	freeze := func(s *shard) {
		ice := &task{shard: s, index: -1, run: func(time.Time) time.Time {
			until(w.at + w.length)
			return time.Time{}
		}}
		ice.wake(start.Add(w.at))
	}
	if w.hold {
		freeze(h.task.shard)
	}
	if w.sender {
		freeze(s.task.shard)
	}
	time.AfterFunc(answer, func() {
		s.open()
		r.setSink(h.attach(s), between(PCMA, Opus))
	})
	f := &far{stream: stream{codec: PCMA, ssrc: 5}, sound: tone.NewWord(narrowRate)}
	for at := time.Duration(0); at < end; at += frameTime {
		comes := at
		if w.network && comes >= w.at {
			comes = max(comes, w.at+w.length)
		}
		until(comes)
		header, payload, _ := f.packet(t)
		r.receive(header, payload, time.Now())
	}
	s.close()
	return heard
}

// TestStallsDoNotTearTheFirstWord: a word that is kept is heard to the sample as
// it was said although packets come in a burst, or a clock stands still, while it
// is kept or passed on: there is sound enough to bridge it.
func TestStallsDoNotTearTheFirstWord(t *testing.T) {
	said := make([]int16, narrowRate*340/1000)
	tone.NewWord(narrowRate).Read(said)
	word := alaw.encode(nil, said[narrowRate/50:])
	for name, w := range map[string]stall{
		"packets":           {network: true},
		"clock of the hold": {hold: true},
		"clock of sending":  {sender: true},
		"both clocks":       {hold: true, sender: true},
		"everything":        {network: true, hold: true, sender: true},
	} {
		t.Run(name, func(t *testing.T) {
			var torn []string
			for w.at = 10 * time.Millisecond; w.at < 600*time.Millisecond; w.at += 30 * time.Millisecond {
				for _, w.length = range []time.Duration{60 * time.Millisecond, 100 * time.Millisecond} {
					synctest.Test(t, func(t *testing.T) {
						if !bytes.Contains(w.heard(t), word) {
							torn = append(torn, fmt.Sprintf("%v from %v on", w.length, w.at))
						}
					})
				}
			}
			if torn != nil {
				t.Errorf("torn by stalls of %v", torn)
			}
		})
	}
}

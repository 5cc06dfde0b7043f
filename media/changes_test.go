package media

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/test/tone"
)

// spell is what a far end sends for a while.
type spell struct {
	codec Codec
	ms    int // of a packet
	lasts time.Duration
}

func (s spell) String() string { return fmt.Sprintf("%v %d ms", s.codec, s.ms) }

// changingTone is not turned by G.722, which delays by 22 of its samples, or by 11 where only its lower band is heard.
const changingTone = wideRate / 11.0

// talkInSpells lets a far end change its packets without a word, in the middle
// of a tone.
func talkInSpells(r *receiver, freq float64, spells []spell) {
	source := tone.NewSource(freq, wideRate)
	s := &stream{number: 65500, stamp: 1<<32 - 4000, ssrc: 3}
	next := time.Now()
	var g722 *g722Encoder
	for _, now := range spells {
		if s.codec != now.codec {
			s.codec, g722 = now.codec, newG722Encoder()
		}
		wide, narrow := make([]int16, wideRate*now.ms/1000), make([]int16, narrowRate*now.ms/1000)
		for range int(now.lasts/time.Millisecond) / now.ms {
			next = next.Add(time.Duration(now.ms) * time.Millisecond) // a packet leaves when its last sample is there
			source.Read(wide)
			for i := range narrow {
				narrow[i] = wide[2*i]
			}
			h := s.header()
			s.stamp += uint32(len(narrow))
			var payload []byte
			if now.codec == G722 {
				payload = g722.encode(make([]byte, 0, len(narrow)), wide)
			} else {
				payload = lawOf(now.codec).encode(nil, narrow)
			}
			time.Sleep(time.Until(next))
			r.receive(h, payload, time.Now())
		}
	}
}

// TestPacketsChangeInTheCall: a PBX that changes the length of its packets or
// their codec in the middle of a tone, as it may at any time (RFC 3551 section
// 4.2, RFC 7874 section 3), turns no phase and leaves no delay: ten seconds later
// each packet goes on in the moment it comes. Two things turn the phase once: a
// first packet so long that something is made up until it comes, which is left
// out again later, and another band, whose filters take another time.
func TestPacketsChangeInTheCall(t *testing.T) {
	const long = 12 * time.Second
	const short, some = 990 * time.Millisecond, 3 * time.Second
	for _, c := range []struct {
		to     Codec
		spells []spell
		turns  int
	}{
		{PCMU, []spell{{PCMA, 20, some}, {PCMA, 30, short}, {PCMA, 10, some}, {PCMA, 60, 2 * short}, {PCMA, 20, long}}, 3},
		{PCMA, []spell{{PCMA, 20, some}, {PCMA, 30, short}, {PCMA, 20, long}}, 0},
		{PCMA, []spell{{PCMA, 20, some}, {PCMA, 60, 2 * short}, {PCMA, 20, long}}, 2},
		{Opus, []spell{{PCMA, 20, some}, {PCMA, 30, short}, {PCMA, 60, 2 * short}, {PCMA, 10, some}, {PCMA, 20, long}}, 2},
		{PCMA, []spell{{PCMA, 20, some}, {G722, 20, some}, {PCMU, 30, short}, {G722, 60, 2 * short}, {PCMA, 20, long}}, 2},
		{G722, []spell{{G722, 20, some}, {PCMA, 20, some}, {G722, 30, short}, {G722, 20, long}}, 4},
		{Opus, []spell{{PCMA, 20, some}, {G722, 20, some}, {PCMA, 20, long}}, 0},
	} {
		t.Run(strings.Trim(fmt.Sprint(c.spells, " to ", c.to), "[]"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				freq := 510.0 // 10.2 periods in a frame
				if slices.ContainsFunc(c.spells, func(s spell) bool { return s.codec == G722 }) {
					freq = changingTone
				}
				p, m := testPacer(t)
				heard := &phase{step: 2 * math.Pi * freq / narrowRate, weak: 1}
				dec, err := newOpusDecoder(narrowRate)
				if err != nil {
					t.Fatal(err)
				}
				g722 := newG722Decoder(narrowRate)
				pcm := make([]int16, maxPCM)
				var w wire
				w.then = func(pkt sentPacket) {
					switch c.to {
					case Opus:
						n, err := dec.Decode(pkt.payload, pcm)
						if err != nil {
							t.Error(err)
						}
						heard.write(pcm[:n])
					case G722:
						heard.write(g722.decode(pcm[:0], pkt.payload))
					case PCMA, PCMU, NoCodec:
						heard.write(lawOf(c.to).decode(pcm[:0], pkt.payload))
					}
				}
				s := testSender(t, p, m, c.to, w.write)
				r := testReceiver(t, p, m, nil)
				r.setSink(s, between(c.spells[0].codec, c.to))
				s.open()
				talkInSpells(r, freq, c.spells)
				synctest.Wait()
				t.Logf("the phase turns by up to %.3f, more than %v in blocks %v; the level falls to %.3f", heard.jump, phaseJump, heard.jumps, heard.weak)
				if len(heard.jumps) > c.turns || heard.weak < 0.2 {
					t.Errorf("want at most %d turns and no gap", c.turns)
				}
				if n := len(r.out.queue); n != 0 {
					t.Errorf("%d samples of %d Hz still wait", n, r.out.rate)
				}
				if st := r.stats(); st.Lost+st.Late != 0 || st.Concealed != 0 {
					t.Errorf("%+v", st)
				}
				packets := w.sent()
				wantStream(t, c.to, packets)
				for i := 101; i < len(packets); i++ {
					if d := packets[i].at.Sub(packets[i-1].at); d > 3*frameTime {
						t.Errorf("packet %d comes %v after the one before it", i, d)
					}
				}
				last := packets[len(packets)-1].at
				if late := time.Since(last); late != 0 {
					t.Errorf("the last packet left %v before the last one came", late)
				}
			})
		})
	}
}

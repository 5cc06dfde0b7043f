package tone

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hraban/opus"
	"github.com/zaf/g711"

	"wagate/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

func read(src Reader, n int) []int16 {
	pcm := make([]int16, n)
	src.Read(pcm)
	return pcm
}

func TestMeterHearsOnlyItsTone(t *testing.T) {
	for _, rate := range []int{8000, 16000, 48000} {
		m := NewMeter(rate, 440, 620, 350)
		m.Write(read(NewSource(440, rate), rate))
		if l, heard := m.Level(440); !heard || math.Abs(l-DefaultLevel) > 0.3 {
			t.Errorf("rate %d: 440 Hz: got %.1f dBFS, heard %v; want %.1f, true", rate, l, heard, DefaultLevel)
		}
		for _, f := range []float64{620, 350, 1000} {
			if l, heard := m.Level(f); heard {
				t.Errorf("rate %d: %v Hz heard at %.1f dBFS, was not sent", rate, f, l)
			}
		}
		if g := m.Gaps(); len(g) != 0 {
			t.Errorf("rate %d: gaps %v in an unbroken tone", rate, g)
		}
	}
}

// noise is n samples of white noise at -21 dBFS, the same ones every time: it has
// all frequencies, and for one in twenty of its draws of five seconds a frequency
// stands out of its neighbours by chance for as long as a tone has to.
func noise(n int) []int16 {
	dice := rand.New(rand.NewPCG(1, 0))
	pcm := make([]int16, n)
	for i := range pcm {
		pcm[i] = int16(dice.NormFloat64() * 3000)
	}
	return pcm
}

func TestNoiseAndSilenceAreNoTone(t *testing.T) {
	for name, pcm := range map[string][]int16{"noise": noise(5 * 8000), "silence": make([]int16, 8000)} {
		m := NewMeter(8000, 440, 620)
		m.Write(pcm)
		for _, f := range []float64{440, 620} {
			if l, heard := m.Level(f); heard {
				t.Errorf("%v Hz heard in %s at %.1f dBFS", f, name, l)
			}
		}
	}
}

func TestQuietToneInALoudOne(t *testing.T) {
	quiet := NewSource(440, 8000)
	quiet.SetLevel(-35)
	m := NewMeter(8000, 440, 620)
	m.Write(read(Mix(quiet, NewSource(620, 8000)), 8000))
	if l, heard := m.Level(440); !heard || math.Abs(l+35) > 1 {
		t.Errorf("got %.1f dBFS, heard %v; want -35, true", l, heard)
	}
}

func TestGaps(t *testing.T) {
	for _, c := range []struct {
		gap  time.Duration
		want bool
	}{{20 * time.Millisecond, false}, {60 * time.Millisecond, false}, {80 * time.Millisecond, true}, {300 * time.Millisecond, true}} {
		src, m := NewSource(620, 8000), NewMeter(8000, 620)
		m.Write(make([]int16, 4000)) // silence before is no gap
		m.Write(read(src, 8000))
		m.Write(make([]int16, int(c.gap.Seconds()*8000)))
		m.Write(read(src, 8000))
		m.Write(make([]int16, 4000)) // neither is silence after
		gaps := m.Gaps()
		if (len(gaps) == 1) != c.want || len(gaps) > 1 {
			t.Errorf("%v without tone: got gaps %v", c.gap, gaps)
			continue
		}
		if c.want && ((gaps[0].Length-c.gap).Abs() > 20*time.Millisecond || (gaps[0].At-1500*time.Millisecond).Abs() > 20*time.Millisecond) {
			t.Errorf("%v without tone at 1.5 s: got %v", c.gap, gaps)
		}
		if s := m.Silent(620); (s - 500*time.Millisecond).Abs() > 20*time.Millisecond {
			t.Errorf("silent for %v, want 500 ms", s)
		}
	}
}

func TestWaitWakesWhenTheToneComes(t *testing.T) {
	m := NewMeter(8000, 440, 620)
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := m.Wait(short); err == nil {
		t.Error("silence waited for without an error")
	}
	var wg sync.WaitGroup
	for _, f := range []float64{440, 620} {
		wg.Go(func() {
			if err := m.Wait(t.Context(), f); err != nil {
				t.Error(err)
			}
		})
	}
	src := Mix(NewSource(440, 8000), NewSource(620, 8000))
	for range 100 {
		m.Write(read(src, 160))
	}
	wg.Wait()
	if got := m.HeardFor(440); got < 1900*time.Millisecond {
		t.Errorf("heard for %v of 2 s", got)
	}
	m.Reset()
	if _, heard := m.Level(440); heard {
		t.Error("heard after Reset")
	}
}

// carry plays 20 ms frames from src through a codec to sink; both clocks are
// the frames' own, the sink's later by late.
func carry(src *Marker, bg Reader, through func([]int16) []int16, in int, sink *Listener, late time.Duration) {
	start := time.Unix(1_000_000, 0)
	frame, under := make([]int16, in/50), make([]int16, in/50)
	for i := range 50 * 5 {
		at := start.Add(time.Duration(i) * 20 * time.Millisecond)
		src.ReadAt(frame, at)
		bg.Read(under)
		for j := range frame {
			frame[j] += under[j]
		}
		sink.WriteAt(through(frame), at.Add(late))
	}
}

func TestMarkerMeasuresDelay(t *testing.T) {
	enc, err := opus.NewEncoder(8000, 1, opus.AppVoIP)
	if err != nil {
		t.Fatal(err)
	}
	if err := enc.SetBitrate(20000); err != nil {
		t.Fatal(err)
	}
	dec, err := opus.NewDecoder(48000, 1)
	if err != nil {
		t.Fatal(err)
	}
	packet, out := make([]byte, 1500), make([]int16, 960)
	for _, c := range []struct {
		name    string
		through func([]int16) []int16
		out     int
		min     time.Duration
		max     time.Duration
	}{
		{"plain", func(p []int16) []int16 { return p }, 8000, -time.Millisecond, time.Millisecond},
		{"a-law", func(p []int16) []int16 {
			q := make([]int16, len(p))
			for i, v := range p {
				q[i] = g711.DecodeAlawFrame(g711.EncodeAlawFrame(v))
			}
			return q
		}, 8000, -time.Millisecond, time.Millisecond},
		{"opus with its look-ahead", func(p []int16) []int16 {
			n, err := enc.Encode(p, packet)
			if err != nil {
				t.Fatal(err)
			}
			k, err := dec.Decode(packet[:n], out)
			if err != nil {
				t.Fatal(err)
			}
			return out[:k]
		}, 48000, 4 * time.Millisecond, 9 * time.Millisecond},
	} {
		src, sink := NewMarker(8000, time.Second), NewListener(c.out)
		const late = 130 * time.Millisecond
		carry(src, NewSource(440, 8000), c.through, 8000, sink, late)
		delays := Delays(src.Sent(), sink.Heard())
		if len(delays) != 4 || len(sink.Heard()) != 4 {
			t.Errorf("%s: got %d delays from %d markers, %d heard; want 4", c.name, len(delays), len(src.Sent()), len(sink.Heard()))
		}
		for _, d := range delays {
			if d -= late; d < c.min || d > c.max {
				t.Errorf("%s: delay beyond the wire's: got %v, want %v to %v", c.name, d, c.min, c.max)
			}
		}
	}
}

func TestNothingIsNoMarker(t *testing.T) {
	for name, pcm := range map[string][]int16{"noise": noise(5 * 8000), "a tone": read(NewSource(1000, 8000), 8000)} {
		l := NewListener(8000)
		l.Write(pcm)
		if h := l.Heard(); len(h) != 0 {
			t.Errorf("%d markers heard in %s", len(h), name)
		}
	}
}

func TestDelaysPairs(t *testing.T) {
	at := func(ms ...int) (ts []time.Time) {
		for _, v := range ms {
			ts = append(ts, time.Unix(0, 0).Add(time.Duration(v)*time.Millisecond))
		}
		return ts
	}
	got := Delays(at(0, 1000, 2000, 3000), at(40, 1050, 1051, 3030))
	want := []time.Duration{40 * time.Millisecond, 50 * time.Millisecond, 30 * time.Millisecond}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWAVRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.wav")
	want := read(NewSource(620, 8000), 801)
	if err := WriteWAV(path, 8000, want); err != nil {
		t.Fatal(err)
	}
	got, rate, err := ReadWAV(path)
	if err != nil || rate != 8000 || !slices.Equal(got, want) {
		t.Errorf("got %d samples at %d, %v; want %d at 8000", len(got), rate, err, len(want))
	}
	if err := os.WriteFile(path, []byte("RIFF0000WAVEfmt \x10\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ReadWAV(path); err == nil {
		t.Error("half a header accepted")
	}
}

func BenchmarkListener(b *testing.B) {
	l, pcm := NewListener(8000), read(NewSource(440, 8000), 160)
	for b.Loop() {
		l.Write(pcm)
	}
}

func BenchmarkMeter(b *testing.B) {
	m, pcm := NewMeter(8000, 440, 620), read(NewSource(440, 8000), 160)
	for b.Loop() {
		m.Write(pcm)
	}
}

package tone

import (
	"math"
	"sync"
	"time"
)

const (
	workRate = 8000 // the listener's own rate: enough for the chirp, cheap
	likeness = 0.5  // correlation from which on it is the marker
	faint    = -15  // dB under the marker as it was sent; not looked at below it
)

// Listener finds a Marker's chirps in audio and notes when each arrived. The
// time of a sample is that of its packet's first sample plus its place in it,
// as in Marker: the difference is the way from wire to wire, codecs included.
// A person hears it later by the packet's length and the phone's own buffer.
type Listener struct {
	mu     sync.Mutex
	factor int // samples taken together
	acc    float64
	accN   int
	last   [2]float64 // samples before, for the high-pass
	chirp  []float32
	norm   float64
	least  float64   // energy of the faintest marker
	energy float64   // of the chirp's length of samples from next on
	buf    []float32 // the samples from start on
	start  int64
	next   int64 // the next sample where a chirp may begin
	best   float64
	bestAt int64
	blocks []stamp
	heard  []time.Time
}

// stamp says when a sample arrived.
type stamp struct {
	index int64
	at    time.Time
}

// NewListener returns a listener of audio at rate samples per second, a
// multiple of 8000.
func NewListener(rate int) *Listener {
	l := &Listener{factor: max(rate/workRate, 1), bestAt: -1}
	var sum float64
	for _, v := range newChirp(workRate) {
		v = l.highPass(v)
		l.chirp = append(l.chirp, float32(v))
		sum += v * v
	}
	l.norm = math.Sqrt(sum)
	peak := amplitude(chirpPeak + faint)
	l.least = sum * peak * peak
	l.last = [2]float64{}
	l.buf = make([]float32, len(l.chirp)-1) // silence before, so that every window is full
	l.start = -int64(len(l.buf))
	l.next = l.start
	return l
}

// highPass takes the second difference: a test tone below the chirp goes down
// by 20 dB beside it.
func (l *Listener) highPass(v float64) float64 {
	d := v - 2*l.last[0] + l.last[1]
	l.last[1], l.last[0] = l.last[0], v
	return d
}

// Write listens to samples that arrived now.
func (l *Listener) Write(pcm []int16) { l.WriteAt(pcm, time.Now()) }

// WriteAt listens to samples of which the first arrived at the given time.
func (l *Listener) WriteAt(pcm []int16, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks = append(l.blocks, stamp{l.start + int64(len(l.buf)), at})
	for _, v := range pcm {
		l.acc += float64(v)
		if l.accN++; l.accN == l.factor {
			l.buf = append(l.buf, float32(l.highPass(l.acc/float64(l.factor))))
			l.acc, l.accN = 0, 0
		}
	}
	l.search()
}

// Heard lists when the chirps arrived.
func (l *Listener) Heard() []time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]time.Time(nil), l.heard...)
}

// search slides the chirp over what is new. The best place counts once the
// chirp's own length has passed without a better one.
func (l *Listener) search() {
	n := len(l.chirp)
	for ; l.next+int64(n) <= l.start+int64(len(l.buf)); l.next++ {
		w := l.buf[l.next-l.start:][:n]
		newest := float64(w[n-1])
		l.energy += newest * newest
		if l.energy > l.least {
			if c := l.alike(w); c > likeness && c > l.best {
				l.best, l.bestAt = c, l.next
			}
		}
		oldest := float64(w[0])
		l.energy = max(l.energy-oldest*oldest, 0)
		if l.bestAt >= 0 && l.next >= l.bestAt+int64(n) {
			l.heard = append(l.heard, l.timeOf(l.bestAt))
			l.best, l.bestAt = 0, -1
		}
	}
	// Keep what the next search and a pending marker's time need.
	keep := l.next
	if l.bestAt >= 0 {
		keep = l.bestAt
	}
	for len(l.blocks) > 1 && l.blocks[1].index <= keep {
		l.blocks = l.blocks[1:]
	}
	if drop := l.next - l.start; drop > workRate {
		l.buf = append(l.buf[:0], l.buf[drop:]...)
		l.start = l.next
	}
}

// alike is the normalised correlation of the samples with the chirp.
func (l *Listener) alike(w []float32) float64 {
	var dot float32
	chirp := l.chirp[:len(w)]
	for i, v := range w {
		dot += v * chirp[i]
	}
	return float64(dot) / math.Sqrt(l.energy) / l.norm
}

func (l *Listener) timeOf(index int64) time.Time {
	s := l.blocks[0]
	for _, b := range l.blocks {
		if b.index <= index {
			s = b
		}
	}
	return s.at.Add(time.Duration(index-s.index) * time.Second / workRate)
}

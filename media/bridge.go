package media

import "sync"

// Side is one end of a Bridge.
type Side uint8

// The two ends.
const (
	A Side = iota
	B
)

// Bridge lets two endpoints hear each other. It has no goroutine: each endpoint
// pushes what it receives straight into the other.
type Bridge struct {
	mu      sync.Mutex
	ends    [2]Endpoint
	running bool
}

// NewBridge joins two endpoints; nothing is heard before Start.
func NewBridge(a, b Endpoint) *Bridge { return &Bridge{ends: [2]Endpoint{a, b}} }

// Start lets audio flow, encoded where both ends have one codec, else as PCM.
// Both ends must have their codec by then.
func (b *Bridge) Start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = true
	b.watch()
	b.join()
}

// changing is an Endpoint whose codec may change in the middle of a call.
type changing interface{ onChange(f func()) }

// watch joins the ends anew when one changes its codec.
func (b *Bridge) watch() {
	for _, e := range b.ends {
		if c, ok := e.(changing); ok {
			c.onChange(func() { b.changed(e) })
		}
	}
}

func (b *Bridge) changed(e Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running && (b.ends[A] == e || b.ends[B] == e) {
		b.join()
	}
}

// Stop takes the ends apart. When it returned neither is pushed to any more;
// both go on to send silence until they are closed.
func (b *Bridge) Stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		b.running = false
		b.part()
	}
}

// Swap puts e in the place of one end: a transfer, music, a prompt. The former
// end is left running and without a sink.
func (b *Bridge) Swap(side Side, e Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.running {
		b.part()
	}
	b.ends[side&1] = e
	if b.running {
		b.watch()
		b.join()
	}
}

func (b *Bridge) join() {
	want := between(b.ends[A].Codec(), b.ends[B].Codec())
	b.ends[A].SetSink(b.ends[B], want)
	b.ends[B].SetSink(b.ends[A], want)
}

func (b *Bridge) part() {
	for _, e := range b.ends {
		e.SetSink(nil, Format{})
	}
}

// between is the format in which two codecs lose least: the payload itself
// where they are one, else PCM at the lower of their rates. G.722 decodes each
// frame from the one before, so a lost one is better made up for here.
func between(a, b Codec) Format {
	if a == b && a != NoCodec && a != G722 {
		return Format{Codec: a}
	}
	if a.wide() && b.wide() {
		return Format{Rate: wideRate}
	}
	return Format{Rate: narrowRate}
}

// wide says whether a codec carries more than telephone audio.
func (c Codec) wide() bool { return c == Opus || c == G722 }

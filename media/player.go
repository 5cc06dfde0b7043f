package media

import (
	"sync"
	"time"
)

// Player plays one Sound into one Endpoint, a frame each 20 ms by the clock
// that all calls share; it has no goroutine. The Endpoint's sender goes on with
// its sequence and timestamps, so that the far end sees one stream before,
// during and after. While a Player plays, nothing else pushes to its Endpoint.
type Player struct {
	to    Endpoint
	sound Sound
	task  *task
	done  chan struct{}

	mu    sync.Mutex
	state playerState
	pcm   []int16 // the sound in the rate of frame
	next  int     // the sample that is due
	due   time.Time
	frame Frame
}

type playerState uint8

const (
	playerReady   playerState = iota
	playerPlaying             // a frame every frameTime
	playerOver                // stopped, or played to the end
)

// NewPlayer makes a Player that is silent until Start. It plays once.
func (e *Engine) NewPlayer(to Endpoint, s Sound) *Player { return newPlayer(e.pacer, to, s) }

func newPlayer(clock *pacer, to Endpoint, s Sound) *Player {
	p := &Player{to: to, sound: s, done: make(chan struct{})}
	p.task = clock.task(p.tick)
	return p
}

// Start plays the sound from its beginning. The Endpoint must be open and have
// its codec by then: what is played before is not heard. A second Start, or one
// after Stop, does nothing.
func (p *Player) Start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != playerReady {
		return
	}
	p.state = playerPlaying
	p.pcm, p.frame.Rate = p.sound.fitting(p.to.Codec())
	p.frame.Duration = frameTime
	p.due = time.Now()
	p.task.wake(p.due)
}

// Stop ends the sound where it is. When it returned nothing is pushed any more
// and the Endpoint sends silence by itself. It may be called at any time, by
// anybody, again and again, but not from within the Endpoint's Push.
func (p *Player) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == playerPlaying {
		p.hush()
	}
	p.state = playerOver
}

// Done is closed when the last frame of a finite sound has had its time. It
// stays open if Stop came first, or if the Engine is closed while it plays.
func (p *Player) Done() <-chan struct{} { return p.done }

// hush tells the sender that its own silence is wanted from the next frame on.
func (p *Player) hush() {
	p.frame = Frame{Kind: Silence, Duration: frameTime}
	p.to.Push(&p.frame)
}

// tick runs on the pacer and plays one frame. A clock that was late makes a
// pause: what was not heard in it is heard after it, at its own pace.
func (p *Player) tick(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state != playerPlaying {
		return time.Time{}
	}
	if p.next == len(p.pcm) {
		if !p.sound.endless {
			p.hush()
			p.state = playerOver
			close(p.done)
			return time.Time{}
		}
		p.next = 0
	}
	if pcm, rate := p.sound.fitting(p.to.Codec()); rate != p.frame.Rate { // the codec was changed
		p.next = p.next * rate / p.frame.Rate
		p.pcm, p.frame.Rate = pcm, rate
	}
	end := p.next + p.frame.Rate*int(frameTime/time.Millisecond)/1000
	p.frame.PCM = p.pcm[p.next:end]
	p.next = end
	p.to.Push(&p.frame)
	if p.due = p.due.Add(frameTime); !p.due.After(now) {
		p.due = now.Add(frameTime)
	}
	return p.due
}

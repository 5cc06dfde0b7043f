package fakemeta

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wagate/test/tone"
)

// ErrEnded says that the call was over before what was waited for.
var ErrEnded = errors.New("the call is over")

// State is what the customer's app shows.
type State uint8

// The states, in their order.
const (
	Calling   State = iota // "Calling …"; nobody has reacted
	Ringing                // the gateway's pre_accept came; of a call to the user: the phone rings
	Connected              // the timer runs
	Ended
)

// String is the state in lower case.
func (s State) String() string {
	return [...]string{"calling", "ringing", "connected", "ended"}[s]
}

// Party says who ended a call.
type Party uint8

// Those who may end a call.
const (
	ByNobody   Party = iota // it is not over
	ByBusiness              // the gateway, by reject or terminate
	ByUser
	ByMeta // a limit
)

// End is how a call ended.
type End struct {
	At     time.Time
	By     Party
	Status string        // COMPLETED or FAILED
	Code   int           // error of a failed call
	Talked time.Duration // from accept to the end; 0: never accepted
}

// Customer is a WhatsApp user in one call.
type Customer struct {
	s        *Server
	id       string
	number   *Number
	user     User
	outbound bool // the business called
	opts     CallOptions
	behave   Callee // outbound
	peer     *peer
	offered  *description
	pair     *pair
	lane     lane

	ctx         context.Context // ends with the call
	cancel      context.CancelFunc
	reached     [Ended + 1]chan struct{} // closed when the state, or a later one that includes it, is there
	firstPacket chan struct{}
	wake        chan struct{} // one token: something changed, look again
	confirmed   atomic.Bool   // the 200 of accept was written

	mu        sync.Mutex
	state     State
	answer    string // the session description as it came
	tag       string
	placed    time.Time
	rang      time.Time
	connected time.Time
	vanished  time.Time
	end       End
	wall      wall
	declined  bool // a call to the user
}

// wall is when things happened by Options.Clock.
type wall struct{ placed, connected, end time.Time }

// ID is the call's wacid.
func (c *Customer) ID() string { return c.id }

// User is who the customer is.
func (c *Customer) User() User { return c.user }

// State is what the app shows now.
func (c *Customer) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// End is how the call ended; By is ByNobody while it goes on.
func (c *Customer) End() End {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end
}

// Reached is closed once the call has been in that state. Connected implies
// Ringing; a call that ends without them never reaches them.
func (c *Customer) Reached(s State) <-chan struct{} { return c.reached[s] }

// Wait returns when the call has been in that state, with ErrEnded when it
// ended before, or when ctx is over.
func (c *Customer) Wait(ctx context.Context, s State) error {
	select {
	case <-c.reached[s]:
		return nil
	default:
	}
	select {
	case <-c.reached[s]:
		return nil
	case <-c.reached[Ended]:
		select {
		case <-c.reached[s]:
			return nil
		default:
		}
		e := c.End()
		return fmt.Errorf("wait until %v: %w: by %d, %s %d", s, ErrEnded, e.By, e.Status, e.Code)
	case <-ctx.Done():
		return fmt.Errorf("wait until %v, now %v: %w", s, c.State(), ctx.Err())
	}
}

// WaitMedia returns when the first RTP packet has come, or with an error as
// Wait.
func (c *Customer) WaitMedia(ctx context.Context) error {
	select {
	case <-c.firstPacket:
		return nil
	case <-c.reached[Ended]:
		return fmt.Errorf("wait for media: %w", ErrEnded)
	case <-ctx.Done():
		return fmt.Errorf("wait for media: %w", ctx.Err())
	}
}

// WaitHeard returns when all the tones were heard (none: all that the customer
// listens for), or with an error as Wait.
func (c *Customer) WaitHeard(ctx context.Context, freqs ...float64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrEnded) })
	defer stop()
	if err := c.peer.meter.Wait(ctx, freqs...); err != nil {
		return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
	return nil
}

// Meter hears what the customer hears.
func (c *Customer) Meter() *tone.Meter { return c.peer.meter }

// HangUp ends the call as the user does, at any moment.
func (c *Customer) HangUp() { c.finish(ByUser, 0) }

// Speech changes what the customer does with the microphone.
func (c *Customer) Speech(s Speech) { c.peer.voice.speech.Store(uint32(s)) }

// Say changes the sound, 16 kHz.
func (c *Customer) Say(r tone.Reader) {
	v := &c.peer.voice
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sound = r
}

// Vanish takes the customer's network away, without a goodbye: from now on
// nothing comes and nothing is answered. Meta ends the call after Silence.
func (c *Customer) Vanish() {
	c.mu.Lock()
	c.vanished = time.Now()
	c.mu.Unlock()
	c.peer.gone.Store(true)
	c.look()
}

// Return brings the network back.
func (c *Customer) Return() {
	c.mu.Lock()
	c.vanished = time.Time{}
	c.mu.Unlock()
	c.peer.gone.Store(false)
	c.look()
}

// look makes the call's goroutine look at the state again.
func (c *Customer) look() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Packets lists the RTP packets as they arrived, up to 65536.
func (c *Customer) Packets() []Packet {
	h := &c.peer.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.packets)
}

// Report is what the customer noted, so far or at the end.
type Report struct {
	ID          string
	State       State
	Placed      time.Time
	Ringing     time.Time // zero: never, as the following
	Connected   time.Time
	Secured     bool      // the DTLS handshake was done
	FirstPacket time.Time // RTP
	End         End
	Streams     []Stream // RTP sources in the order of their appearance; one is right
	Early       int      // RTP packets before the 200 of accept
	Bad         int      // packets that could not be understood
	Sent        int      // RTP packets to the gateway
	RTCP        RTCP
	Digits      string // keys that the gateway pressed
	EarlySTUN   int    // checks before the session description, all dropped
	StrangeSTUN int    // checks with a wrong name or password
}

// Report returns the notes as they are now.
func (c *Customer) Report() Report {
	c.mu.Lock()
	r := Report{
		ID: c.id, State: c.state, Placed: c.placed, Ringing: c.rang, Connected: c.connected, End: c.end,
	}
	c.mu.Unlock()
	p := c.peer
	r.Sent, r.EarlySTUN, r.StrangeSTUN = int(p.voice.sent.Load()), int(p.early.Load()), int(p.strange.Load())
	select {
	case <-p.secured:
		r.Secured = true
	default:
	}
	h := &p.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	r.FirstPacket, r.Early, r.Bad, r.RTCP, r.Digits = h.first, h.early, h.bad, h.rtcp, string(h.digits)
	for _, s := range h.streams {
		r.Streams = append(r.Streams, s.stats())
	}
	return r
}

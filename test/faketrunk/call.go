package faketrunk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// State is a thing that can have happened to a call; several can be true.
type State int

// What can have happened to a call.
const (
	Rung      State = iota // 180 or 183 was sent, or received
	Answered               // 2xx was sent, or received
	Up                     // and acknowledged
	Cancelled              // a CANCEL came
	Refused                // a final response of 300 or more was sent, or received
	Ended                  // nothing of the call is left
)

// ErrOver says that a call was in the wrong state for a command.
var ErrOver = errors.New("the call is past that")

// Call is one call at the PBX, taken or placed.
type Call struct {
	t        *Trunk
	id       string
	invite   *Message
	outgoing bool
	script   Script
	audio    *Audio
	began    time.Time
	decided  chan struct{} // closed with the final response
	acked    chan struct{} // closed when the final response is acknowledged
	gone     chan struct{} // closed with the end

	// The rest is guarded by Trunk.mu.
	via        route // where the INVITE came from or went to
	tag        string
	local      string // From of our requests
	remote     string // To of our requests
	target     string // the URI of our requests
	routes     []string
	cseq       uint32
	remoteCSeq uint32
	last       []byte // the last response to the INVITE
	lastIn     []byte // the last response to a request inside the dialog
	ack        []byte // of the 2xx that we received
	ackRoute   route
	inviteCSeq uint32
	reached    [Ended + 1]bool
	rings      int
	final      int
	dropACKs   int
	lostOKs    int
	reason     string
	byThem     bool
	referred   int // what the last NOTIFY of our REFER told
	fork       *fork
	endedAt    time.Time
}

// fork is the second phone of a forked INVITE.
type fork struct {
	tag          string
	acked, ended bool
}

func (t *Trunk) newCall(id string, s Script, outgoing bool) *Call {
	return &Call{
		t: t, id: id, script: s, outgoing: outgoing, audio: newAudio(t.opts, s), dropACKs: s.DropACKs, lostOKs: s.LostOKs,
		began:   time.Now(),
		decided: make(chan struct{}), acked: make(chan struct{}), gone: make(chan struct{}),
	}
}

// ID is the Call-ID.
func (c *Call) ID() string { return c.id }

// Invite is the first INVITE of the call, of an accepted challenge the second.
func (c *Call) Invite() *Message { return c.invite }

// Audio is the sound of the call, before and after it is up.
func (c *Call) Audio() *Audio { return c.audio }

// Status is the final response to the INVITE, sent or received; 0: none yet.
func (c *Call) Status() int {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.final
}

// Reason is the Reason header of the CANCEL or BYE that came in, of a refusal
// that was received, or "".
func (c *Call) Reason() string {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.reason
}

// EndedByThem says whether the other side's CANCEL or BYE ended the call.
func (c *Call) EndedByThem() bool {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.byThem
}

// Is says whether that has happened.
func (c *Call) Is(s State) bool {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.reached[s]
}

// Wait blocks until that has happened, or until it cannot happen any more.
func (c *Call) Wait(ctx context.Context, s State) error {
	over := false
	err := c.t.wait(ctx, func() bool {
		over = c.reached[Ended] && !c.reached[s]
		return c.reached[s] || over
	})
	if err != nil {
		return fmt.Errorf("wait for state %d of call %s: %w", s, c.id, err)
	}
	if over {
		return fmt.Errorf("wait for state %d of call %s: %w (status %d)", s, c.id, ErrOver, c.Status())
	}
	return nil
}

// Messages lists the messages of this call.
func (c *Call) Messages() []*Message {
	return slices.DeleteFunc(c.t.Messages(), func(m *Message) bool { return m.CallID() != c.id })
}

// reach notes a state. The caller holds t.mu.
func (c *Call) reach(s State) {
	c.reached[s] = true
	c.t.stir()
}

// end is the end of everything of the call. The caller holds t.mu.
func (c *Call) end() {
	if c.reached[Ended] {
		return
	}
	c.endedAt = time.Now()
	c.audio.close()
	close(c.gone)
	c.reach(Ended)
}

// settle fixes the final response; false: there was one already. The caller
// holds t.mu.
func (c *Call) settle(status int) bool {
	if c.final != 0 || c.reached[Ended] {
		return false
	}
	c.final = status
	close(c.decided)
	if status < 300 {
		c.reach(Answered)
	} else {
		c.reach(Refused)
	}
	return true
}

// acknowledge notes the ACK. The caller holds t.mu.
func (c *Call) acknowledge() {
	select {
	case <-c.acked:
		return
	default:
	}
	close(c.acked)
	if c.final >= 300 {
		c.end()
		return
	}
	c.reach(Up)
	c.t.goLocked(c.live)
}

// live plays what the script wants of a call that is up.
func (c *Call) live() {
	s := c.script
	up := time.Now()
	if s.Hold > 0 && c.pause(up.Add(s.Hold), c.gone) {
		_, _ = c.Reinvite(c.t.ctx, SendOnly)
		if s.Resume > 0 && c.pause(time.Now().Add(s.Resume), c.gone) {
			_, _ = c.Reinvite(c.t.ctx, SendRecv)
		}
	}
	if s.Hangup > 0 && c.pause(up.Add(s.Hangup), c.gone) {
		_ = c.Hangup(c.t.ctx)
	}
}

// pause waits for a time; false: the channel or the Trunk was closed before.
func (c *Call) pause(until time.Time, unless <-chan struct{}) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-unless:
		return false
	case <-c.t.ctx.Done():
		return false
	}
}

// open lists the dialogs of the call that exist. The caller holds t.mu.
func (c *Call) open() []Dialog {
	var out []Dialog
	if f := c.fork; f != nil && !f.ended {
		out = append(out, Dialog{CallID: c.id, Tag: f.tag, State: "up"})
	}
	if c.reached[Ended] || c.script.Silent {
		return out
	}
	d := Dialog{CallID: c.id, Tag: c.tag, State: "ringing"}
	switch {
	case c.reached[Up]:
		d.State = "up"
	case c.final != 0:
		d.State = "unacknowledged"
	}
	return append(out, d)
}

// goLocked starts a goroutine that Close waits for. The caller holds t.mu.
func (t *Trunk) goLocked(f func()) {
	if !t.closed {
		t.wg.Go(f)
	}
}

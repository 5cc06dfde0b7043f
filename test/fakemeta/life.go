package fakemeta

import "time"

// The codes of calls that fail.
const (
	codeNoMedia   = 138021 // the app heard nothing for long
	codeNoSpeech  = 138022 // the app sent nothing for long
	statusOK      = "COMPLETED"
	statusFailed  = "FAILED"
	atMostOneLook = 10 * time.Millisecond // a limit that is nearly there is not looked at more often
)

// run watches the limits of the call until it is over.
func (c *Customer) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
		now := time.Now()
		due := c.due(now)
		if due.IsZero() {
			return
		}
		timer.Reset(max(due.Sub(now), atMostOneLook))
	}
}

// due does what is to be done by now and says when to look again; zero when
// the call is over.
func (c *Customer) due(now time.Time) time.Time {
	c.mu.Lock()
	state, placed, connected, vanished := c.state, c.placed, c.connected, c.vanished
	c.mu.Unlock()
	switch state {
	case Calling, Ringing:
		if c.outbound {
			return c.answering(now, placed)
		}
		if limit := placed.Add(c.opts.Patience); now.Before(limit) {
			return limit
		}
		c.finish(ByUser, 0)
	case Connected:
		limit, code := connected.Add(c.s.opts.StartSilence), codeNoMedia
		if last := c.peer.lastMedia(); !last.IsZero() {
			limit = later(last, connected).Add(c.s.opts.Silence)
		}
		if !vanished.IsZero() {
			limit, code = vanished.Add(c.s.opts.Silence), codeNoSpeech
		}
		if now.Before(limit) {
			return limit
		}
		c.finish(ByMeta, code)
	case Ended:
	}
	return time.Time{}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// enterState is called with the lock held.
func (c *Customer) enterState(s State, now time.Time) {
	switch s {
	case Ringing:
		c.rang = now
		close(c.reached[Ringing])
	case Connected:
		c.wall.connected = c.s.now()
		if c.rang.IsZero() {
			c.rang = now
			close(c.reached[Ringing])
		}
		c.connected = now
		close(c.reached[Connected])
	case Ended:
		c.wall.end = c.s.now()
		close(c.reached[Ended])
	case Calling: // where every call begins
	}
	c.state = s
	c.look()
}

// finish ends the call once, whoever was first, and tells the gateway. It
// reports whether this was the end.
func (c *Customer) finish(by Party, code int) bool {
	c.mu.Lock()
	if c.state == Ended {
		c.mu.Unlock()
		return false
	}
	now := time.Now()
	c.end = End{At: now, By: by, Status: statusOK, Code: code}
	if code != 0 {
		c.end.Status = statusFailed
	}
	if !c.connected.IsZero() {
		c.end.Talked = now.Sub(c.connected)
	}
	then := c.s.settle(c)
	c.s.owed.add(1) // before anybody sees that the call is over
	defer c.s.owed.add(-1)
	c.enterState(Ended, now)
	c.mu.Unlock()
	c.drop()
	c.s.deliver(&c.lane, c.terminateHook())
	if then != nil {
		c.s.deliver(&c.pair.lane, *then)
	}
	c.s.mu.Lock()
	close(c.s.quiet)
	c.s.quiet = make(chan struct{})
	c.s.mu.Unlock()
	return true
}

// drop takes the media away.
func (c *Customer) drop() {
	c.cancel()
	c.peer.close()
}

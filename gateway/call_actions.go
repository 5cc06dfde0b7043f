package gateway

import (
	"log/slog"
	"time"

	"wagate/media"
	"wagate/store"
)

const (
	routingLimit = 3 * time.Second
	dialingLimit = 15 * time.Second // over all targets until one rings
	connectLimit = 9 * time.Second  // a call to a customer until it rings
	answerLimit  = 8 * time.Second
	endingLimit  = 10 * time.Second
	slowEnding   = 34 * time.Second // 64*T1 and some: a leg waits for an ACK or a 487
	leastRing    = 2 * time.Second  // no phone is rung for less
)

// The actions of the machine.

func (c *Call) prepareIn() { c.in.prepare() }

func (c *Call) dialOut(id uint8) {
	var leg egress
	if c.order.direction == outbound {
		leg = newWAEgress(c, id)
	} else {
		leg = newTrunkLeg(c, id)
	}
	c.out[id] = leg
	leg.dial()
}

func (c *Call) ringIn() {
	c.rec.RingingAt = c.now
	c.progress(store.Progress{RingingAt: c.now, Trunk: c.rec.Trunk, To: c.rec.To})
	c.in.ring()
	c.env.events.publish(c.now, callRinging(c.state().show()))
}

func (c *Call) answerIn() {
	c.taken = c.now
	c.in.answer()
}

func (c *Call) hangupIn(why Cause) {
	c.in.hangup(why)
	c.dismiss(true, why)
}

func (c *Call) hurryIn() { c.in.hurry() }

func (c *Call) hangupOut(id uint8, why Cause) {
	c.out[id].hangup(why)
	c.dismiss(false, why)
}

func (c *Call) drop(id uint8, why Cause) { c.leg(id).hangup(why) }

func (c *Call) startBridge() {
	c.rec.AnsweredAt = c.now
	c.progress(store.Progress{AnsweredAt: c.now, Trunk: c.rec.Trunk, To: c.rec.To})
	c.answered()
	out := c.out[c.m.Attempt]
	c.in.open()
	out.open()
	b := media.NewBridge(c.in.audio(), out.audio())
	b.Start()
	c.bridge = b
	c.log.Info("call answered", slog.String("trunk", c.rec.Trunk), slog.String("to", hide(c.rec.To, c.rec.User)),
		slog.Duration("setup", c.now.Sub(c.rec.StartedAt)))
	c.grant()
}

func (c *Call) stopBridge() {
	c.hush()
	c.bridge.Stop()
}

// arm restarts the one timer.
func (c *Call) arm(s stamp) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(max(c.limit(s.Phase), 0), func() { c.post(timerFired{s}) })
}

func (c *Call) limit(p Phase) time.Duration {
	switch p {
	case Summoning:
		return min(c.order.ring, summonLimit)
	case Routing:
		return routingLimit
	case Dialing:
		if c.m.ToGraph {
			return connectLimit
		}
		return min(dialingLimit, c.patience())
	case Ringing:
		return min(c.order.ring, c.patience())
	case Answering:
		return answerLimit
	case Active:
		return c.env.cfg.Limits.MaxDuration
	case Ending, Ended:
	}
	for _, leg := range c.sides() {
		if leg.slow() {
			return slowEnding
		}
	}
	return endingLimit
}

package gateway

import (
	"log/slog"
	"time"

	"wagate/media"
	"wagate/store"
)

const (
	beginLimit   = 2 * time.Second
	routingLimit = 3 * time.Second
	dialingLimit = 15 * time.Second // over all targets until one rings
	answerLimit  = 8 * time.Second
	endingLimit  = 10 * time.Second
	slowEnding   = 34 * time.Second // 64*T1 and some: a leg waits for an ACK or a 487
	leastRing    = 2 * time.Second  // no phone is rung for less
)

// The actions of the machine.

func (c *Call) prepareIn() { c.in.table.prepare(c.in) }

func (c *Call) dialOut(id uint8) {
	leg := newTrunkLeg(c, id)
	c.out[id] = leg
	leg.table.dial(leg)
}

func (c *Call) ringIn() {
	c.rec.RingingAt = c.now
	c.progress(store.Progress{RingingAt: c.now, Trunk: c.rec.Trunk, To: c.rec.To})
}

func (c *Call) answerIn() {
	c.taken = c.now
	c.in.table.answer(c.in)
}

func (c *Call) hangupIn(Cause) { c.in.table.hangup(c.in) }

func (c *Call) hangupOut(id uint8, why Cause) {
	leg := c.out[id]
	leg.table.hangup(why, leg)
}

func (c *Call) dropOut(id uint8, why Cause) { c.hangupOut(id, why) }

func (c *Call) startBridge() {
	c.rec.AnsweredAt = c.now
	c.progress(store.Progress{AnsweredAt: c.now, Trunk: c.rec.Trunk, To: c.rec.To})
	c.answered()
	leg := c.out[c.m.Attempt]
	c.rec.CodecWhatsApp, c.rec.CodecSIP = c.in.made.peer.Codec().String(), leg.dial.socket.Codec().String()
	c.in.made.peer.Open()
	b := media.NewBridge(c.in.made.peer, leg.dial.socket)
	b.Start()
	c.bridge = b
	if !c.in.table.MediaUp {
		c.after(c.env.cfg.Media.SetupTimeout, setupLate{})
	}
	c.log.Info("call answered", slog.String("trunk", leg.hop.Trunk), slog.String("to", hide(leg.hop.To, c.rec.User)),
		slog.Duration("setup", c.now.Sub(c.rec.StartedAt)))
}

func (c *Call) stopBridge() { c.bridge.Stop() }

// swap is for transfers, which end at the gateway. No leg here asks for one.
func (c *Call) swap(uint8) {}

// arm restarts the one timer.
func (c *Call) arm(s stamp) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.timer = time.AfterFunc(max(c.limit(s.Phase), 0), func() { c.post(timerFired{s}) })
}

func (c *Call) limit(p Phase) time.Duration {
	switch p {
	case Summoning, Routing:
		return routingLimit
	case Dialing:
		return min(dialingLimit, c.patience())
	case Ringing:
		return min(c.plan.RingTimeout, c.patience())
	case Answering:
		return answerLimit
	case Active:
		return c.env.cfg.Limits.MaxDuration
	case Ending, Ended:
	}
	for _, leg := range c.out {
		if leg.table.slow() {
			return slowEnding
		}
	}
	return endingLimit
}

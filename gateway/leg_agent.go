package gateway

import (
	"time"

	"wagate/config"
	"wagate/media"
)

// summonLimit is how long an agent's phone rings at most before the customer is
// called.
const summonLimit = 28 * time.Second

// agentLeg is the phone of an agent, which we dial before the customer.
type agentLeg struct {
	trunkPhone
	table summonedIngress
	tone  player // what the agent hears while the customer's phone rings, nil before
}

func newAgentLeg(c *Call) *agentLeg {
	o := c.order
	l := &agentLeg{}
	l.trunkPhone = trunkPhone{call: c, hop: config.Hop{Trunk: o.trunk, To: o.agent}, table: &l.table, line: &l.table.dialled}
	l.targets = c.env.trunks.Targets(o.trunk)
	l.table.Plan = newPlan(len(l.targets))
	l.port = l
	return l
}

func (l *agentLeg) prepare() { l.table.prepare(l) }
func (l *agentLeg) ring()    { l.table.ring(l) }
func (l *agentLeg) answer()  { l.table.answer(l) }
func (l *agentLeg) hurry()   {} // its end says all it has to say

// open makes room for the customer's voice.
func (l *agentLeg) open() { l.hush() }

func (l *agentLeg) hangup(why Cause) {
	l.hush()
	l.trunkPhone.hangup(why)
}

func (l *agentLeg) giveBack() {
	l.hush()
	l.trunkPhone.giveBack()
}

func (l *agentLeg) hush() {
	if l.tone != nil {
		l.tone.Stop()
	}
}

func (l *agentLeg) emit(ev event) {
	if _, up := ev.(summoned); up {
		l.call.admit() // while it takes its time, the phase is Routing
	}
	if over, is := ev.(callerEnded); is {
		l.hush()
		l.call.tellPlaced(over.Cause)
	}
	l.trunkPhone.emit(ev)
}

func (l *agentLeg) do(a sipAct, why Cause) {
	switch a {
	case sipPrepare:
		l.aim(l.table.Plan)
	case sipInvite:
		l.call.tellPlaced(NoCause)
	case sipTone:
		l.tone = l.call.env.audio.Player(l.placed.socket, media.Ringback())
		l.tone.Start()
		return
	case sipCancel, sipBye, sipRing, sipAnswer, sipRefuse, sipSpeak, sipHush:
	}
	l.trunkPhone.do(a, why)
}

package gateway

import (
	"context"
	"log/slog"
	"time"

	"wagate/sip"
	"wagate/store"
)

// takeOver takes a phone that calls to take the place of one that talks, or of
// one that rings (RFC 3891): an attended transfer, or a pickup, that the PBX
// carries out itself.
func (g *Gateway) takeOver(e *running, s *sip.Session, in sip.Incoming) {
	trunk, known := e.cfg.Trunk(in.Trunk)
	c := g.registry.get(in.Replaces.Call)
	if c == nil || !known {
		turnAwayWith(s, 481, "no such call")
		return
	}
	id := c.seat()
	if id == 0 {
		g.metrics.transfer(trunk.Name, transferRefused)
		turnAwayWith(s, 603, "transferred too often")
		return
	}
	if !g.limits.acquire(trunk, time.Now()) {
		turnAway(s, Overloaded, "the trunk is at its limit", overloadRetry)
		return
	}
	leg := &callerLeg{call: c, session: s, trunk: trunk.Name, agent: in.Caller.Number, table: sipIngress{Leg: id}}
	if why := leg.describe(in, trunk); why != NoCause {
		turnAway(s, why, "", 0)
		leg.free()
		return
	}
	s.Bind(leg.handling(trunk))
	if !c.post(guestCame{of(id), leg, in.Replaces.CallID}) {
		leg.turnedAway()
	}
}

func turnAwayWith(s *sip.Session, status int, text string) {
	s.Bind(sip.Handling{Notify: func(sip.Event) {}})
	s.Refuse(status, sip.Reason{Q850: NotAllowed.row().q850, Text: text, WAError: NotAllowed.String()}, 0)
}

// free gives back what a phone holds that is not to be of the call.
func (l *callerLeg) free() {
	l.giveBack()
	l.call.closeSocket(l.socket)
}

// turnedAway refuses a phone that comes too late, or too early.
func (l *callerLeg) turnedAway() {
	l.session.Refuse(481, sip.Reason{Q850: NotAllowed.row().q850, Text: "nobody is to be replaced now", WAError: NotAllowed.String()}, 0)
	l.free()
}

// guestCame begins the handover to a phone that called, if the phone that it
// names is the one that talks, or that the customer waits for.
func (c *Call) guestCame(in guestCame) {
	now, ok := c.leg(c.talks()).(interface{ dialogID() string })
	rings := (c.m.Phase == Dialing || c.m.Phase == Ringing) && !c.hand.In
	if c.m.Phase != Active && !rings || c.hand.Leg != 0 || !ok || now.dialogID() != in.replaces {
		c.env.metrics.transfer(in.guest.trunk, transferRefused)
		in.guest.turnedAway()
		return
	}
	c.asker = nil
	c.expect(in.leg(), in.guest.trunk, in.guest)
}

// dial answers a phone that is to take the place of another, once its dialog is
// on disk.
func (l *callerLeg) dial() {
	c, id, state := l.call, l.table.Leg, l.session.State()
	c.do(saveLimit, func(ctx context.Context) input {
		return guestSaved{of(id), c.env.book.SaveDialog(ctx, c.id, store.Dialog{Attempt: int(id), Trunk: l.trunk, To: l.agent, State: state})}
	})
}

func (l *callerLeg) saved(err error) {
	if err != nil {
		l.call.log.Error("dialog cannot be written down", slog.Any("error", err))
		l.table.hangup(StoreFailed, false, l)
		return
	}
	l.table.answer(l)
}

func (l *callerLeg) extension() string { return l.agent }
func (l *callerLeg) joined()           {}
func (l *callerLeg) dialogID() string  { return l.session.CallID() }

// leave gives back what the phone held, once it is over and the call goes on.
func (l *callerLeg) leave() {
	c := l.call
	if last := l.table.Leg == c.m.Caller && c.hand.Leg == 0; last || c.m.Phase >= Ending { // it goes with the record
		return
	}
	c.vacate(l.socket, int(l.table.Leg))
}

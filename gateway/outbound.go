package gateway

import (
	"cmp"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/whatsapp"
)

// incoming is a call that a trunk places. What is for nobody, and what this node
// cannot take just now, is refused at once and costs nothing; everything else is
// a call, with a record that says what became of it.
func (g *Gateway) incoming(s *sip.Session, in sip.Incoming) {
	e := g.current.Load()
	now := time.Now()
	trunk, ok := e.cfg.Trunk(in.Trunk)
	if !ok {
		turnAway(s, Internal, "", 0)
		return
	}
	if in.Replaces != nil {
		g.takeOver(e, s, in)
		return
	}
	if busy := g.capacity(e); busy != NoCause {
		turnAway(s, busy, "", overloadRetry)
		return
	}
	o, why := g.orderFor(e, in, now)
	if o.refuse != NoCause { // for nobody, so there is nothing to put on record
		g.log.Info("dialled string leads nowhere", slog.String("trunk", in.Trunk), slog.String("cause", o.refuse.String()), slog.String("reason", why))
		turnAway(s, o.refuse, why, 0)
		return
	}
	if !g.limits.acquire(trunk, now) {
		turnAway(s, Overloaded, "the trunk is at its limit", overloadRetry)
		return
	}
	c := newCall(e.env, rand.Text(), o)
	leg := &callerLeg{call: c, session: s, trunk: trunk.Name}
	c.in = leg
	c.order.refuse = leg.describe(in, trunk)
	s.Bind(leg.handling(trunk))
	g.registry.admitTagged(c, o.tag)
	if !g.start(c) {
		g.limits.release(trunk.Name)
		c.closeAudio()
		s.Refuse(statusOf(Draining), sip.Reason{Q850: Draining.row().q850, WAError: Draining.String()}, overloadRetry)
	}
}

// turnAway refuses a call before it is one. Text is for people; "" is the
// cause's word.
func turnAway(s *sip.Session, why Cause, text string, retryAfter time.Duration) {
	s.Bind(sip.Handling{Notify: func(sip.Event) {}})
	status, q850 := why.sipStatus(false)
	s.Refuse(status, sip.Reason{Q850: q850, Text: cmp.Or(text, why.String()), WAError: why.String()}, retryAfter)
}

func statusOf(why Cause) int {
	status, _ := why.sipStatus(false)
	return status
}

// orderFor says whom a trunk's call is for, or why it is for nobody, in words
// for people too.
func (g *Gateway) orderFor(e *running, in sip.Incoming, now time.Time) (o order, why string) {
	o = order{direction: outbound, trunk: in.Trunk, dialed: in.To, agent: in.Caller.Number, tag: rand.Text(), sent: now}
	wanted := ""
	for _, h := range in.Headers {
		if h.Name == "x-wa-number" {
			wanted = h.Value
		}
	}
	plan, err := e.router.outbound(outboundQuery{Trunk: in.Trunk, Dialed: in.To, Caller: in.Caller.Number, Number: wanted, Now: now})
	o.route, o.ring = plan.Route, plan.RingTimeout
	switch {
	case errors.Is(err, errBadDial):
		o.refuse = BadNumber
	case errors.Is(err, errNoRouteOut):
		o.refuse = NoRoute
	case err != nil:
		o.refuse = NotAllowed
	}
	if err != nil {
		return o, err.Error()
	}
	number, ok := e.cfg.Number(plan.Number)
	if !ok {
		o.refuse = NotAllowed
		return o, "the route has no number to call from"
	}
	o.number = number
	o.user = whatsapp.User{Number: digitsOf(plan.User), UserID: plan.UserID}
	o.dialed = string(plan.User) + plan.UserID // one of them is empty
	return o, ""
}

// digitsOf is a number as Meta writes it.
func digitsOf(n Number) string {
	if n == "" {
		return ""
	}
	return string(n[1:])
}

// audioFrom says whose audio an incoming call may have: that of the host which
// called, be it the trunk's first target or another, and of the first target.
func audioFrom(source, first netip.Addr, sources []netip.Prefix) (remote netip.Addr, all []netip.Prefix) {
	switch {
	case !source.IsValid():
		return first, sources
	case first.IsValid() && first != source:
		sources = append(slices.Clip(sources), netip.PrefixFrom(first, first.BitLen()))
	}
	return source, sources
}

// describe makes our audio and session description for a trunk's offer, and
// says why not.
func (l *callerLeg) describe(in sip.Incoming, trunk config.Trunk) Cause {
	offer := in.SDP
	target := ""
	if len(trunk.Targets) > 0 {
		target = trunk.Targets[0].URI
	}
	remote, sources := audioFrom(in.Source, l.call.env.trunks.Address(trunk.Name, target), trunk.Sources)
	sock, err := l.call.env.audio.Socket(media.SocketOptions{
		Codecs: trunk.Codecs, Sources: sources, NAT: trunk.NAT,
		Secure: securityOf(trunk, target), Remote: remote,
		Info: keysTo(trunk, func() presser { return l.session }),
	})
	if err != nil {
		l.call.log.Warn("no audio towards the trunk", slog.Any("error", err))
		return Overloaded
	}
	l.call.keep(sock)
	l.socket = sock
	if len(offer) == 0 {
		l.offered, l.answerS = true, sock.Offer()
		return NoCause
	}
	if l.answerS, err = sock.Answer(offer); err != nil {
		l.call.log.Warn("trunk's offer cannot be used", slog.Any("error", err))
		return NoCodec
	}
	return NoCause
}

// named lets webhooks find a call that we placed.
func (g *Gateway) named(c *Call, id whatsapp.CallID) { g.registry.name(c, id) }

package gateway

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// dialogRest is how long a dialog that was given up is left to package sip
// before the reaper asks again.
const dialogRest = time.Minute

// trunkPhone is an INVITE of ours on a trunk, with its audio and its dialog, whoever
// it is for: it carries out what the table of such a call decides. The leg that
// has it says whom it calls and in whose name.
type trunkPhone struct {
	call   *Call
	port   sipPort    // the leg, which may do more than the phone does
	table  phoneTable // of the leg
	line   *dialled   // in the table
	id     of         // whose inputs are for it, and its name in the store
	hop    config.Hop
	target string
	plain  bool
	spare  bool        // the trunk has another address
	hold   media.Codec // of the side that its first words are kept for; NoCodec: nobody waits for them
	aside  bool        // it is to take the place of another, and does not speak for the call yet
	// Of a phone that we dial for another.
	replaces   sip.Replaces
	referredBy string
	visited    []string   // where redirections have led
	targets    []string   // addresses of the trunk, where it tries more than one
	placed     *trunkDial // once the INVITE is built
	over       bool
}

func (l *trunkPhone) name() string { return sideSIP }

func (l *trunkPhone) dial()                 { l.table.dial(l.port) }
func (l *trunkPhone) hangup(why Cause)      { l.table.hangup(why, l.port) }
func (l *trunkPhone) hooked(whatsapp.Event) {}
func (l *trunkPhone) open()                 {} // since the phone was picked up
func (l *trunkPhone) slow() bool            { return l.table.slow() }
func (l *trunkPhone) finish(*store.Record)  {}

func (l *trunkPhone) audio() media.Endpoint {
	if l.placed == nil {
		return nil
	}
	return l.placed.socket
}

// take brings news to the table.
func (l *trunkPhone) take(in legInput) {
	switch in := in.(type) {
	case dialReady:
		l.ready(in)
	case sipNews:
		l.news(in.event)
	case audioFailed:
		l.call.log.Info("audio gave up", slog.String("side", sideSIP), slog.Any("error", in.err))
		switch {
		case l.line.Closed || l.line.WantEnd: // it is of no importance any more
		case l.aside:
			l.table.hangup(MediaLost, l.port)
		default:
			l.port.emit(mediaLost{MediaLost})
		}
	case reliefLate:
		if l.aside {
			l.table.hangup(NoAnswer, l.port)
		}
	case graphDone, answerApplied, peerUp, peerHeard, setupLate, legTimeout, promptOver, guestCame, guestSaved: // of other legs
	}
}

// ready: an INVITE is on disk and may leave, unless it is not wanted any more or
// could not be made.
func (l *trunkPhone) ready(in dialReady) {
	l.placed = in.dial
	if in.err == nil {
		l.table.prepared(l.port)
		return
	}
	l.call.log.Warn("call cannot be placed", slog.String("trunk", l.hop.Trunk), slog.Any("error", in.err))
	switch {
	case errors.Is(in.err, errTrunkFull), errors.Is(in.err, media.ErrNoPort):
		l.table.refused(Overloaded, l.port)
	case errors.Is(in.err, errNotSaved):
		l.table.refused(StoreFailed, l.port)
	case errors.Is(in.err, sip.ErrTooLarge):
		l.table.refused(Internal, l.port)
	default:
		l.table.refused(Unreachable, l.port)
	}
}

func (l *trunkPhone) emit(ev event) {
	if l.line.Closed { // said before its end is
		l.release()
	}
	l.call.emit(ev)
}

// do asks something of the session. Nothing here waits for the far end.
func (l *trunkPhone) do(a sipAct, why Cause) {
	reason := l.call.reason(why, why.releaseQ850())
	switch a {
	case sipPrepare:
		l.prepare()
	case sipInvite:
		l.call.log.Debug("dialling", slog.String("trunk", l.hop.Trunk), slog.String("target", l.target))
		l.placed.session.Start()
	case sipCancel:
		reason.Elsewhere = why == Hangup && l.call.m.Phase < Ending // else it has ended, or nobody answered
		l.placed.session.Cancel(reason)
	case sipBye:
		l.placed.session.Bye(reason)
	case sipRing, sipAnswer, sipRefuse, sipSpeak, sipHush: // for calls that others place
	case sipTone: // for the leg that has one to play
	}
}

// reason is what the PBX is told of the end of a call (RFC 3326), with Meta's
// code where it was Meta's doing.
func (c *Call) reason(why Cause, q850 int) sip.Reason {
	r := sip.Reason{Q850: q850, Text: cmp.Or(c.detail, why.String()), WAError: why.String()}
	if c.rec.MetaError != 0 {
		r.WAError += ";meta=" + strconv.Itoa(c.rec.MetaError)
	}
	return r
}

// news takes what the session says to the table.
func (l *trunkPhone) news(ev sip.Event) {
	c := l.call
	switch ev := ev.(type) {
	case sip.Proceeding:
		l.table.proceeding(l.port)
	case sip.Ringing:
		l.table.ringing(l.port)
	case sip.Accepted:
		l.accepted()
	case sip.Refused:
		if l.follow(ev.Moved) {
			return
		}
		if l.counts() {
			c.rec.SIPStatus, c.rec.Q850 = ev.Status, q850OfSIP(ev.Status, ev.Q850)
			if sipAlarm(ev.Status) {
				c.log.Error("trunk refuses for a fault of the set-up", slog.String("trunk", l.hop.Trunk),
					slog.String("to", hide(l.hop.To, c.rec.User)), slog.Int("status", ev.Status), slog.String("reason", ev.Reason))
			}
		}
		l.table.refused(causeOfSIP(ev.Status, ev.Q850), l.port)
	case sip.Failed:
		c.log.Warn("trunk failed", slog.String("trunk", l.hop.Trunk), slog.String("target", l.target), slog.Any("error", ev.Err))
		if l.counts() {
			c.rec.Q850 = q850OfSIP(0, 0)
		}
		l.table.refused(Unreachable, l.port)
	case sip.Hungup:
		if l.counts() {
			c.rec.Q850 = ev.Q850
		}
		l.table.hungup(l.port)
	case sip.Expired:
		c.log.Warn("trunk has lost the call", slog.String("trunk", l.hop.Trunk))
		if uint8(l.id) == c.talks() { // else its end is all there is to say
			l.port.emit(mediaLost{Unreachable})
		}
	case sip.ByeDone:
		l.table.hungup(l.port)
	case sip.Refer:
		c.referred(uint8(l.id), l.hop.Trunk, l.placed.session, ev)
	case sip.Cancelled, sip.Acked, sip.NoAck: // for calls that others place
	}
}

// counts says whether what the phone says is the call's: it is on record then.
func (l *trunkPhone) counts() bool { return !l.line.Closed && !l.line.WantEnd && !l.aside }

func (l *trunkPhone) dialogID() string {
	if l.placed == nil {
		return ""
	}
	return l.placed.session.CallID()
}

// aim points the next INVITE at the address that is due. The one before it is
// over; its place in the store is taken by the next.
func (l *trunkPhone) aim(p plan) {
	l.target, l.plain, l.spare = "", p.Plain, p.spare()
	if int(p.Target) < len(l.targets) {
		l.target = l.targets[p.Target]
	}
	former := l.placed
	l.placed = nil
	l.giveUp(former)
}

// giveUp gives back what an INVITE held that is over, and that another follows.
func (l *trunkPhone) giveUp(former *trunkDial) {
	if former == nil {
		return
	}
	c := l.call
	c.env.limits.release(former.trunk)
	c.do(saveLimit, func(context.Context) input { c.closeSocket(former.socket); return nil })
}

// accepted: the phone was picked up. An answer that we cannot talk to ends the
// call with a clear cause on both sides.
func (l *trunkPhone) accepted() {
	c := l.call
	if l.line.Closed || l.line.WantEnd {
		l.table.accepted(l.port)
		return
	}
	if !l.aside {
		c.rec.SIPStatus = 200
	}
	if err := l.placed.unfit; err != nil {
		c.log.Warn("trunk's session description cannot be used", slog.String("trunk", l.hop.Trunk), slog.Any("error", err))
		l.table.unusable()
		cause := MediaFailed
		if errors.Is(err, media.ErrNoCodec) {
			cause = NoCodec
		}
		if l.aside {
			l.table.hangup(cause, l.port)
			return
		}
		c.emit(stopped{cause})
		return
	}
	l.placed.socket.Open()
	c.watchSocket(l.id, l.placed.socket)
	l.table.accepted(l.port)
}

// watchSocket reports when the PBX sends nothing any more.
func (c *Call) watchSocket(leg of, s socket) {
	c.ops.Go(func() {
		select {
		case <-s.Failed():
			c.post(audioFailed{leg, s.Err()})
		case <-c.ctx.Done():
		}
	})
}

// release gives back what the leg held, once it is over at both ends.
func (l *trunkPhone) release() {
	if l.over || l.placed == nil {
		return
	}
	l.giveBack()
	if l.call.m.Phase < Ending { // else it goes with the record
		l.call.vacate(l.placed.socket, int(l.id)) // the next attempt has its own
	}
}

// vacate closes the audio of a phone that is over while the call goes on, and
// takes its dialog off the book.
func (c *Call) vacate(sock socket, attempt int) {
	c.do(saveLimit, func(ctx context.Context) input {
		c.closeSocket(sock)
		if err := c.env.book.DropDialog(ctx, c.id, attempt); err != nil {
			c.log.Warn("ended dialog cannot be taken off the book", slog.Any("error", err))
		}
		return nil
	})
}

func (c *Call) closeSocket(sock socket) {
	if sock == nil {
		return
	}
	if err := sock.Close(); err != nil {
		c.log.Debug("audio did not close cleanly", slog.Any("error", err))
	}
}

// giveBack frees the trunk's place, and a session whose INVITE never left. It
// may be called again.
func (l *trunkPhone) giveBack() {
	if l.over || l.placed == nil {
		return
	}
	l.over = true
	l.call.env.limits.release(l.hop.Trunk)
	if !l.line.Sent {
		l.placed.session.Abandon()
	}
}

// takeLate gives back an INVITE that was built when the call was over.
func (l *trunkPhone) takeLate(d *trunkDial) {
	l.placed = d
	l.giveBack()
}

// owed is what the next run has to see to when the leg could not finish.
func (l *trunkPhone) owed() []store.Debt {
	if l.line.Closed || !l.line.Sent {
		return nil
	}
	l.placed.session.Abandon()
	return l.call.owe(store.Debt{Kind: debtDialog, State: l.placed.session.State()}, dialogRest)
}

package gateway

import (
	"errors"
	"log/slog"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

// callerLeg carries out what the table of a call that a trunk placed decides.
type callerLeg struct {
	call    *Call
	table   sipIngress
	session incoming
	socket  socket
	answerS []byte // our session description
	offered bool   // the INVITE had none, so ours is the offer
	unfit   error  // why the answer in the ACK cannot be used; set before Acked is posted
	prompt  player // nil until there is one to hear
	over    bool
	trunk   string
	agent   string // of a phone that takes the place of another: who it is
}

// incoming is an INVITE of a trunk and the dialog that comes of it. No method
// waits for the far end.
type incoming interface {
	referrer
	State() []byte
	Noted()
	Ring()
	Progress(sdp []byte)
	Answer(sdp []byte)
	Refuse(status int, r sip.Reason, retryAfter time.Duration)
	Bye(r sip.Reason)
	Abandon()
	presser
}

var errNoAudio = errors.New("this call has no audio")

// handling is how the leg takes part in the session of its INVITE.
func (l *callerLeg) handling(trunk config.Trunk) sip.Handling {
	c, id := l.call, of(l.table.Leg)
	h := sip.Handling{
		Notify:  func(ev sip.Event) { l.hear(ev); c.post(sipNews{id, ev}) },
		Reoffer: func([]byte) ([]byte, error) { return nil, errNoAudio },
		Pressed: keysFrom(trunk, l.socket, c.log),
		Call:    c.id, Trace: c.trace.sip,
	}
	if l.socket != nil {
		h.Reoffer = l.socket.Reoffer
	}
	return h
}

// hear runs on the session's goroutine. An answer is taken there, as by a
// trunkDial: what the phone says next must not be overtaken by it.
func (l *callerLeg) hear(ev sip.Event) {
	if a, ok := ev.(sip.Acked); ok && l.offered {
		l.unfit = l.socket.SetAnswer(a.SDP)
	}
}

func (l *callerLeg) name() string { return sideSIP }

func (l *callerLeg) emit(ev event) {
	_, ended := ev.(callerEnded)
	if _, gone := ev.(newcomerEnded); ended || gone {
		l.giveBack()
		l.leave()
	}
	l.call.emit(ev)
}

// giveBack frees the trunk's place. A prompt holds it too: the PBX's line is
// taken until the refusal.
func (l *callerLeg) giveBack() {
	l.hush()
	if !l.over {
		l.over = true
		l.call.env.limits.release(l.trunk)
	}
}

func (l *callerLeg) prepare()              { l.table.prepare(l) }
func (l *callerLeg) ring()                 { l.table.ring(l) }
func (l *callerLeg) answer()               { l.table.answer(l) }
func (l *callerLeg) hangup(why Cause)      { l.table.hangup(why, l.announces(why), l) }
func (l *callerLeg) hurry()                { l.table.spoken(l) }
func (l *callerLeg) hooked(whatsapp.Event) {}
func (l *callerLeg) open()                 {} // since our answer left
func (l *callerLeg) slow() bool            { return l.table.slow() }
func (l *callerLeg) finish(*store.Record)  {}

func (l *callerLeg) audio() media.Endpoint {
	if l.socket == nil {
		return nil
	}
	return l.socket
}

// do asks something of the session.
func (l *callerLeg) do(a sipAct, why Cause) {
	c := l.call
	switch a {
	case sipRing:
		l.session.Ring()
	case sipAnswer:
		if l.table.Leg == 0 {
			c.rec.SIPStatus = 200
		}
		l.session.Answer(l.answerS)
		l.socket.Open()
	case sipRefuse:
		status, q850 := why.sipStatus(l.table.Rung)
		if why == Limited && c.perUser {
			q850 = userLimitQ850
		}
		if l.table.Leg == 0 {
			c.rec.SIPStatus, c.rec.Q850 = status, q850
		}
		r := c.reason(why, q850)
		if why == NoCodec {
			r.Warning = incompatibleMedia
		}
		l.session.Refuse(status, r, c.retryFor(why))
	case sipBye:
		l.session.Bye(c.reason(why, why.releaseQ850()))
	case sipSpeak:
		l.speak()
	case sipHush:
		l.hush()
	case sipPrepare, sipInvite, sipCancel, sipTone: // for calls that we place
	}
}

// incompatibleMedia is what a PBX is warned of where no codec is in common (RFC
// 3261 section 20.43).
const incompatibleMedia = 305

// take brings news to the table.
func (l *callerLeg) take(in legInput) {
	switch in := in.(type) {
	case sipNews:
		l.news(in.event)
	case audioFailed:
		l.call.log.Info("audio gave up", slog.String("side", sideSIP), slog.Any("error", in.err))
		l.silent()
	case promptOver:
		l.table.spoken(l)
	case guestSaved:
		l.saved(in.err)
	case dialReady, graphDone, answerApplied, peerUp, peerHeard, setupLate, legTimeout, reliefLate, guestCame: // of other legs
	}
}

func (l *callerLeg) news(ev sip.Event) {
	c := l.call
	switch ev := ev.(type) {
	case sip.Cancelled:
		if !l.table.Closed && l.table.Leg == 0 {
			c.rec.SIPStatus, c.rec.Q850 = ev.Status, ev.Q850
		}
		l.table.cancelled(l)
	case sip.Acked:
		l.acked()
	case sip.NoAck:
		l.table.unacked(l)
	case sip.Hungup:
		if !l.table.Closed && !l.table.WantEnd && !l.waits() {
			c.rec.Q850 = ev.Q850
		}
		l.table.hungup(l)
	case sip.Expired:
		c.log.Warn("trunk has lost the call", slog.String("trunk", l.trunk))
		if l.table.Leg == c.talks() { // else its end is all there is to say
			l.emit(mediaLost{Unreachable})
		}
	case sip.ByeDone:
		l.table.hungup(l)
	case sip.Refer:
		c.referred(l.table.Leg, l.trunk, l.session, ev)
	case sip.Proceeding, sip.Ringing, sip.Accepted, sip.Refused, sip.Failed: // for calls that we place
	}
}

// acked: the caller has our 200. Where that was the offer, the ACK has the
// answer.
func (l *callerLeg) acked() {
	if !l.table.Up {
		if l.unfit != nil {
			l.call.log.Warn("trunk's session description cannot be used", slog.Any("error", l.unfit))
			l.useless()
		}
		l.call.watchSocket(of(l.table.Leg), l.socket)
	}
	l.table.acked(l)
}

// waits says whether the phone is still to take the place of another.
func (l *callerLeg) waits() bool { return l.table.Leg != 0 && l.call.hand.Leg == l.table.Leg }

// useless: what the caller says of its audio is of no use.
func (l *callerLeg) useless() {
	if l.waits() {
		l.table.hangup(NoCodec, false, l)
		return
	}
	l.emit(callerFailed{NoCodec})
}

// silent: its audio gave up.
func (l *callerLeg) silent() {
	switch {
	case l.table.Closed || l.table.WantEnd: // it is of no importance any more
	case l.waits():
		l.table.hangup(MediaLost, false, l)
	default:
		l.emit(mediaLost{MediaLost})
	}
}

// owed is what the next run has to see to when the leg could not finish.
func (l *callerLeg) owed() []store.Debt {
	if l.table.Closed {
		return nil
	}
	l.session.Abandon()
	return l.call.owe(store.Debt{Kind: debtDialog, State: l.session.State()}, dialogRest)
}

package gateway

import (
	"context"
	"log/slog"
	"time"

	"wagate/media"
	"wagate/store"
	"wagate/whatsapp"
)

const (
	askLimit    = 4500 * time.Millisecond // connect, counted from the agent's INVITE; after that its effect is unknown
	askLeast    = 2 * time.Second         // for connect, however late it is sent
	tellLimit   = 4800 * time.Millisecond // until the PBX is told so
	applyLimit  = 3 * time.Second         // the customer's session description into our peer
	offerLimit  = 2 * time.Second         // our own
	connectRest = askLimit + offerLimit
)

// waEgress carries out what the table of a call to a customer decides.
type waEgress struct {
	call  *Call
	table graphEgress
	made  *madePeer
	since time.Time // since when the agent waits for what connect says
}

func newWAEgress(c *Call, id uint8) *waEgress {
	return &waEgress{call: c, table: graphEgress{Leg: id}}
}

func (l *waEgress) name() string { return sideWhatsApp }

func (l *waEgress) emit(ev event) { l.call.emit(ev) }

func (l *waEgress) wait(t legTimer, nth uint8) {
	pause := legPause(t, nth)
	switch t {
	case peerTimer:
		pause = l.call.env.cfg.Media.SetupTimeout
	case retryTimer:
		pause = max(pause, l.call.throttled())
	case adoptTimer: // of the time that the PBX waits anyhow
		pause = min(pause, max(tellLimit-l.call.now.Sub(l.since), 0))
	case acceptTimer:
	}
	l.call.after(pause, legTimeout{of(l.table.Leg), t})
}

func (l *waEgress) dial()                 { l.table.dial(l) }
func (l *waEgress) hangup(Cause)          { l.table.hangup(l) }
func (l *waEgress) slow() bool            { return false }
func (l *waEgress) giveBack()             {}
func (l *waEgress) audio() media.Endpoint { return l.made.audio() }
func (l *waEgress) open()                 { l.made.peer.Open() }

// finish tells the call whether something may exist at Meta that only our tag
// names.
func (l *waEgress) finish(*store.Record) { l.call.lost = l.call.lost || l.table.orphaned() }

// request starts what the table asks for.
func (l *waEgress) request(r graphReq) {
	c := l.call
	g := c.env.graph(c.order.number.Name)
	switch r {
	case reqConnect:
		l.since = c.rec.StartedAt
		if c.order.summoned { // the agent's phone rang first
			l.since = c.now
		}
		limit := max(askLimit-c.now.Sub(l.since), askLeast)
		hold := codecOf(c.in.audio())
		c.do(connectRest, func(ctx context.Context) input { return l.connect(ctx, g, hold, limit) })
	case reqTerminate:
		id := whatsapp.CallID(c.rec.WACID)
		c.do(endLimit, func(ctx context.Context) input {
			return graphDone{of: of(l.table.Leg), req: r, err: g.Terminate(ctx, id)}
		})
	case noReq, reqPrepare, reqPreAccept, reqAccept, reqReject: // never asked for by this leg
	}
}

// connect makes our offer and sends it, for an answer within limit. hold is the codec of the side that the
// customer's first words are kept for. It runs beside the loop and touches
// nothing of the leg that changes.
func (l *waEgress) connect(ctx context.Context, g graph, hold media.Codec, limit time.Duration) input {
	o := l.call.order
	done := graphDone{of: of(l.table.Leg), req: reqConnect}
	p, err := l.call.env.audio.Peer(media.PeerOptions{Codecs: l.call.speech(), Hold: hold})
	if err != nil {
		done.err = notMade{err}
		return done
	}
	l.call.keep(p)
	offer, err := p.Offer(ctx)
	if err != nil {
		done.err = notMade{err}
		return done
	}
	l.call.post(graphDone{of: done.of, req: reqPrepare, peer: &madePeer{p, offer}}) // a webhook may overtake the reply
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done.id, done.err = g.Connect(limited, whatsapp.Callee{Number: o.user.Number, UserID: o.user.UserID}, offer, o.tag)
	return done
}

// notMade is a fault of ours before anything was asked of Meta.
type notMade struct{ error }

func (e notMade) Unwrap() error { return e.error }

// take brings news to the table.
func (l *waEgress) take(in legInput) {
	switch in := in.(type) {
	case graphDone:
		l.done(in)
	case answerApplied:
		if in.err != nil {
			l.call.log.Warn("customer's session description cannot be used", slog.Any("error", in.err))
			l.emit(mediaLost{MediaFailed})
			return
		}
		l.table.answered(l)
	case peerUp:
		l.table.mediaReady(l)
	case peerHeard:
		l.table.heard(l)
	case audioFailed:
		l.call.peerGaveUp(l.table.MediaUp, in.err)
	case legTimeout:
		l.table.timeout(in.timer, l)
	case dialReady, promptOver, sipNews, setupLate, reliefLate, guestCame, guestSaved: // of other legs
	}
}

func (l *waEgress) done(in graphDone) {
	if in.peer != nil {
		l.made = in.peer
		l.call.watchPeer(in.of, in.peer.peer)
		return
	}
	if in.id != "" {
		l.call.named(in.id)
	}
	l.call.noteGraph(in)
	if in.req == reqConnect {
		l.call.env.asked(l.call.order, in.err)
		l.call.noteLimit(in.err)
	}
	l.table.reply(in.req, replyOf(in.req, in.err), l)
}

// hooked takes a webhook about this call. The first also names it.
func (l *waEgress) hooked(ev whatsapp.Event) {
	switch ev := ev.(type) {
	case whatsapp.Answer:
		l.table.named(l)
		l.apply(ev.SDP)
	case whatsapp.Status:
		switch ev.State {
		case whatsapp.Ringing:
			l.table.ringing(l)
		case whatsapp.Accepted:
			l.table.accepted(l)
		case whatsapp.Rejected:
			l.table.rejected(l)
		}
	case whatsapp.Terminate:
		l.table.terminated(l.call.noteEnd(ev), l)
	case whatsapp.Offer, whatsapp.PermissionReply, whatsapp.Spoke, whatsapp.MessageFailed, whatsapp.UserMoved: // not for a call of ours
	}
}

// apply gives the customer's answer to our peer connection. ICE and DTLS finish
// while the phone still rings.
func (l *waEgress) apply(sdp string) {
	if l.made == nil || l.table.HasAnswer {
		return
	}
	p, leg := l.made.peer, of(l.table.Leg)
	l.call.do(applyLimit, func(context.Context) input { return answerApplied{leg, p.SetAnswer(sdp)} })
}

// owed is what the reaper has to see to when the leg could not finish.
func (l *waEgress) owed() []store.Debt {
	if l.table.Closed && !l.table.Adrift {
		return nil
	}
	if l.call.rec.WACID == "" {
		l.call.lost = true
		return nil
	}
	return l.call.owe(store.Debt{Kind: debtTerminate, WACID: l.call.rec.WACID}, max(l.call.throttled(), 0))
}

package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

var (
	errTrunkFull = errors.New("the trunk is at its max_calls or max_cps")
	errNotSaved  = errors.New("the dialog cannot be written down")
)

// dialogRest is how long a dialog that was given up is left to package sip
// before the reaper asks again.
const dialogRest = time.Minute

// trunkLeg carries out what the table of a call on a trunk decides.
type trunkLeg struct {
	call   *Call
	table  sipEgress
	hop    config.Hop
	target string
	plain  bool
	placed *trunkDial // once the INVITE is built
	over   bool
}

// trunkDial is an INVITE with its audio. It holds a place on its trunk.
type trunkDial struct {
	trunk   string
	session session
	socket  socket
	unfit   error // why the answer of the 2xx cannot be used; set before Accepted is posted
}

// hear runs on the session's goroutine. An answer is taken there: a PBX may move
// its audio right after our ACK, and that must not be overtaken by what it said
// before.
func (d *trunkDial) hear(ev sip.Event) {
	if a, ok := ev.(sip.Accepted); ok {
		d.unfit = d.socket.SetAnswer(a.SDP)
	}
}

func newTrunkLeg(c *Call, id uint8) *trunkLeg {
	p := c.m.Plan
	l := &trunkLeg{call: c, table: sipEgress{Leg: id}, hop: c.order.hops[p.Hop], plain: p.Plain}
	if addresses := c.addresses[p.Hop]; int(p.Target) < len(addresses) {
		l.target = addresses[p.Target]
	}
	c.rec.Trunk, c.rec.To = l.hop.Trunk, l.hop.To
	c.rec.SIPStatus, c.rec.Q850 = 0, 0 // what the phone before it said is history
	return l
}

func (l *trunkLeg) name() string { return sideSIP }

func (l *trunkLeg) dial()                 { l.table.dial(l) }
func (l *trunkLeg) hangup(why Cause)      { l.table.hangup(why, l) }
func (l *trunkLeg) hooked(whatsapp.Event) {}
func (l *trunkLeg) open()                 {} // since the phone was picked up
func (l *trunkLeg) slow() bool            { return l.table.slow() }
func (l *trunkLeg) finish(*store.Record)  {}

func (l *trunkLeg) audio() media.Endpoint {
	if l.placed == nil {
		return nil
	}
	return l.placed.socket
}

// take brings news to the table.
func (l *trunkLeg) take(in legInput) {
	switch in := in.(type) {
	case dialReady:
		l.ready(in)
	case sipNews:
		l.news(in.event)
	case audioFailed:
		l.call.log.Info("audio gave up", slog.String("side", sideSIP), slog.Any("error", in.err))
		l.emit(mediaLost{MediaLost})
	case graphDone, answerApplied, peerUp, peerHeard, setupLate, legTimeout, promptOver: // of other legs
	}
}

// ready: an INVITE is on disk and may leave, unless it is not wanted any more or
// could not be made.
func (l *trunkLeg) ready(in dialReady) {
	l.placed = in.dial
	if in.err == nil {
		l.table.prepared(l)
		return
	}
	l.call.log.Warn("call cannot be placed", slog.String("trunk", l.hop.Trunk), slog.Any("error", in.err))
	switch {
	case errors.Is(in.err, errTrunkFull), errors.Is(in.err, media.ErrNoPort):
		l.table.refused(Overloaded, l)
	case errors.Is(in.err, errNotSaved):
		l.table.refused(StoreFailed, l)
	case errors.Is(in.err, sip.ErrTooLarge):
		l.table.refused(Internal, l)
	default:
		l.table.refused(Unreachable, l)
	}
}

func (l *trunkLeg) emit(ev event) {
	if e, ok := ev.(calleeEnded); ok && e.Leg == l.table.Leg {
		l.release()
	}
	l.call.emit(ev)
}

// do asks something of the session. Nothing here waits for the far end.
func (l *trunkLeg) do(a sipAct, why Cause) {
	reason := l.call.reason(why, why.releaseQ850())
	switch a {
	case sipPrepare:
		l.prepare()
	case sipInvite:
		l.call.log.Debug("dialling", slog.String("trunk", l.hop.Trunk), slog.String("target", l.target))
		l.placed.session.Start()
	case sipCancel:
		l.placed.session.Cancel(reason)
	case sipBye:
		l.placed.session.Bye(reason)
	case sipRing, sipAnswer, sipRefuse, sipTone, sipSpeak, sipHush: // for calls that others place
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

// prepare builds the INVITE and its socket, and puts on disk what is needed to
// end the call after a crash.
func (l *trunkLeg) prepare() {
	c := l.call
	id := l.table.Leg
	c.do(prepareLimit, func(ctx context.Context) input {
		d, err := l.build(ctx)
		return dialReady{of(id), d, err}
	})
}

// build runs beside the loop and touches nothing of the call that changes.
func (l *trunkLeg) build(ctx context.Context) (*trunkDial, error) {
	c := l.call
	trunk, ok := c.env.cfg.Trunk(l.hop.Trunk)
	if !ok {
		return nil, sip.ErrUnknownTrunk
	}
	sock, err := c.env.audio.Socket(media.SocketOptions{
		Codecs: trunk.Codecs, Sources: trunk.Sources, NAT: trunk.NAT, Plain: l.plain,
		Remote: addressOf(ctx, l.target),
	})
	if err != nil {
		return nil, fmt.Errorf("open audio towards the trunk: %w", err)
	}
	c.keep(sock)
	id := l.table.Leg
	d := &trunkDial{trunk: trunk.Name, socket: sock}
	d.session, err = c.env.trunks.Prepare(sip.Outgoing{
		Trunk: l.hop.Trunk, Target: l.target, To: l.hop.To,
		Caller:  sip.Party{Number: plus(c.order.user.Number), Name: c.order.user.Name},
		Headers: l.headers(),
		SDP:     sock.Offer(),
		Reoffer: sock.Reoffer,
		Answered: func(state []byte) {
			// After the end of the call the debt has the dialog.
			if err := l.save(c.ctx, state); err != nil && !errors.Is(err, store.ErrEnded) {
				c.log.Error("dialog cannot be written down", slog.Any("error", err))
			}
		},
	}, func(ev sip.Event) {
		d.hear(ev)
		c.post(sipNews{of(id), ev})
	})
	if err != nil {
		return nil, fmt.Errorf("build INVITE: %w", err)
	}
	if !c.env.limits.acquire(trunk, time.Now()) {
		d.session.Abandon()
		return nil, errTrunkFull
	}
	if err := l.save(ctx, d.session.State()); err != nil {
		c.env.limits.release(trunk.Name)
		d.session.Abandon()
		return nil, fmt.Errorf("%w: %w", errNotSaved, err)
	}
	return d, nil
}

// addressOf returns an address of a SIP URI's host, for the choice of our own;
// none when it has none just now.
func addressOf(ctx context.Context, uri string) netip.Addr {
	_, host, ok := strings.Cut(uri, ":")
	if !ok {
		return netip.Addr{}
	}
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		host = host[at+1:]
	}
	host, _, _ = strings.Cut(host, ";")
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap()
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}
	}
	return addrs[0].Unmap()
}

func (l *trunkLeg) save(ctx context.Context, state []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	return l.call.env.book.SaveDialog(ctx, l.call.id, store.Dialog{
		Attempt: int(l.table.Leg), Trunk: l.hop.Trunk, To: l.hop.To, State: state,
	})
}

func (l *trunkLeg) headers() []sip.Header {
	c := l.call
	return []sip.Header{
		{Name: "X-WA-Call", Value: c.id},
		{Name: "X-WA-ID", Value: string(c.order.wacid)},
		{Name: "X-WA-Number", Value: c.order.number.Name},
		{Name: "X-WA-User-ID", Value: c.order.user.UserID},
		{Name: "X-WA-Payload", Value: c.order.payload},
	}
}

// plus makes E.164 of the digits that Meta sends; "" stays anonymous.
func plus(digits string) string {
	if digits == "" {
		return ""
	}
	return "+" + digits
}

// news takes what the session says to the table.
func (l *trunkLeg) news(ev sip.Event) {
	c := l.call
	switch ev := ev.(type) {
	case sip.Proceeding:
		l.table.proceeding(l)
	case sip.Ringing:
		l.table.ringing(l)
	case sip.Accepted:
		l.accepted()
	case sip.Refused:
		if !l.table.Closed && !l.table.WantEnd {
			c.rec.SIPStatus, c.rec.Q850 = ev.Status, q850OfSIP(ev.Status, ev.Q850)
			if sipAlarm(ev.Status) {
				c.log.Error("trunk refuses for a fault of the set-up", slog.String("trunk", l.hop.Trunk),
					slog.String("to", hide(l.hop.To, c.rec.User)), slog.Int("status", ev.Status), slog.String("reason", ev.Reason))
			}
		}
		l.table.refused(causeOfSIP(ev.Status, ev.Q850), l)
	case sip.Failed:
		c.log.Warn("trunk failed", slog.String("trunk", l.hop.Trunk), slog.String("target", l.target), slog.Any("error", ev.Err))
		if !l.table.Closed && !l.table.WantEnd {
			c.rec.Q850 = q850OfSIP(0, 0)
		}
		l.table.refused(Unreachable, l)
	case sip.Hungup:
		if !l.table.Closed && !l.table.WantEnd {
			c.rec.Q850 = ev.Q850
		}
		l.table.hungup(l)
	case sip.ByeDone:
		l.table.hungup(l)
	case sip.Cancelled, sip.Acked, sip.NoAck: // for calls that others place
	}
}

// accepted: the phone was picked up. An answer that we cannot talk to ends the
// call with a clear cause on both sides.
func (l *trunkLeg) accepted() {
	c := l.call
	if l.table.Closed || l.table.WantEnd {
		l.table.accepted(l)
		return
	}
	c.rec.SIPStatus = 200
	if err := l.placed.unfit; err != nil {
		c.log.Warn("trunk's session description cannot be used", slog.String("trunk", l.hop.Trunk), slog.Any("error", err))
		l.table.unusable()
		cause := MediaFailed
		if errors.Is(err, media.ErrNoCodec) {
			cause = NoCodec
		}
		c.emit(stopped{cause})
		return
	}
	l.placed.socket.Open()
	c.watchSocket(of(l.table.Leg), l.placed.socket)
	l.table.accepted(l)
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
func (l *trunkLeg) release() {
	if l.over || l.placed == nil {
		return
	}
	l.giveBack()
	c := l.call
	attempt, sock := int(l.table.Leg), l.placed.socket
	if c.m.Phase < Ending { // else it goes with the record
		c.do(saveLimit, func(ctx context.Context) input {
			if err := sock.Close(); err != nil { // the next attempt has its own
				c.log.Debug("audio did not close cleanly", slog.Any("error", err))
			}
			if err := c.env.book.DropDialog(ctx, c.id, attempt); err != nil {
				c.log.Warn("ended dialog cannot be taken off the book", slog.Any("error", err))
			}
			return nil
		})
	}
}

// giveBack frees the trunk's place, and a session whose INVITE never left. It
// may be called again.
func (l *trunkLeg) giveBack() {
	if l.over || l.placed == nil {
		return
	}
	l.over = true
	l.call.env.limits.release(l.hop.Trunk)
	if !l.table.Sent {
		l.placed.session.Abandon()
	}
}

// owed is what the next run has to see to when the leg could not finish.
func (l *trunkLeg) owed() []store.Debt {
	if l.table.Closed || !l.table.Sent {
		return nil
	}
	l.placed.session.Abandon()
	return l.call.owe(store.Debt{Kind: debtDialog, State: l.placed.session.State()}, dialogRest)
}

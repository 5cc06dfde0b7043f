package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"wagate/media"
	"wagate/sip"
	"wagate/store"
)

var (
	errTrunkFull = errors.New("the trunk is at its max_calls or max_cps")
	errNotSaved  = errors.New("the dialog cannot be written down")
)

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

// prepare builds the INVITE and its socket, and puts on disk what is needed to
// end the call after a crash.
func (l *trunkPhone) prepare() {
	c := l.call
	c.do(prepareLimit, func(ctx context.Context) input {
		d, err := l.build(ctx)
		return dialReady{l.id, d, err}
	})
}

// build runs beside the loop and touches nothing of the call that changes.
func (l *trunkPhone) build(ctx context.Context) (*trunkDial, error) {
	c := l.call
	trunk, ok := c.env.cfg.Trunk(l.hop.Trunk)
	if !ok {
		return nil, sip.ErrUnknownTrunk
	}
	d := &trunkDial{trunk: trunk.Name}
	sock, err := c.env.audio.Socket(media.SocketOptions{
		Codecs: trunk.Codecs, Sources: trunk.Sources, NAT: trunk.NAT, Plain: l.plain, Hold: l.hold,
		Secure: securityOf(trunk, l.target), Remote: c.env.trunks.Address(l.hop.Trunk, l.target),
		Info: keysTo(trunk, func() presser { return d.session }),
	})
	if err != nil {
		return nil, fmt.Errorf("open audio towards the trunk: %w", err)
	}
	c.keep(sock)
	d.socket = sock
	d.session, err = c.env.trunks.Prepare(sip.Outgoing{
		Trunk: l.hop.Trunk, Target: l.target, To: l.hop.To,
		Caller:  sip.Party{Number: plus(c.order.user.Number), Name: c.order.user.Name},
		Headers: c.headers(), Replaces: l.replaces, ReferredBy: l.referredBy,
		SDP:     sock.Offer(),
		Spare:   l.spare,
		Reoffer: sock.Reoffer,
		Pressed: keysFrom(trunk, sock, c.log),
		Trace:   c.trace.sip,
		Changed: func(state []byte) {
			// After the end of the call the debt has the dialog.
			if err := l.save(c.ctx, state); err != nil && !errors.Is(err, store.ErrEnded) {
				c.log.Error("dialog cannot be written down", slog.Any("error", err))
			}
		},
	}, func(ev sip.Event) {
		d.hear(ev)
		c.post(sipNews{l.id, ev})
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

func (l *trunkPhone) save(ctx context.Context, state []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	return l.call.env.book.SaveDialog(ctx, l.call.id, store.Dialog{
		Attempt: int(l.id), Trunk: l.hop.Trunk, To: l.hop.To, State: state,
	})
}

// plus makes E.164 of the digits that Meta sends; "" stays anonymous.
func plus(digits string) string {
	if digits == "" {
		return ""
	}
	return "+" + digits
}

// headers say at the PBX which call this is.
func (c *Call) headers() []sip.Header {
	return []sip.Header{
		{Name: "X-WA-Call", Value: c.id},
		{Name: "X-WA-ID", Value: string(c.order.wacid)},
		{Name: "X-WA-Number", Value: c.order.number.Name},
		{Name: "X-WA-User-ID", Value: c.order.user.UserID},
		{Name: "X-WA-Payload", Value: c.order.payload},
	}
}

package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"wagate/media"
	"wagate/store"
	"wagate/whatsapp"
)

const (
	prepareLimit   = 3 * time.Second
	preAcceptLimit = 3 * time.Second
	acceptLimit    = 3 * time.Second // with its repetition
	acceptFirst    = 1400 * time.Millisecond
	peerPatience   = 2 * time.Second // accept waits so long for ICE and DTLS
	adoptLimit     = 3 * time.Second
	saveLimit      = 2 * time.Second
)

// waIngress carries out what the table of a user's call decides.
type waIngress struct {
	call      *Call
	table     graphIngress
	made      *madePeer
	accepting time.Time  // when accept was first sent
	addresses [][]string // of each hop of the plan, fixed when the call was routed
}

func newWAIngress(c *Call) *waIngress { return &waIngress{call: c} }

func (l *waIngress) emit(ev event) { l.call.emit(ev) }

func (l *waIngress) wait(t legTimer, nth uint8) { l.call.after(legPause(t, nth), legTimeout{t}) }

// legPause is how long each wait of a leg lasts.
func legPause(t legTimer, nth uint8) time.Duration {
	switch t {
	case retryTimer:
		return debtBackoff[min(int(nth), len(debtBackoff)-1)]
	case peerTimer:
		return peerPatience
	case acceptTimer:
		return acceptLimit
	case adoptTimer:
		return adoptLimit
	}
	return 0
}

// request starts what the table asks for.
func (l *waIngress) request(r graphReq) {
	c := l.call
	g := c.env.graph(c.number.Name)
	id := c.offer.CallID
	ask := func(limit time.Duration, send func(ctx context.Context) error) {
		c.do(limit, func(ctx context.Context) input { return graphDone{req: r, err: send(ctx)} })
	}
	switch r {
	case reqPrepare:
		c.do(prepareLimit, l.prepare)
	case reqPreAccept:
		answer := l.made.answer
		ask(preAcceptLimit, func(ctx context.Context) error { return g.PreAccept(ctx, id, answer) })
	case reqAccept:
		limit := acceptFirst
		if l.accepting.IsZero() {
			l.accepting = c.now
		} else {
			limit = max(acceptLimit-c.now.Sub(l.accepting), 0)
		}
		answer := l.made.answer
		ask(limit, func(ctx context.Context) error { return g.Accept(ctx, id, answer, c.id) })
	case reqReject:
		ask(endLimit, func(ctx context.Context) error { return g.Reject(ctx, id) })
	case reqTerminate:
		ask(endLimit, func(ctx context.Context) error { return g.Terminate(ctx, id) })
	case noReq, reqConnect: // never asked for by this leg
	}
}

// String returns the name of the request in logs.
func (r graphReq) String() string {
	return [...]string{"none", "prepare", "pre_accept", "accept", "reject", "terminate", "connect"}[r]
}

// prepare makes the peer connection and answers the offer.
func (l *waIngress) prepare(ctx context.Context) input {
	p, err := l.call.env.audio.Peer()
	if err != nil {
		return graphDone{req: reqPrepare, err: err}
	}
	l.call.keep(p)
	answer, err := p.Answer(ctx, l.call.offer.SDP)
	if err != nil {
		return graphDone{req: reqPrepare, err: err}
	}
	return graphDone{req: reqPrepare, peer: &madePeer{p, answer}}
}

// done takes a reply to the table.
func (l *waIngress) done(in graphDone) {
	if in.peer != nil {
		l.made = in.peer
		l.watch(in.peer.peer)
	}
	if in.err != nil {
		l.call.log.Warn("request to WhatsApp failed", slog.String("request", in.req.String()), slog.Any("error", in.err))
	}
	l.table.reply(in.req, replyOf(in.req, in.err), l)
	if l.table.BothRefused {
		l.call.log.Error("neither terminate nor reject was taken, check this call at Meta")
	}
	var api *whatsapp.APIError
	if errors.As(in.err, &api) && !api.Gone() && l.call.rec.MetaError == 0 {
		l.call.rec.MetaError = api.Code
	}
}

// watch reports when ICE and DTLS are up, and when they are lost.
func (l *waIngress) watch(p peer) {
	c := l.call
	c.ops.Go(func() {
		connected := p.Connected()
		for {
			select {
			case <-connected:
				connected = nil
				c.post(peerUp{})
			case <-p.Failed():
				c.post(audioFailed{sideWhatsApp, p.Err()})
				return
			case <-c.ctx.Done():
				return
			}
		}
	})
}

// hooked takes a webhook about this call.
func (l *waIngress) hooked(ev whatsapp.Event) {
	switch ev := ev.(type) {
	case whatsapp.Terminate:
		cause := NoCause
		if !ev.Start.IsZero() {
			cause = Hangup // Meta connected the user, even if accept's reply is still on its way
		}
		billed(&l.call.rec, ev)
		for _, e := range ev.Errors {
			cause = causeOfMeta(e.Code)
		}
		l.table.terminated(cause, l)
	case whatsapp.Offer, whatsapp.Answer, whatsapp.Status, whatsapp.PermissionReply, whatsapp.Spoke,
		whatsapp.MessageFailed, whatsapp.UserMoved: // said before, or not for a user's call
	}
}

// owed is what the reaper has to see to when the leg could not finish.
func (l *waIngress) owed() []store.Debt {
	if l.table.Closed {
		return nil
	}
	kind := debtReject
	if l.table.Touched {
		kind = debtTerminate
	}
	c := l.call
	return []store.Debt{{
		Kind: kind, CallID: c.id, Number: c.number.Name, WACID: string(c.offer.CallID),
		Since: c.now, Next: c.now, Expires: c.now.Add(debtLife),
	}}
}

// replyOf says what is known after a request.
func replyOf(r graphReq, err error) graphReply {
	rep := resultOf(r, err)
	if r == reqAccept && rep.Result != resultHopeless && rep.Cause != NoCause {
		rep.Cause = AnswerFailed // whatever the trouble was, the callee had answered
	}
	return rep
}

func resultOf(r graphReq, err error) graphReply {
	var api *whatsapp.APIError
	switch {
	case err == nil:
		return graphReply{}
	case r == reqPrepare && errors.Is(err, media.ErrNoCodec):
		return graphReply{resultHopeless, NoCodec}
	case r == reqPrepare:
		return graphReply{resultHopeless, MediaFailed}
	case errors.As(err, &api):
		return replyOfAPI(r, api)
	case errors.Is(err, whatsapp.ErrNotSent):
		return graphReply{resultTemporary, APIDown}
	default:
		return graphReply{resultUnknown, APITimeout}
	}
}

func replyOfAPI(r graphReq, api *whatsapp.APIError) graphReply {
	switch ending := r == reqReject || r == reqTerminate; {
	case api.Gone():
		return graphReply{Result: resultGone}
	case api.InProgress() && r == reqAccept:
		return graphReply{}
	case api.Temporary():
		return graphReply{resultTemporary, APIDown}
	case ending && api.Code == codeInvalid:
		return graphReply{Result: resultRefused}
	case ending:
		// A token or a limit in the way says nothing about the call: it may
		// well live, so its end stays owed.
		return graphReply{resultTemporary, APIError}
	}
	if hopeless(api.Code) || r == reqConnect {
		return graphReply{resultHopeless, causeOfMeta(api.Code)}
	}
	return graphReply{resultRefused, causeOfMeta(api.Code)}
}

// The codes that every request of the call would meet again.
const (
	codeInvalid = 100 // our SDP, where it is not the state of the call
	codeToken   = 190
	codeBadSDP  = 138008
)

func hopeless(code int) bool { return code == codeInvalid || code == codeToken || code == codeBadSDP }

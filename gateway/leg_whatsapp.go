package gateway

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
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
	accepting time.Time // when accept was first sent
}

func newWAIngress(c *Call) *waIngress { return &waIngress{call: c} }

func (l *waIngress) name() string { return sideWhatsApp }

func (l *waIngress) emit(ev event) { l.call.emit(ev) }

func (l *waIngress) wait(t legTimer, nth uint8) {
	pause := legPause(t, nth)
	if t == retryTimer {
		if !l.table.WantEnd { // Meta may be swamped by calls like this one
			pause = rand.N(pause) //nolint:gosec // spreads, hides nothing
		}
		pause = max(pause, l.call.throttled())
	}
	l.call.after(pause, legTimeout{0, t})
}

func (l *waIngress) prepare()              { l.table.prepare(l) }
func (l *waIngress) ring()                 {} // pre_accept has said so
func (l *waIngress) answer()               { l.table.answer(l) }
func (l *waIngress) hangup(Cause)          { l.table.hangup(l) }
func (l *waIngress) hurry()                {} // it does already
func (l *waIngress) slow() bool            { return false }
func (l *waIngress) finish(*store.Record)  {}
func (l *waIngress) giveBack()             {}
func (l *waIngress) audio() media.Endpoint { return l.made.audio() }

// open lets our audio leave: accept has its 200.
func (l *waIngress) open() {
	l.made.peer.Open()
	if !l.table.MediaUp {
		l.call.after(l.call.env.cfg.Media.SetupTimeout, setupLate{})
	}
}

// audio is nil as long as there is no peer.
func (m *madePeer) audio() media.Endpoint {
	if m == nil {
		return nil
	}
	return m.peer
}

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
	g := c.env.graph(c.order.number.Name)
	id := c.order.wacid
	ask := func(limit time.Duration, send func(ctx context.Context) error) {
		c.do(limit, func(ctx context.Context) input { return graphDone{req: r, err: patiently(ctx, send)} })
	}
	switch r {
	case reqPrepare:
		c.do(prepareLimit, l.makePeer)
	case reqPreAccept:
		answer, again := l.made.sdp, l.table.Repeated
		ask(preAcceptLimit, func(ctx context.Context) error { return g.PreAccept(repeating(ctx, again), id, answer) })
	case reqAccept:
		limit := acceptFirst
		if l.accepting.IsZero() {
			l.accepting = c.now
		} else {
			limit = max(acceptLimit-c.now.Sub(l.accepting), 0)
		}
		answer, again := l.made.sdp, l.table.Accepts > 1
		ask(limit, func(ctx context.Context) error { return g.Accept(repeating(ctx, again), id, answer, c.id) })
	case reqReject:
		ask(endLimit, func(ctx context.Context) error { return g.Reject(ctx, id) })
	case reqTerminate:
		ask(endLimit, func(ctx context.Context) error { return g.Terminate(ctx, id) })
	case noReq, reqConnect: // never asked for by this leg
	}
}

// patiently waits for the end of a pause that Meta wants, if there is time.
func patiently(ctx context.Context, send func(ctx context.Context) error) error {
	err := send(ctx)
	var barred *whatsapp.BarredError
	if !errors.As(err, &barred) || !passing(ctx, barred) {
		return err
	}
	pause := time.NewTimer(barred.Wait)
	defer pause.Stop()
	select {
	case <-pause.C:
		return send(ctx)
	case <-ctx.Done():
		return err
	}
}

// passing says whether the pause is over before ctx is.
func passing(ctx context.Context, e *whatsapp.BarredError) bool {
	end, ok := ctx.Deadline()
	return e.Why == whatsapp.BarredThrottled && (!ok || time.Until(end) > e.Wait)
}

// repeating marks a request that was made before.
func repeating(ctx context.Context, again bool) context.Context {
	if again {
		return whatsapp.Again(ctx)
	}
	return ctx
}

// makePeer makes the peer connection and answers the offer.
func (l *waIngress) makePeer(ctx context.Context) input {
	// Meta may connect the customer before its reply to accept is here.
	p, err := l.call.env.audio.Peer(media.PeerOptions{Codecs: l.call.speech(), Hold: media.PCMA})
	if err != nil {
		return graphDone{req: reqPrepare, err: err}
	}
	l.call.keep(p)
	answer, err := p.Answer(ctx, l.call.order.offer)
	if err != nil {
		return graphDone{req: reqPrepare, err: err}
	}
	return graphDone{req: reqPrepare, peer: &madePeer{p, answer}}
}

// take brings news to the table.
func (l *waIngress) take(in legInput) {
	switch in := in.(type) {
	case graphDone:
		l.done(in)
	case peerUp:
		l.table.mediaReady(l)
	case setupLate:
		if !l.table.MediaUp {
			l.emit(mediaLost{MediaFailed})
		}
	case audioFailed:
		l.call.peerGaveUp(l.table.MediaUp, in.err)
	case legTimeout:
		l.table.timeout(in.timer, l)
	case peerHeard, answerApplied, promptOver, dialReady, sipNews, reliefLate, guestCame, guestSaved: // of other legs
	}
}

// done takes a reply to the table.
func (l *waIngress) done(in graphDone) {
	if in.peer != nil {
		l.made = in.peer
		l.call.watchPeer(0, in.peer.peer)
	}
	l.call.noteGraph(in)
	l.table.reply(in.req, replyOf(in.req, in.err), l)
	if l.table.BothRefused {
		l.call.log.Error("neither terminate nor reject was taken, check this call at Meta")
	}
}

// peerGaveUp: the connection to the customer is lost, or never came up.
func (c *Call) peerGaveUp(wasUp bool, err error) {
	c.log.Info("audio gave up", slog.String("side", sideWhatsApp), slog.Any("error", err))
	cause := MediaFailed
	if wasUp {
		cause = MediaLost
	}
	c.emit(mediaLost{cause})
}

// noteGraph logs a failed request and keeps Meta's code for the record.
func (c *Call) noteGraph(in graphDone) {
	if in.err == nil {
		return
	}
	c.log.Warn("request to WhatsApp failed", slog.String("request", in.req.String()), slog.Any("error", in.err))
	var api *whatsapp.APIError
	if !errors.As(in.err, &api) || api.Gone() {
		return
	}
	if c.rec.MetaError == 0 {
		c.rec.MetaError = api.Code
	}
	if wait := metaPause(in.err); wait > 0 {
		c.notBefore = c.now.Add(wait)
	}
}

// throttled is how long Meta wants no further request, be it that it said so to
// this call or to another one of the number.
func (c *Call) throttled() time.Duration {
	return max(c.notBefore.Sub(c.now), c.env.graph(c.order.number.Name).Throttled())
}

// watchPeer reports when ICE and DTLS are up, when the customer is first heard,
// and when the connection is lost.
func (c *Call) watchPeer(leg of, p peer) {
	c.ops.Go(func() {
		connected, heard := p.Connected(), p.Heard()
		for {
			select {
			case <-connected:
				connected = nil
				c.post(peerUp{leg})
			case <-heard:
				heard = nil
				c.post(peerHeard{leg})
			case <-p.Failed():
				c.post(audioFailed{leg, p.Err()})
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
		l.table.terminated(l.call.noteEnd(ev), l)
	case whatsapp.Offer, whatsapp.Answer, whatsapp.Status, whatsapp.PermissionReply, whatsapp.Spoke,
		whatsapp.MessageFailed, whatsapp.UserMoved: // said before, or not for a user's call
	}
}

// noteEnd keeps what Meta says of the end of a call, and returns its cause if
// it names one.
func (c *Call) noteEnd(ev whatsapp.Terminate) (cause Cause) {
	if !ev.Start.IsZero() {
		cause = Hangup // Meta connected the user, even if accept's reply is still on its way
	}
	billed(&c.rec, ev)
	for _, e := range ev.Errors {
		cause = causeOfMeta(e.Code)
	}
	return cause
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
	return l.call.owe(store.Debt{Kind: kind, WACID: string(l.call.order.wacid)}, max(l.call.throttled(), 0))
}

// owe makes a debt of this call, due after a rest.
func (c *Call) owe(d store.Debt, rest time.Duration) []store.Debt {
	d.CallID, d.Number = c.id, c.order.number.Name
	d.Since, d.Next, d.Expires = c.now, c.now.Add(rest), c.now.Add(debtLife)
	return []store.Debt{d}
}

// String returns the name of the request in logs.
func (r graphReq) String() string {
	return [...]string{"none", "prepare", "pre_accept", "accept", "reject", "terminate", "connect"}[r]
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
	var barred *whatsapp.BarredError
	switch {
	case err == nil:
		return graphReply{}
	case r == reqPrepare && errors.Is(err, media.ErrNoCodec):
		return graphReply{resultHopeless, NoCodec}
	case r == reqPrepare, errors.As(err, &notMade{}):
		return graphReply{resultHopeless, MediaFailed}
	case errors.As(err, &barred) && barred.Why == whatsapp.BarredBudget:
		return graphReply{resultTemporary, APIDown}
	case errors.As(err, &barred):
		return graphReply{resultBarred, causeOfBarred(barred)}
	case r == reqConnect && errors.Is(err, whatsapp.ErrUnknown):
		return graphReply{resultUnknown, APITimeout}
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
	case api.InProgress() && (r == reqAccept || r == reqPreAccept): // an earlier one worked
		return graphReply{}
	case r == reqConnect && (api.Temporary() || api.Status >= http.StatusInternalServerError):
		return graphReply{resultTemporary, causeOfAPI(api)}
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
		return graphReply{resultHopeless, causeOfAPI(api)}
	}
	return graphReply{resultRefused, causeOfAPI(api)}
}

// The codes that every request of the call would meet again.
const (
	codeNoNumber = 33
	codeInvalid  = 100 // our SDP, where it is not the state of the call
	codeToken    = 190
	codeBadSDP   = 138008
)

func hopeless(code int) bool { return code == codeInvalid || code == codeBadSDP || standing(code) }

package gateway

// Meta in the world of the model: what it does with a request, what its webhooks
// lead to, and what the WhatsApp leg asks of it.

// cloudTakes is Meta taking a request.
func (r *runner) cloudTakes() graphResult {
	w := &r.w
	c := &w.cloud
	switch c.req {
	case reqPrepare: // ours
		return resultOK
	case reqConnect:
		c.state = cloudLive
		return resultOK
	case reqPreAccept, reqAccept:
		if c.state == cloudLive {
			c.touched = true
			return resultOK
		}
	case reqReject, reqTerminate:
		wrong := c.req == reqReject && c.touched || c.req == reqTerminate && !c.touched && w.scene == sceneInbound
		switch {
		case c.state != cloudLive:
		case wrong:
			return resultRefused
		default:
			c.state = cloudGone
			r.hook(hookTerminate)
			return resultOK
		}
	case noReq:
	}
	return resultGone
}

func (r *runner) cloudReplies(result graphResult) {
	c := &r.w.cloud
	c.rep, c.result = c.req, result
	c.req = noReq
}

func (r *runner) hook(h hook) {
	r.w.cloud.hooks[h]++
	r.w.cloud.sent[h] = true
}

// hookArrives is the registry's part: which call a webhook is for.
func (r *runner) hookArrives(h hook) {
	w := &r.w
	w.told = w.told || h == hookTerminate
	switch {
	case w.scene == sceneInbound && h == hookConnect:
		if !w.born && !w.tombstone { // else dead on arrival, or said twice
			w.born = true
			w.m.start(r)
		}
	case w.scene == sceneInbound && !w.born:
		w.tombstone = true
	case w.scene == sceneInbound:
		w.wi.terminated(NoCause, &r.graph)
	case w.wo.orphaned() && w.m.Phase == Ended: // our tag, and nobody owns the call
		if h != hookTerminate && h != hookRejected {
			w.stray = true
		}
	default:
		r.hookOut(h)
	}
}

func (r *runner) hookOut(h hook) {
	w := &r.w
	switch h {
	case hookRinging:
		w.wo.ringing(&r.graph)
	case hookAnswer:
		w.wo.named(&r.graph)
		if !w.wo.Closed && !w.wo.HasAnswer {
			w.cloud.applied = 1
		}
	case hookAccepted:
		w.wo.accepted(&r.graph)
	case hookRejected:
		w.wo.rejected(&r.graph)
	case hookTerminate:
		w.wo.terminated(NoCause, &r.graph)
	case hookConnect, numHook:
	}
}

// graphLink is what the WhatsApp leg does.
type graphLink struct{ r *runner }

func (g *graphLink) emit(ev event) { g.r.emit(ev) }

func (g *graphLink) wait(t legTimer, _ uint8) { g.r.w.timers |= 1 << t }

func (g *graphLink) request(q graphReq) {
	w := &g.r.w
	if w.cloud.req != noReq || w.cloud.rep != noReq {
		g.r.fail("two Graph requests in flight on one leg")
	}
	switch q {
	case reqAccept:
		w.accepts++
		if w.accepts > 2 {
			g.r.fail("accept was sent a third time")
		}
		if w.m.Phase != Answering {
			g.r.fail("accept for a call that is not being answered")
		}
	case reqConnect:
		w.connects++
		if w.connects > 1 {
			g.r.fail("connect was sent twice: it could ring twice")
		}
	case reqReject, reqTerminate:
		if w.refused&(1<<q) != 0 {
			g.r.fail("an end request again that was refused")
		}
	case noReq, reqPrepare, reqPreAccept:
	}
	w.cloud.req = q
}

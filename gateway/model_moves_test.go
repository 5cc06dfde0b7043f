package gateway

import "fmt"

func named(s string) func(uint8) string { return func(uint8) string { return s } }

// The moves, each made once: a walk makes millions.
var (
	mRouted      = move{name: named("routed"), do: func(r *runner, _ uint8) { r.w.routed = true; r.emit(routed{r.w.m.Plan}) }}
	mRouteFailed = move{name: named("no route"), do: func(r *runner, _ uint8) { r.w.routed = true; r.emit(routeFailed{NoRoute}) }}
	mStop        = move{name: named("stop"), free: true, do: func(r *runner, _ uint8) { r.w.budget.stops--; r.emit(stopped{Draining}) }}
	mDeadline    = move{name: named("the deadline passes"), free: true, do: func(r *runner, _ uint8) {
		r.w.budget.stops--
		r.emit(deadline{Stamp: r.w.armed})
	}}
	mRingTimer = move{name: named("rang long enough"), free: true, do: func(r *runner, _ uint8) { r.emit(deadline{Stamp: r.w.armed}) }}
	mLateTimer = move{name: named("a timer of an earlier turn"), free: true, do: func(r *runner, _ uint8) {
		r.emit(deadline{Stamp: stamp{r.w.m.Phase, r.w.m.Turn - 1}})
	}}
	mOldTimer = move{name: named("the timer of Routing"), free: true, do: func(r *runner, _ uint8) { r.emit(deadline{Stamp: stamp{Routing, 1}}) }}

	mPeerGets = move{
		name: func(a uint8) string { return fmt.Sprintf("phone %d gets %s", a>>4, msgNames[a&15]) },
		do: func(r *runner, a uint8) {
			i, m := a>>4, msg(a&15)
			r.w.lines[i].toPeer.take(m)
			if r.w.scene == sceneOutbound && i == 0 {
				r.callerGets(m)
			} else {
				r.calleeGets(i, m)
			}
		},
	}
	mWeGet = move{
		name: func(a uint8) string { return "phone 0 sent " + msgNames[a] },
		do: func(r *runner, a uint8) {
			r.w.lines[0].toUs.take(msg(a))
			r.callingGets(msg(a))
		},
	}
	mNote = move{
		name: func(a uint8) string { return fmt.Sprintf("news of phone %d", a) },
		do: func(r *runner, a uint8) {
			n := r.w.lines[a].box.take()
			switch {
			case a == 1 && r.w.rel.Leg != 0:
				r.noteRelief(n)
			case r.w.scene == sceneInbound:
				r.noteOut(&r.w.so[a], &r.w.so[a].dialled, &r.ports[a], n)
			case r.w.scene == sceneOutbound:
				r.noteIn(n)
			case r.w.scene == sceneClicked:
				r.noteOut(&r.w.su, &r.w.su.dialled, &r.ports[0], n)
			}
		},
	}
	mRings   = move{name: func(a uint8) string { return fmt.Sprintf("phone %d rings", a) }, do: func(r *runner, a uint8) { r.phoneRings(a) }}
	mPicks   = move{name: func(a uint8) string { return fmt.Sprintf("phone %d picks up (%d)", a>>4, a&15) }, do: func(r *runner, a uint8) { r.phonePicks(a>>4, note(a&15)) }}
	mRefuses = move{
		name: func(a uint8) string { return fmt.Sprintf("phone %d refuses (%d)", a>>4, a&15) },
		do:   func(r *runner, a uint8) { r.phoneRefuses(a>>4, note(a&15)) },
	}
	mSilent = move{name: func(a uint8) string { return fmt.Sprintf("phone %d is silent too long", a) }, free: true, do: func(r *runner, a uint8) {
		r.w.budget.losses--
		r.w.lines[a].silent = true
		r.note(a, noteFailed)
	}}
	mPeerBye    = move{name: func(a uint8) string { return fmt.Sprintf("phone %d hangs up", a) }, free: true, do: func(r *runner, a uint8) { r.phoneHangsUp(a) }}
	mPeerCancel = move{name: named("phone 0 gives up"), free: true, do: func(r *runner, _ uint8) {
		r.w.lines[0].gaveUp = true
		r.w.lines[0].toUs.put(msgCANCEL)
	}}
	mNoAck = move{name: named("the ACK never comes"), do: func(r *runner, _ uint8) {
		l := &r.w.lines[0]
		r.w.budget.losses--
		l.toUs.take(msgACK)
		l.byeOut = true
		l.toPeer.put(msgBYE)
		r.note(0, noteNoAck)
	}}
	mSpoken = move{name: named("the prompt was heard out, or would be by now"), do: func(r *runner, _ uint8) {
		r.w.untold = false
		r.w.si.spoken(&r.ports[0])
	}}
	mTransfer = move{name: named("the PBX transfers"), free: true, do: func(r *runner, _ uint8) {
		w := &r.w
		w.budget.transfers--
		w.told200 = false
		w.lines[1] = line{}
		w.rel = relief{Leg: 2, Plan: newPlan(1)}
		w.hand.Leg = 2
		w.rel.dial(&r.ports[1])
	}}
	mPickup = move{name: named("another phone picks up"), free: true, do: func(r *runner, _ uint8) {
		w := &r.w
		w.budget.transfers--
		w.lines[1] = line{phone: phoneTalking, rung: true, final: true}
		w.rel = relief{Leg: 2, Plan: newPlan(1), dialled: dialled{Sent: true, Proceeding: true, Rung: true, Up: true}}
		w.hand.Leg = 2
		r.emit(newcomerUp{2})
	}}
	mTooLong = move{name: named("the new phone rings too long"), free: true, do: func(r *runner, _ uint8) { r.w.rel.hangup(NoAnswer, &r.ports[1]) }}

	mHandled  = move{name: named("Meta handles the request"), do: func(r *runner, _ uint8) { r.cloudReplies(r.cloudTakes()) }}
	mReqLost  = move{name: named("the request is lost"), do: func(r *runner, _ uint8) { r.w.budget.losses--; r.cloudReplies(resultUnknown) }}
	mRepLost  = move{name: named("the request is handled, the reply lost"), do: func(r *runner, _ uint8) { r.w.budget.losses--; r.cloudTakes(); r.cloudReplies(resultUnknown) }}
	mRepBad   = move{name: named("the request is handled, the reply an error"), do: func(r *runner, _ uint8) { r.w.budget.losses--; r.cloudTakes(); r.cloudReplies(resultTemporary) }}
	mBusyMeta = move{name: named("Meta is busy"), do: func(r *runner, _ uint8) { r.w.budget.losses--; r.cloudReplies(resultTemporary) }}
	mRefused  = move{name: named("Meta refuses"), do: func(r *runner, a uint8) {
		if r.w.cloud.req == reqConnect {
			r.w.cloud.state = cloudGone
		}
		r.cloudReplies(graphResult(a))
	}}
	mReply = move{name: named("the reply arrives"), do: func(r *runner, _ uint8) {
		c := &r.w.cloud
		q, rep := c.rep, graphReply{Result: c.result}
		c.rep, c.result = noReq, resultOK
		if rep.Result == resultRefused && (q == reqReject || q == reqTerminate) {
			r.w.refused |= 1 << q
		}
		if r.w.scene == sceneInbound {
			r.w.wi.reply(q, rep, &r.graph)
		} else {
			r.w.wo.reply(q, rep, &r.graph)
		}
	}}
	mTimeout = move{name: func(a uint8) string { return fmt.Sprintf("leg timer %d", a) }, do: func(r *runner, a uint8) {
		r.w.timers &^= 1 << a
		if r.w.scene == sceneInbound {
			r.w.wi.timeout(legTimer(a), &r.graph)
		} else {
			r.w.wo.timeout(legTimer(a), &r.graph)
		}
	}}
	mMediaUp = move{name: named("the peer connection is up"), free: true, do: func(r *runner, _ uint8) {
		if r.w.scene == sceneInbound {
			r.w.wi.mediaReady(&r.graph)
		} else {
			r.w.wo.mediaReady(&r.graph)
		}
	}}
	mUserEnds = move{name: named("the user hangs up"), free: true, do: func(r *runner, _ uint8) {
		r.w.cloud.state = cloudGone
		r.hook(hookTerminate)
	}}
	mMetaHook  = move{name: func(a uint8) string { return "Meta sends " + hookNames[a] }, free: true, do: func(r *runner, a uint8) { r.hook(hook(a)) }}
	mUserPicks = move{name: named("the user picks up"), free: true, do: func(r *runner, _ uint8) {
		r.w.cloud.picked = true
		r.hook(hookAccepted)
	}}
	mUserRejects = move{name: named("the user rejects"), free: true, do: func(r *runner, _ uint8) {
		r.w.cloud.state = cloudGone
		r.hook(hookRejected)
		r.hook(hookTerminate)
	}}
	mAudio     = move{name: named("first audio of the user"), do: func(r *runner, _ uint8) { r.w.cloud.heard = true; r.w.wo.heard(&r.graph) }}
	mApplied   = move{name: named("the user's SDP is applied"), do: func(r *runner, _ uint8) { r.w.cloud.applied = 0; r.w.wo.answered(&r.graph) }}
	mHook      = move{name: func(a uint8) string { return "webhook " + hookNames[a] }, do: func(r *runner, a uint8) { r.w.cloud.hooks[a]--; r.hookArrives(hook(a)) }}
	mHookTwice = move{name: func(a uint8) string { return "webhook " + hookNames[a] + ", to be repeated" }, do: func(r *runner, a uint8) { r.w.budget.dups--; r.hookArrives(hook(a)) }}
	mStray     = move{name: named("the stray call is terminated"), do: func(r *runner, _ uint8) {
		r.w.stray = false
		if r.w.cloud.state == cloudLive {
			r.w.cloud.state = cloudGone
			r.hook(hookTerminate)
		}
	}}
)

func with(m move, arg uint8) move {
	m.arg = arg
	return m
}

// moves appends everything that may happen next.
func (r *runner) moves(ms []move) []move {
	w := &r.w
	if w.abandoned {
		return ms // what is left are debts: the reaper's business
	}
	if w.born && !w.routed && w.m.Phase == Routing {
		ms = append(ms, mRouted, mRouteFailed)
	}
	if w.born && w.m.Phase < Ended {
		if w.budget.stops > 0 {
			ms = append(ms, mDeadline)
			if w.m.Phase < Ending || w.playing {
				ms = append(ms, mStop)
			}
		}
		if w.m.Phase == Ringing {
			ms = append(ms, mRingTimer)
		}
		ms = append(ms, mLateTimer)
		if w.m.Turn > 1 {
			ms = append(ms, mOldTimer)
		}
	}
	ms = r.lineMoves(ms)
	ms = r.requestMoves(ms)
	return r.userMoves(ms)
}

func (r *runner) lineMoves(ms []move) []move {
	w := &r.w
	for i := range w.lines {
		l, at := &w.lines[i], uint8(i)<<4
		for m := range numMsg {
			if l.toPeer.has(m) {
				ms = append(ms, with(mPeerGets, at|uint8(m)))
			}
			if i == 0 && l.toUs.has(m) {
				ms = append(ms, with(mWeGet, uint8(m)))
			}
		}
		if l.box[0] != noNote {
			ms = append(ms, with(mNote, uint8(i)))
		}
		dialled := w.scene != sceneOutbound || i == 1
		if dialled && l.phone == phoneInvited {
			if !l.rung {
				ms = append(ms, with(mRings, uint8(i)))
			}
			ms = append(ms, with(mPicks, at|uint8(noteAccepted)), with(mPicks, at|uint8(noteUnusable)), with(mRefuses, at|uint8(noteRefused)), with(mRefuses, at|uint8(noteDeclined)))
		}
		if dialled && w.budget.losses > 0 && !l.rung && !l.silent && l.phone == phoneInvited {
			ms = append(ms, with(mSilent, uint8(i)))
		}
		if l.phone == phoneTalking {
			ms = append(ms, with(mPeerBye, uint8(i)))
		}
	}
	if w.scene == sceneOutbound {
		l := &w.lines[0]
		if l.phone == phoneInvited && !l.gaveUp {
			ms = append(ms, mPeerCancel)
		}
		if w.untold {
			ms = append(ms, mSpoken)
		}
		if w.budget.losses > 0 && l.toUs.has(msgACK) && !l.byeOut && l.phone == phoneTalking {
			ms = append(ms, mNoAck)
		}
	}
	if w.budget.transfers > 0 && w.m.Phase == Active && w.hand.Leg == 0 && w.lines[0].phone == phoneTalking && (w.rel.Leg == 0 || w.rel.Closed) {
		ms = append(ms, mTransfer)
	}
	rings := (w.m.Phase == Dialing || w.m.Phase == Ringing) && w.scene == sceneInbound && w.m.Attempt == 1
	if w.budget.transfers > 0 && rings && w.hand.Leg == 0 && w.lines[0].rung && w.lines[0].phone == phoneInvited && w.rel.Leg == 0 {
		ms = append(ms, mPickup)
	}
	if w.hand.Leg != 0 && !w.rel.WantEnd && !w.rel.Up && w.lines[1].rung {
		ms = append(ms, mTooLong)
	}
	return ms
}

func (r *runner) requestMoves(ms []move) []move {
	w := &r.w
	if w.cloud.req != noReq && w.cloud.rep == noReq {
		ms = append(ms, mHandled)
		if w.budget.losses > 0 && w.cloud.req != reqPrepare {
			ms = append(ms, mReqLost, mRepLost, mBusyMeta)
			if w.cloud.req == reqConnect {
				ms = append(ms, mRepBad)
			}
		}
		switch w.cloud.req {
		case reqConnect, reqAccept:
			ms = append(ms, with(mRefused, uint8(resultRefused)), with(mRefused, uint8(resultBarred)))
		case reqPrepare:
			ms = append(ms, with(mRefused, uint8(resultRefused)))
		case reqPreAccept:
			ms = append(ms, with(mRefused, uint8(resultRefused)), with(mRefused, uint8(resultHopeless)), with(mRefused, uint8(resultBarred)))
		case noReq, reqReject, reqTerminate:
		}
	}
	if w.cloud.rep != noReq {
		ms = append(ms, mReply)
	}
	for t := retryTimer; t <= adoptTimer; t++ {
		if w.timers&(1<<t) != 0 {
			ms = append(ms, with(mTimeout, uint8(t)))
		}
	}
	return ms
}

func (r *runner) userMoves(ms []move) []move {
	w := &r.w
	c := &w.cloud
	if c.state == cloudLive {
		ms = append(ms, mUserEnds)
		if w.scene == sceneInbound {
			if w.wi.Told && !w.wi.MediaUp && !w.wi.Up && !w.wi.Closed {
				ms = append(ms, mMediaUp)
			}
		} else {
			for _, h := range [...]hook{hookRinging, hookAnswer} {
				if !c.sent[h] {
					ms = append(ms, with(mMetaHook, uint8(h)))
				}
			}
			if w.wo.HasAnswer && !w.wo.MediaUp && !w.wo.Closed {
				ms = append(ms, mMediaUp)
			}
			if !c.picked {
				ms = append(ms, mUserPicks, mUserRejects)
			} else if w.wo.HasAnswer && !c.heard {
				ms = append(ms, mAudio)
			}
		}
	}
	if c.applied == 1 {
		ms = append(ms, mApplied)
	}
	for h := range numHook {
		if c.hooks[h] > 0 {
			ms = append(ms, with(mHook, uint8(h)))
			if w.budget.dups > 0 {
				ms = append(ms, with(mHookTwice, uint8(h)))
			}
		}
	}
	if w.stray {
		ms = append(ms, mStray)
	}
	return ms
}

// notePhone gives a phone that we dial the news of its session. unusable takes an
// answer whose SDP we cannot use.
func notePhone(l phoneTable, p sipPort, n note, unusable func()) {
	switch n {
	case notePrepared:
		l.prepared(p)
	case noteRinging:
		l.ringing(p)
	case noteAccepted:
		l.accepted(p)
	case noteUnusable:
		unusable()
	case noteRefused:
		l.refused(Busy, p)
	case noteDeclined:
		l.refused(Declined, p)
	case noteFailed:
		l.refused(Unreachable, p)
	case noteHungup, noteByeDone:
		l.hungup(p)
	case noNote, noteCancelled, noteAcked, noteNoAck:
	}
}

// noteOut gives an egress leg, or the agent's phone, the news of its session. An
// answer that we cannot use ends the call, and with it the leg.
func (r *runner) noteOut(l phoneTable, line *dialled, p sipPort, n note) {
	notePhone(l, p, n, func() {
		if line.Closed || line.WantEnd {
			l.accepted(p)
			return
		}
		l.unusable()
		r.emit(stopped{NoCodec})
	})
}

// noteRelief gives a phone that is to take the place of another the news of its
// session. An answer that we cannot use ends nothing but that phone.
func (r *runner) noteRelief(n note) {
	l, p := &r.w.rel, &r.ports[1]
	notePhone(l, p, n, func() {
		if l.Closed || l.WantEnd {
			l.accepted(p)
			return
		}
		l.unusable()
		l.hangup(NoCodec, p)
	})
}

// noteIn gives the ingress leg the news of its session.
func (r *runner) noteIn(n note) {
	l, p := &r.w.si, &r.ports[0]
	switch n {
	case noteCancelled:
		l.cancelled(p)
	case noteAcked:
		l.acked(p)
	case noteNoAck:
		l.unacked(p)
	case noteHungup, noteByeDone:
		l.hungup(p)
	case noNote, notePrepared, noteRinging, noteAccepted, noteUnusable, noteRefused, noteDeclined, noteFailed:
	}
}

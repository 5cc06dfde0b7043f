package gateway

// The actions of the machine: what the legs do about them, and what they must
// never be asked for.

func (r *runner) prepareIn() {
	w := &r.w
	if w.prepared {
		r.fail("the ingress leg was prepared twice")
	}
	w.prepared = true
	switch w.scene {
	case sceneInbound:
		w.wi.prepare(&r.graph)
	case sceneOutbound:
		w.si.prepare(&r.ports[0])
	case sceneClicked:
		w.su.prepare(&r.ports[0])
	}
}

func (r *runner) dialOut(leg uint8) {
	w := &r.w
	if w.scene != sceneInbound {
		w.wo = graphEgress{Leg: leg}
		w.wo.dial(&r.graph)
		return
	}
	if w.told {
		r.fail("rang a phone for a call that we knew was over")
	}
	i := slot(leg)
	if old := leg - 1; old > 0 && !w.so[slot(old)].Closed && w.dropped&(1<<slot(old)) == 0 {
		r.fail("dialled the next trunk while the last one is alive and not given up")
	}
	if leg > 2 {
		r.fail("more attempts than the plan has")
	}
	w.so[i] = sipEgress{Leg: leg}
	w.so[i].dial(&r.ports[i])
}

func (r *runner) ringIn() {
	w := &r.w
	switch w.scene {
	case sceneInbound: // Meta has no such request
	case sceneOutbound:
		w.si.ring(&r.ports[0])
	case sceneClicked:
		w.su.ring(&r.ports[0])
	}
}

func (r *runner) answerIn() {
	w := &r.w
	if w.scene != sceneInbound && !w.cloud.picked {
		r.fail("answered the caller before the user picked up")
	}
	if w.scene != sceneInbound && !w.wo.HasAnswer {
		r.fail("answered the caller before the user's audio is known")
	}
	if w.scene != sceneInbound && !w.wo.MediaUp {
		r.fail("answered the caller before the user can be heard")
	}
	if w.scene == sceneInbound && !r.pickedUp() {
		r.fail("answered the caller before the phone was picked up")
	}
	switch w.scene {
	case sceneInbound:
		w.wi.answer(&r.graph)
	case sceneOutbound:
		w.si.answer(&r.ports[0])
	case sceneClicked:
		w.su.answer(&r.ports[0])
	}
}

func (r *runner) hangupIn(c Cause) {
	w := &r.w
	defer r.dismiss(true, c)
	if w.m.Caller != 0 {
		w.rel.hangup(c, &r.ports[1])
		return
	}
	switch w.scene {
	case sceneInbound:
		w.wi.hangup(&r.graph)
	case sceneOutbound:
		w.si.hangup(c, w.announced && c != Draining, &r.ports[0])
	case sceneClicked:
		w.su.hangup(c, &r.ports[0])
	}
}

func (r *runner) hurryIn() {
	if r.w.scene == sceneOutbound {
		r.w.si.spoken(&r.ports[0])
	}
}

func (r *runner) hangupOut(leg uint8, c Cause) {
	defer r.dismiss(false, c)
	if r.w.scene != sceneInbound {
		r.w.wo.hangup(&r.graph)
		return
	}
	r.hangupPhone(leg, c)
}

func (r *runner) hangupPhone(leg uint8, c Cause) {
	if leg == r.w.rel.Leg {
		r.w.rel.hangup(c, &r.ports[1])
		return
	}
	i := slot(leg)
	r.w.so[i].hangup(c, &r.ports[i])
}

// dismiss ends the phone that is on its way to that side.
func (r *runner) dismiss(in bool, c Cause) {
	if r.w.hand.companion(in) != 0 {
		r.w.rel.hangup(c, &r.ports[1])
	}
}

func (r *runner) drop(leg uint8, c Cause) {
	switch {
	case leg != 0:
		r.w.dropped |= 1 << slot(leg)
		r.hangupPhone(leg, c)
	case r.w.scene == sceneOutbound:
		r.w.si.hangup(c, false, &r.ports[0])
	case r.w.scene == sceneClicked:
		r.w.su.hangup(c, &r.ports[0])
	case r.w.scene == sceneInbound:
		r.fail("dropped the user")
	}
}

func (r *runner) startBridge() {
	w := &r.w
	var in, out bool
	switch w.scene {
	case sceneInbound:
		in, out = w.wi.Up, r.pickedUp()
	case sceneOutbound:
		in, out = w.si.Up, w.wo.Up
	case sceneClicked:
		in, out = w.su.Up, w.wo.Up
	}
	if !in || !out {
		r.fail("bridged before both legs are up")
	}
}

// pickedUp tells whether somebody has the user's call.
func (r *runner) pickedUp() bool {
	w := &r.w
	if w.rel.Leg != 0 && w.m.Attempt == w.rel.Leg {
		return w.rel.Up
	}
	return w.so[slot(w.m.Attempt)].Up
}

func (r *runner) stopBridge() {}

func (r *runner) swap(leg uint8, in bool) {
	if leg != r.w.rel.Leg || !r.w.rel.Up || in != (r.w.scene != sceneInbound) {
		r.fail("bridged a leg that is not up")
	}
	if r.w.rel.WantEnd {
		r.fail("bridged a phone that is hung up")
	}
	if !r.w.told200 {
		r.fail("a transfer that is through and nobody was told")
	}
}

func (r *runner) pickUp(leg uint8) {
	switch {
	case leg != r.w.rel.Leg || !r.w.rel.Up || r.w.rel.WantEnd:
		r.fail("a phone that is not up has the call")
	case r.w.scene != sceneInbound || r.w.m.Bridged:
		r.fail("picked up what does not ring")
	}
}

// The port of the handover.

func (r *runner) tell(ev event) {
	if r.w.hand.Leg != 0 {
		_, in := ev.(callerEnded)
		out, isOut := ev.(calleeEnded)
		if in && r.w.hand.In || isOut && !r.w.hand.In && out.Leg == r.w.m.Attempt {
			r.fail("the call ends with its phone while another one is on its way")
		}
	}
	r.queue = append(r.queue, ev)
}

func (r *runner) inform(status int) {
	if status == 200 {
		r.w.told200 = true
	}
}

func (r *runner) comfort() {}

func (r *runner) arm(s stamp) { r.w.armed = s }

func (r *runner) record(c Cause, abandoned bool) {
	w := &r.w
	w.records++
	w.abandoned = abandoned
	switch {
	case w.records != 1:
		r.fail("not exactly one record")
	case c == NoCause:
		r.fail("record without a cause")
	case w.m.Bridged:
		r.fail("ended with the bridge running")
	case !abandoned && !w.legsOver():
		r.fail("ended with a leg open")
	case !abandoned && w.playing:
		r.fail("ended with the prompt playing")
	}
	if w.wo.Adrift { // its end is owed, and the leg is no more
		w.wo.Adrift, w.stray = false, true
	}
}

func (w *world) legsOver() bool {
	if w.rel.Leg != 0 && !w.rel.Closed {
		return false
	}
	switch w.scene {
	case sceneInbound:
		for i := range w.so {
			if w.so[i].Leg != 0 && !w.so[i].Closed {
				return false
			}
		}
		return w.wi.Closed
	case sceneOutbound:
		return w.si.Closed && (w.wo.Leg == 0 || w.wo.Closed)
	case sceneClicked:
		return w.su.Closed && (w.wo.Leg == 0 || w.wo.Closed)
	}
	return false
}

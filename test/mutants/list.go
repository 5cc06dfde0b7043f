package main

// mutant is one deliberate mistake.
type mutant struct {
	name  string
	file  string
	edits []edit
	// harmless says why the model may miss it.
	harmless string
}

// edit replaces every occurrence.
type edit struct{ old, new string }

func one(name, file, from, to string) mutant {
	return mutant{name: name, file: file, edits: []edit{{from, to}}}
}

func harmless(why string, m mutant) mutant {
	m.harmless = why
	return m
}

const (
	inMachine  = "machine.go"
	inGraph    = "leg_graph.go"
	inSIP      = "leg_sip.go"
	inHandover = "handover.go"
	inWorld    = "model_world_test.go" // what the SIP stack promises
	inCloud    = "model_cloud_test.go" // what the registry promises
)

var mutants = []mutant{
	// The machine.
	one("a leg that ends during Ending is not noted", inMachine,
		"\t\tm.note(ev)\n\t\tm.ending(ev, do)", "\t\tm.ending(ev, do)"),
	one("timers are not tied to their phase", inMachine,
		"\tif ev.Stamp != (stamp{m.Phase, m.Turn}) {\n\t\treturn // armed for a phase that is over\n\t}\n", ""),
	one("the last cause wins", inMachine,
		"\tcase callerEnded, calleeEnded:\n\t\tm.finishIfOver(do)",
		"\tcase callerEnded:\n\t\tm.Cause = ev.Cause\n\t\tm.finishIfOver(do)\n\tcase calleeEnded:\n\t\tm.Cause = ev.Cause\n\t\tm.finishIfOver(do)"),
	one("the bridge starts when the callee answers", inMachine,
		"\t\tdo.answerIn()\n", "\t\tdo.startBridge()\n\t\tdo.answerIn()\n"),
	one("the end of a call does not hang up the caller", inMachine,
		"\tif m.In == legOpen {\n\t\tdo.hangupIn(c)\n\t}\n", ""),
	one("the end of a call does not hang up the callee", inMachine,
		"\tif m.Out == legOpen {\n\t\tdo.hangupOut(m.Attempt, c)\n\t}\n", ""),
	one("the bridge runs on when the call ends", inMachine,
		"\tif m.Bridged {\n\t\tm.Bridged = false\n\t\tdo.stopBridge()\n\t}\n", ""),
	one("a phase is entered without its timer", inMachine,
		"\tm.Turn++\n\tdo.arm(stamp{p, m.Turn})", "\tm.Turn++"),
	one("the next phone rings and the one before is not hung up", inMachine,
		"\tm.Leaving++\n\tdo.drop(leg, c)", "\tm.Leaving++"),
	one("the call does not wait for a phone that was given up", inMachine,
		"\tm.Leaving++\n\tdo.drop(leg, c)", "\tdo.drop(leg, c)"),
	one("the end of a phone that was given up is the end of the current one", inMachine,
		"\t\tcase ev.Leg == m.Attempt:", "\t\tcase ev.Leg <= m.Attempt:"),
	one("a transfer leaves the replaced leg up", inMachine,
		"\t\tm.leave(old, Hangup, do)\n", "\t\t_ = old\n"),
	one("a phone that picked up leaves the other one ringing", inMachine,
		"\t\tdo.pickUp(ev.Leg)\n\t\tm.leave(old, Hangup, do)\n", "\t\tdo.pickUp(ev.Leg)\n\t\t_ = old\n"),
	one("nobody takes the user's call for a phone that picked up", inMachine,
		"\t\tm.leave(old, Hangup, do)\n\t\tdo.answerIn()\n", "\t\tm.leave(old, Hangup, do)\n"),
	harmless("a phone that is hung up with the call never says that it is up",
		one("a transfer that comes during Ending leaves the new leg up", inMachine,
			"\tcase replaced:\n\t\tm.replaced(ev, do)\n\tcase callerEnded, calleeEnded:", "\tcase replaced:\n\tcase callerEnded, calleeEnded:")),
	one("the end of a caller that was replaced ends the call", inMachine,
		"\t\tif ev.Leg == m.Caller {\n\t\t\tm.end(ev.Cause, doing(ev.Cause, byCaller), do)\n\t\t}", "\t\tm.end(ev.Cause, doing(ev.Cause, byCaller), do)"),
	one("the end of a caller that was replaced is the end of the current one", inMachine,
		"\t\tcase ev.Leg == m.Caller:", "\t\tcase ev.Leg <= m.Caller:"),

	// A transfer.
	one("the end of a phone is told while the next one rings", inHandover,
		"\tif !talked || h.Leg == 0 {", "\tif !talked || h.Leg != 0 {"),
	one("the end of a phone that was held back is forgotten", inHandover,
		"\tif h.Left {\n\t\th.Left = false", "\tif false {\n\t\th.Left = false"),
	one("a transfer that fails is not over", inHandover,
		"\t\th.Leg = 0\n\t\tp.inform(ev.Cause.toldStatus())", "\t\tp.inform(ev.Cause.toldStatus())"),
	one("a new phone that is up does not take over", inHandover,
		"\t\t\tp.tell(replaced{ev.Leg, h.In})\n", ""),
	one("the end of a call leaves the new phone ringing", inHandover,
		"\tif in != h.In {\n\t\treturn 0\n\t}\n\treturn h.Leg", "\treturn 0"),
	one("a new phone takes the place of the user", inHandover,
		"p.tell(replaced{ev.Leg, h.In})", "p.tell(replaced{ev.Leg, !h.In})"),
	one("whoever asked is not told that the transfer is through", inHandover,
		"\t\t\tp.inform(200)\n", ""),
	one("a new phone that is up after the hangup takes over", inHandover,
		"func (l *relief) accepted(p sipPort) { l.tell(l.dialled.accepted(p), NoCause, p) }",
		"func (l *relief) accepted(p sipPort) { l.dialled.accepted(p); l.tell(newsAnswered, NoCause, p) }"),
	one("a phone that took over ends as one that did not", inHandover,
		"\t\t\th.ended(h.over(ev.Leg, ev.Cause), ev.Leg == talks, ev.Cause, p)\n\t\t\treturn\n", "\t\t\treturn\n"),
	one("a summoned phone is dialled again when the call is routed", inMachine,
		"\tif !m.Summoned {\n\t\tdo.prepareIn()\n\t}\n", "\tdo.prepareIn()\n"),
	one("a summoned phone that was given up is dialled at the next address", inSIP,
		"if !l.Closed && !l.Up && !l.WantEnd && l.Plan.next(c.retry()) {", "if !l.Closed && !l.Up && l.Plan.next(c.retry()) {"),
	harmless("a leg collapses repeats before the machine sees them",
		one("repeated answers are not collapsed", inMachine,
			"\tcase Dialing, Ringing:\n\t\tm.enter(Answering, do)\n\t\tdo.answerIn()\n\tcase Answering, Active: // said twice\n",
			"\tcase Dialing, Ringing, Answering, Active:\n\t\tm.enter(Answering, do)\n\t\tdo.answerIn()\n")),
	one("a stop waits for a prompt", inMachine,
		"\t\tif m.In == legOpen {\n\t\t\tdo.hurryIn()\n\t\t}\n", ""),

	// A WhatsApp user calls.
	one("a failed accept is taken as the end of the call", inGraph,
		"\tdefault: // it may still ring, or even be up\n\t\tp.emit(callerFailed{AnswerFailed})", "\tdefault:\n\t\tl.end(NoCause, p)"),
	one("a call takes webhooks only after accept", inGraph,
		"\tif !l.Closed {\n\t\tl.end(c, p)", "\tif !l.Closed && l.Up {\n\t\tl.end(c, p)"),
	one("two Graph requests at once on one leg", inGraph,
		"\tif l.Busy == noReq {\n\t\tl.requestEnd(p)\n\t}\n", "\tl.requestEnd(p)\n"),
	one("an accept that succeeds after the hangup connects", inGraph,
		"\tcase l.WantEnd:\n\t\tl.requestEnd(p)\n\tcase rep.Result == resultOK:\n\t\tl.Up = true", "\tcase rep.Result == resultOK:\n\t\tl.Up = true"),
	one("accept is repeated twice", inGraph, "l.Accepts < 2", "l.Accepts < 3"),
	one("a hangup while the answer is made is forgotten", inGraph,
		"\tcase l.WantEnd:\n\t\tl.requestEnd(p)\n\tcase rep.Result != resultOK:", "\tcase rep.Result != resultOK:"),
	one("an answer while the answer is made is forgotten", inGraph,
		"\tcase l.WantAnswer:\n\t\tl.accept(p)\n\tcase !l.SkipPre:", "\tcase !l.SkipPre && !l.WantAnswer:"),
	one("accept waits for media for ever", inGraph,
		"\t\tif l.PeerWait {\n\t\t\tl.PeerWait = false\n\t\t\tl.requestAccept(p)\n\t\t}\n\tcase acceptTimer:", "\tcase acceptTimer:"),
	one("an accept that waits for media survives the hangup", inGraph,
		"\tl.PeerWait = false\n\tl.Next = noReq\n", "\tl.Next = noReq\n"),
	one("an accept that waits to be repeated survives the hangup", inGraph,
		"\tl.PeerWait = false\n\tl.Next = noReq\n", "\tl.PeerWait = false\n"),
	{
		name: "a terminate whose reply is lost is taken as done (ingress)", file: inGraph,
		edits: []edit{
			{"\tcase resultOK, resultGone:\n\t\tl.end(NoCause, p)", "\tcase resultOK, resultGone, resultUnknown:\n\t\tl.end(NoCause, p)"},
			{"\tcase resultTemporary, resultUnknown: // harmless to repeat", "\tcase resultTemporary:"},
		},
	},
	{
		name: "reject after pre_accept, and no second try with the other verb", file: inGraph,
		edits: []edit{
			{"\tif l.Touched {\n\t\tl.request(reqTerminate, p)\n\t} else {\n\t\tl.request(reqReject, p)\n\t}\n", "\tl.request(reqReject, p)\n"},
			{"\t\tcase !l.NoTerminate:", "\t\tcase false:"},
			{"\t\tcase !l.NoReject:", "\t\tcase false:"},
		},
	},
	one("any refusal of the end request means that the call is over", inGraph,
		"\t\tcase !l.NoTerminate:\n\t\t\tl.request(reqTerminate, p)\n\t\tcase !l.NoReject:\n\t\t\tl.request(reqReject, p)\n", ""),
	one("the same verb again after a refusal", inGraph,
		"\t\tcase !l.NoTerminate:\n\t\t\tl.request(reqTerminate, p)\n\t\tcase !l.NoReject:\n\t\t\tl.request(reqReject, p)\n", "\t\tcase !l.NoTerminate || !l.NoReject:\n\t\t\tl.request(r, p)\n"),

	// We call a WhatsApp user.
	one("a hangup while connect is in flight is forgotten", inGraph,
		"\tif l.WantEnd {\n\t\tl.proceedToEnd(p)\n\t}\n", ""),
	one("webhooks that overtake the connect reply are dropped", inGraph,
		"\n\tl.Placed = true\n", "\n\tif !l.Placed {\n\t\treturn\n\t}\n"),
	one("answered as soon as the SDP answer comes", inGraph,
		"if l.HasAnswer && l.MediaUp && l.Picked && !l.Up", "if l.HasAnswer && l.MediaUp && !l.Up"),
	harmless("our peer connection is not up before the SDP answer is in it",
		one("answered without an SDP answer", inGraph,
			"if l.HasAnswer && l.MediaUp && l.Picked && !l.Up", "if l.MediaUp && l.Picked && !l.Up")),
	one("answered before audio can flow", inGraph,
		"if l.HasAnswer && l.MediaUp && l.Picked && !l.Up", "if l.HasAnswer && l.Picked && !l.Up"),
	one("a customer who took the call waits for media for ever", inGraph,
		"\t\tif l.Picked && !l.Up && !l.WantEnd {\n\t\t\tp.emit(mediaLost{MediaFailed})\n\t\t}\n", ""),
	one("a call of ours that nobody owns is not ended on sight", inGraph,
		"return l.Closed && l.Lost && !l.Placed", "return false"),
	one("a call that is named after it was given up is left alone", inGraph,
		"\t\tl.Placed, l.Adrift = true, true\n\t\tl.request(reqTerminate, p)\n", ""),
	one("a connect that failed at Meta is taken as never made", inGraph,
		"perhaps after the call was on its way\n\t\tl.Lost = true\n", "perhaps after the call was on its way\n"),
	one("a connect whose reply is lost is asked again", inGraph,
		"\t\tl.Lost = true // never ask again: it could ring twice\n", "\t\tl.dial(p)\n\t\treturn\n"),
	one("a lost connect that no webhook names is waited for", inGraph,
		"\t\tif l.Lost && !l.Placed {\n\t\t\tl.end(APITimeout, p)\n\t\t}\n", ""),
	{
		name: "a terminate whose reply is lost is taken as done (egress)", file: inGraph,
		edits: []edit{
			{"\t\tcase resultOK, resultGone:\n\t\t\tif l.Adrift", "\t\tcase resultOK, resultGone, resultUnknown:\n\t\t\tif l.Adrift"},
			{"\t\tcase resultRefused, resultHopeless, resultTemporary, resultUnknown:", "\t\tcase resultRefused, resultHopeless, resultTemporary:"},
		},
	},

	// SIP.
	one("a 200 that crosses our CANCEL is left alone", inSIP,
		"\t\tp.do(sipBye, l.Why)\n\t\treturn noNews\n", "\t\treturn l.end()\n"),
	one("a 200 that crosses our CANCEL is an answer", inSIP,
		"\t\tp.do(sipBye, l.Why)\n\t\treturn noNews\n", "\t\treturn newsAnswered\n"),
	one("an answer of no use is forgotten", inSIP,
		"\tif !l.Closed {\n\t\tl.Up, l.Proceeding = true, true\n\t}\n", ""),
	one("a CANCEL before the first response", inSIP,
		"\tcase l.Proceeding:\n\t\tl.cancel(p)\n", "\tdefault:\n\t\tl.cancel(p)\n"),
	one("a hangup before the first response is forgotten", inSIP,
		"\tif l.WantEnd && !l.CancelSent {\n\t\tl.cancel(p)\n\t}\n", ""),
	one("a hangup before the INVITE is forgotten", inSIP,
		"\tcase l.WantEnd: // nothing left, so nothing is to be undone\n\t\treturn l.end()\n", ""),
	one("a hangup between our 200 and its ACK is forgotten", inSIP,
		"\tcase l.Answering: // no BYE before the ACK (RFC 3261 section 15)\n", "\tcase l.Answering:\n\t\tl.WantEnd = false\n"),
	one("a hangup between our 200 and its ACK sends BYE at once", inSIP,
		"\tcase l.Answering: // no BYE before the ACK (RFC 3261 section 15)\n", "\tcase l.Answering:\n\t\tl.bye(c, p)\n"),
	one("an answer that a CANCEL beat is taken as sent", inSIP,
		"\tif !l.Closed {\n\t\tl.end(Cancelled, p)", "\tif !l.Closed && !l.Answering {\n\t\tl.end(Cancelled, p)"),
	one("a prompt after it rang", inSIP,
		"\tcase prompt && !l.Rung:", "\tcase prompt:"),
	one("a prompt in the place of the BYE after our 200", inSIP,
		"\tswitch {\n\tcase l.Up:\n\t\tl.bye(c, p)\n\tcase l.Answering:", "\tswitch {\n\tcase prompt && !l.Rung:\n\t\tl.Speaking = true\n\t\tp.do(sipSpeak, c)\n\tcase l.Up:\n\t\tl.bye(c, p)\n\tcase l.Answering:"),
	one("the call is over when its prompt begins", inSIP,
		"\t\tp.do(sipSpeak, c)\n", "\t\tp.do(sipSpeak, c)\n\t\tl.end(c, p)\n"),
	one("no refusal follows the prompt", inSIP,
		"\tif l.Speaking {\n\t\tl.refuse(p)\n\t}\n", ""),
	one("a prompt that is heard out leaves the refusal away", inSIP,
		"\tif l.Speaking {\n\t\tl.refuse(p)\n\t}\n", "\tif l.Speaking {\n\t\tl.end(l.Why, p)\n\t}\n"),
	one("a prompt whose end comes twice refuses twice", inSIP,
		"\tif l.Speaking {\n\t\tl.refuse(p)\n\t}\n", "\tl.refuse(p)\n"),
	one("the prompt plays on when the caller gives up", inSIP,
		"\tl.hush(p)\n\tl.Closed = true\n", "\tl.Closed = true\n"),
	one("the prompt plays into the refusal", inSIP,
		"\tl.hush(p)\n\tp.do(sipRefuse, l.Why)\n", "\tp.do(sipRefuse, l.Why)\n"),
	one("the prompt is stopped again and again", inSIP,
		"\t\tl.Speaking = false\n\t\tp.do(sipHush, NoCause)\n", "\t\tp.do(sipHush, NoCause)\n"),

	// What the model takes as promised by the registry and the SIP stack.
	one("a terminate before its connect leaves no tombstone", inCloud,
		"\t\tw.tombstone = true\n", ""),
	harmless("a phone whose late CANCEL we honour sends BYE anyway",
		one("a CANCEL that comes after our 200 ends the leg", inWorld,
			"\t\tif !l.final {\n\t\t\tl.final, l.cancelled = true, true",
			"\t\tif l.final && !l.cancelled {\n\t\t\tr.note(0, noteCancelled)\n\t\t}\n\t\tif !l.final {\n\t\t\tl.final, l.cancelled = true, true")),
}

package gateway

import "fmt"

// A forced move is one that somebody is bound to make: a message on the wire
// arrives, a request gets a reply, a timer fires. A free move is somebody's
// choice, so a state in which only free moves are left must be a good place to
// stay for ever.
type move struct {
	do   func(r *runner, arg uint8)
	arg  uint8
	free bool
	name func(arg uint8) string
}

// quiet says what is wrong with a state in which nothing more is bound to
// happen.
func (w *world) quiet() string {
	live := w.cloud.state == cloudLive
	if w.scene == sceneInbound && !w.born {
		if live {
			return "a live offer was ignored"
		}
		return ""
	}
	switch w.m.Phase {
	case Ending:
		return "stuck in Ending"
	case Ended:
		switch {
		case w.records != 1:
			return "not exactly one record"
		case live && (!w.wo.orphaned() || w.cloud.sent != [numHook]bool{}):
			// A call whose connect reply was lost is unknown to us until its
			// first webhook; Meta always sends one.
			return "WhatsApp call left alive"
		}
		for i := range w.lines {
			if p := w.lines[i].phone; p != phoneGone && p != phoneIdle {
				return fmt.Sprintf("SIP dialog left alive (phone in state %d)", p)
			}
		}
		return ""
	case Summoning, Routing, Dialing, Ringing, Answering, Active:
	}
	current := &w.lines[0]
	if w.scene == sceneInbound && w.m.Attempt > 0 {
		current = &w.lines[slot(w.m.Attempt)]
	}
	if w.m.Caller != 0 || w.hand.Left {
		current = &w.lines[1]
	}
	switch { // waiting for somebody to do something, unless all is done
	case w.cloud.state == cloudGone:
		return fmt.Sprintf("the WhatsApp side is gone and the call is still %v", w.m.Phase)
	case current.phone == phoneGone:
		return fmt.Sprintf("the SIP side is gone and the call is still %v", w.m.Phase)
	case w.scene != sceneInbound && w.cloud.picked && w.wo.HasAnswer && w.wo.MediaUp && w.m.Phase < Answering:
		return fmt.Sprintf("the user picked up and the call is still %v", w.m.Phase)
	case w.scene != sceneInbound && w.wo.Picked && !w.wo.Up && !w.wo.WantEnd && !w.wo.Closed:
		return "the user took the call and waits for ever"
	case w.scene != sceneClicked && current.phone == phoneTalking && w.m.Phase < Active:
		return fmt.Sprintf("both sides talk and the call is still %v", w.m.Phase)
	case w.m.Leaving > 0:
		return "a leg that was given up never left"
	case w.wo.Lost && !w.wo.Placed:
		return "waits for a call that nobody can name"
	}
	return ""
}

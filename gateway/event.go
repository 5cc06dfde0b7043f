package gateway

// event is something that happened to a call, in the words of the call machine.
// The set is closed. Events are comparable values.
//
// Egress legs are numbered by attempt, so an event of one that was given up
// cannot be taken for news of its successor.
//
//sumtype:decl
type event interface{ event() }

type (
	// summoned: the agent's phone, which we dialled as the ingress, is up.
	summoned struct{}

	// routed: the call may be placed, and this is where.
	routed struct{ Plan plan }

	// routeFailed: the call may not be placed.
	routeFailed struct{ Cause Cause }

	// calleeRinging: the egress leg alerts.
	calleeRinging struct{ Leg uint8 }

	// calleeAnswered: the egress leg is up.
	calleeAnswered struct{ Leg uint8 }

	// callerConnected: the ingress leg is up; from now on it may hear something.
	callerConnected struct{}

	// callerEnded: the ingress leg is over at both ends. Said once.
	callerEnded struct {
		Leg   uint8 // 0: the phone that called; another after a transfer
		Cause Cause
	}

	// callerFailed: the ingress leg can no longer be connected, but it is still
	// there and waits to be hung up.
	callerFailed struct{ Cause Cause }

	// calleeEnded: the egress leg is over at both ends. Said once.
	calleeEnded struct {
		Leg   uint8
		Cause Cause
		Over  bool // as in deadline
	}

	// mediaLost: the audio of one side never came up, or has gone; or the trunk
	// does not have the call any more (RFC 4028).
	mediaLost struct{ Cause Cause }

	// stopped: the gateway ends the call: shutdown, admin, a limit, a panic.
	stopped struct{ Cause Cause }

	// deadline: the timer of the call fired. One that was armed before the
	// phase was entered anew carries another stamp and is ignored.
	deadline struct {
		Stamp stamp
		// Over means that the caller's patience is at its end as well, so no
		// further target is tried.
		Over bool
	}

	// replaced: a new phone, which is up, takes the place of the one that talked
	// (a transfer).
	replaced struct {
		Leg uint8
		In  bool // on the caller's side
	}

	// newcomerRinging: a phone that is to take the place of another alerts. The
	// handover keeps this and the following from the machine.
	newcomerRinging struct{ Leg uint8 }

	// newcomerUp: that phone is up.
	newcomerUp struct{ Leg uint8 }

	// newcomerEnded: that phone is over at both ends, before or after it took
	// over. Said once.
	newcomerEnded struct {
		Leg   uint8
		Cause Cause
	}
)

func (summoned) event()        {}
func (routed) event()          {}
func (routeFailed) event()     {}
func (calleeRinging) event()   {}
func (calleeAnswered) event()  {}
func (callerConnected) event() {}
func (callerEnded) event()     {}
func (callerFailed) event()    {}
func (calleeEnded) event()     {}
func (mediaLost) event()       {}
func (stopped) event()         {}
func (deadline) event()        {}
func (replaced) event()        {}
func (newcomerRinging) event() {}
func (newcomerUp) event()      {}
func (newcomerEnded) event()   {}

// stamp names one stay in a phase. A timer carries the stamp of the stay that
// armed it.
type stamp struct {
	Phase Phase
	Turn  uint8 // how many phases were entered before
}

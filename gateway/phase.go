package gateway

// Phase says where a call is. A call goes through the phases in this order; it
// may leave some out, and only the next target takes it back, from Ringing to
// Dialing.
type Phase uint8

const (
	// Summoning means the agent's phone, which we dialled, is ringing. Only for calls
	// that begin with a request and not with a caller.
	Summoning Phase = iota
	// Routing means looking for a place that may ring.
	Routing
	// Dialing means the callee was asked and gave no sign of life.
	Dialing
	// Ringing means the callee alerts, and the caller knows.
	Ringing
	// Answering means the callee took the call, the caller is being connected.
	Answering
	// Active means both are up and hear each other.
	Active
	// Ending means the cause is fixed and the legs are hanging up.
	Ending
	// Ended means the record is written; nothing changes any more.
	Ended
)

// String returns the name used in logs and in the admin API.
func (p Phase) String() string {
	switch p {
	case Summoning:
		return "summoning"
	case Routing:
		return "routing"
	case Dialing:
		return "dialing"
	case Ringing:
		return "ringing"
	case Answering:
		return "answering"
	case Active:
		return "active"
	case Ending:
		return "ending"
	case Ended:
		return "ended"
	}
	return "unknown"
}

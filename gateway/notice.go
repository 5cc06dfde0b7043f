package gateway

import "wagate/store"

// notice is something that people outside are told about, by the words of the
// API. The set is closed. Numbers of people are in it as they are: it is for
// who may see them, and never for a log.
//
//sumtype:decl
type notice interface {
	// tell returns the name of the notice, and values whose fields together
	// are its content.
	tell() (topic string, parts []any)
}

type (
	// callStarted: there is a call.
	callStarted callView

	// callRinging: the called side's phone rings.
	callRinging callView

	// callAnswered: both sides are connected.
	callAnswered callView

	// callEnded: the call is over, and this is its record.
	callEnded store.Record

	// callMissed: a customer called, and nobody talked to them. It follows
	// callEnded.
	callMissed struct {
		Record store.Record
		Reason string // the record's cause, or a closer word
		// WindowOpen says that the customer may be written to freely: the
		// service window of 24 hours is open.
		WindowOpen bool
	}

	// permissionRequested: the customer was asked whether we may call.
	permissionRequested permissionNews

	// permissionChanged: what the customer allows is not what it was.
	permissionChanged permissionNews

	// trunkUp: a target answers OPTIONS, of a trunk that was down or that was
	// probed for the first time.
	trunkUp struct{ Trunk string }

	// trunkDown: no target of the trunk answers OPTIONS any more, or at the
	// first probe. Trunks that are not probed are never reported.
	trunkDown struct{ Trunk string }

	// eventsLost: the subscriber was too slow, or away for too long. Only that
	// subscriber is told.
	eventsLost struct {
		Lost *uint64 `json:"lost"` // nil: from before a restart, nobody knows how many
	}
)

// permissionNews is the state of a permission and whose it is.
type permissionNews struct {
	Number string `json:"number"` // name of our number
	User   string `json:"user"`
	UserID string `json:"user_id"`
	permissionView
}

type missedNews struct {
	Reason     string `json:"reason"`
	WindowOpen bool   `json:"window_open"`
}

type trunkNews struct {
	Trunk string `json:"trunk"`
}

func (n callStarted) tell() (string, []any)  { return "call.started", []any{callView(n)} }
func (n callRinging) tell() (string, []any)  { return "call.ringing", []any{callView(n)} }
func (n callAnswered) tell() (string, []any) { return "call.answered", []any{callView(n)} }
func (n callEnded) tell() (string, []any)    { return "call.ended", []any{store.Record(n)} }
func (n callMissed) tell() (string, []any) {
	return "call.missed", []any{n.Record, missedNews{n.Reason, n.WindowOpen}}
}

func (n permissionRequested) tell() (string, []any) {
	return "permission.requested", []any{permissionNews(n)}
}

func (n permissionChanged) tell() (string, []any) {
	return "permission.changed", []any{permissionNews(n)}
}
func (n trunkUp) tell() (string, []any)    { return "trunk.up", []any{trunkNews(n)} }
func (n trunkDown) tell() (string, []any)  { return "trunk.down", []any{trunkNews(n)} }
func (n eventsLost) tell() (string, []any) { return "events.lost", []any{n} }

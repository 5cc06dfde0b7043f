package sip

import (
	"errors"
	"net/netip"
	"time"
)

// Reasons why a call could not be placed or ended. They are wrapped with what
// was being done.
var (
	// ErrSilent means that not a single answer came to an INVITE.
	ErrSilent = errors.New("no answer at all")
	// ErrTimeout means that the far end spoke but never finished.
	ErrTimeout = errors.New("no final answer in time")
	// ErrTransport means that a message could not be sent.
	ErrTransport = errors.New("transport failed")
	// ErrTooLarge means that a message fits no transport that the peer offers.
	ErrTooLarge = errors.New("message too large")
	// ErrForbidden means that a message would leave the trunk's addresses.
	ErrForbidden = errors.New("address outside the trunk")
	// ErrUnknownTrunk means that no trunk of that name is configured.
	ErrUnknownTrunk = errors.New("unknown trunk")
	// ErrClosed means that the Server or the Session is gone.
	ErrClosed = errors.New("closed")
)

// Party is who calls. Number is E.164 with its plus; empty means anonymous.
type Party struct{ Number, Name string }

// Header is one header field.
type Header struct{ Name, Value string }

// Reason says why a call ends. Q850 is a cause of ITU-T Q.850, zero for none
// (RFC 3326); WAError is what the X-WA-Error header carries, "" for none.
type Reason struct {
	Q850    int
	Text    string
	WAError string
	Warning int    // of a refusal: a code of RFC 3261 section 20.43, which goes with Text; 0: none
	Call    string // X-WA-Call, where the Session does not know it; "": none
	// Elsewhere says that another phone has the call, so that this one has not
	// missed it (RFC 3326 section 3.1).
	Elsewhere bool
}

// Outgoing is a call to place.
type Outgoing struct {
	Trunk  string
	Target string // one of Server.Targets
	To     string // the user part that is dialled
	Caller Party
	// Headers are the X-WA headers of the call; their values are made safe
	// here. Names outside "X-" are refused.
	Headers     []Header
	SDP         []byte
	Replaces    Replaces // the dialog at the far end that the call is to replace; zero: none
	ReferredBy  string   // who asked for the call by REFER (RFC 3892), "" for nobody
	MaxForwards int      // 0: 70; towards a trunk it is what the other leg has left
	// Spare says that another target could be asked: this one is given up after a
	// shorter silence. A living PBX says 100 within 200 ms, and has been asked three
	// times by then.
	Spare bool
	// Reoffer answers a session description that the far end sends on a live
	// dialog (re-INVITE, UPDATE). It runs on the Session's goroutine. An error
	// is answered with 488 and leaves the session as it was; nil refuses all.
	Reoffer func(offer []byte) (answer []byte, err error)
	// Pressed gets the key presses that the far end sends by INFO, one of 0-9, *,
	// #, A-D. It runs on the Session's goroutine; nil ignores them.
	Pressed func(key byte, duration time.Duration)
	// Changed, when set, runs whenever State returns something new, with it, and
	// before the message leaves that makes it true: the ACK of the 2xx, so that a
	// crash after it finds the dialog, or an INVITE repeated with a longer session
	// timer.
	Changed func(state []byte)
	// Trace, when set, gets every message of the call from then on, on any
	// goroutine. It must not wait.
	Trace func(Traced)
}

// Incoming is a call that a trunk places with us.
type Incoming struct {
	Trunk       string
	CallID      string
	URI         string // the Request-URI as it came
	To          string // its user part, percent-escapes as they came; a tel: number. Where a registrar calls our Contact: that of To
	Caller      Party  // from P-Asserted-Identity, else Remote-Party-ID, else From; no name where privacy is wanted
	Headers     []Header
	SDP         []byte     // empty: the caller wants our offer
	MaxForwards int        // what is left
	Source      netip.Addr // where the INVITE came from
	// Replaces is the dialog whose place the call is to take (RFC 3891): one of the
	// same trunk that is up, or that we began and that rings. nil for all other
	// calls.
	Replaces *Replaced
}

// Replaced is a dialog of ours that is to make room for another.
type Replaced struct {
	Call   string // X-WA-Call
	CallID string // as Session.CallID
}

// Handling is how the owner of an incoming call takes part in it.
type Handling struct {
	Notify  func(Event)
	Reoffer func(offer []byte) (answer []byte, err error) // as in Outgoing
	Pressed func(key byte, duration time.Duration)        // as in Outgoing
	// Call is the X-WA-Call of whatever ends the call, as that header of an
	// Outgoing is; "" for what is refused before it is a call.
	Call string
	// Trace is as in Outgoing, beginning with the INVITE.
	Trace func(Traced)
}

// timing has every interval, so that tests can shrink them together.
type timing struct {
	t1, t2, t4  time.Duration // RFC 3261 17.1.1.1
	trying      time.Duration // an INVITE of theirs that we have not answered: 100 (RFC 3261 17.2.1)
	noting      time.Duration // so much more where it is not on disk yet; together less than T1
	silent      time.Duration // an INVITE without any answer
	spare       time.Duration // the same where somebody else could be asked
	probe       time.Duration // an OPTIONS of ours without any answer
	dead        time.Duration // how long a dead target goes last
	resolve     time.Duration // how long a resolved name is believed
	ring        time.Duration // repeats of 180 (RFC 3261 13.3.1.1)
	refer       time.Duration // how long a REFER is told of
	first, idle time.Duration // TCP: a message to be completed, and silence
	handshake   time.Duration // TLS: to be done with it, whoever began
	keepalive   time.Duration // TCP: our ping (RFC 5626 3.5.1)
	pong        time.Duration // TCP: our ping not answered, or nothing acknowledged, for so long
	backoff     time.Duration // after the first failure to register; it doubles
	maxBackoff  time.Duration // and grows no further
	unregister  time.Duration // how long the end waits for the registrar
	afterCancel time.Duration // after a crash: a 2xx that repeats itself would have come
}

// defaultTiming returns what the RFCs and the design say.
func defaultTiming() timing {
	return timing{
		t1: 500 * time.Millisecond, t2: 4 * time.Second, t4: 5 * time.Second,
		trying: 150 * time.Millisecond, noting: 300 * time.Millisecond,
		silent: 4 * time.Second, spare: 1500 * time.Millisecond, probe: 4 * time.Second, dead: 45 * time.Second,
		resolve: 30 * time.Second, ring: time.Minute, refer: subscription,
		first: 5 * time.Second, idle: 2 * time.Minute, handshake: 5 * time.Second, keepalive: 30 * time.Second, pong: 10 * time.Second,
		backoff: 2 * time.Second, maxBackoff: 2 * time.Minute, unregister: 2 * time.Second,
		afterCancel: 4500 * time.Millisecond,
	}
}

// limit is the life of a transaction, 64·T1.
func (t timing) limit() time.Duration { return 64 * t.t1 }

package sip

import "time"

// Event is something that happened to a Session. The set is closed; events of
// one Session arrive in order, one at a time.
type Event interface{ event() }

// Proceeding is the first provisional answer to our INVITE that does not say
// that a phone rings: the far end has the call, and a CANCEL will reach it.
type Proceeding struct{ Status int }

// Ringing is a 180 or 183 to our INVITE. A repeat with the same status is not
// reported again.
type Ringing struct{ Status int }

// Accepted is the first 2xx to our INVITE. Its ACK has been sent and State is
// now the dialog. SDP is empty when the far end sent none. It may follow a
// Cancel that came too late: the caller then calls Bye.
type Accepted struct{ SDP []byte }

// Refused is a final answer from 300 up to our INVITE. Q850 is zero when the
// far end named no cause; RetryAfter is zero when it named none.
type Refused struct {
	Status     int
	Reason     string
	Q850       int
	RetryAfter time.Duration
	Moved      []string // of a redirection: the user parts of its contacts at this trunk, in their order
}

// Failed ends an INVITE of ours that never got a final answer: nobody spoke at
// all (ErrSilent), the transport gave up, or nothing followed our CANCEL.
type Failed struct{ Err error }

// Hungup is the far end's BYE, already answered. Q850 is zero when it named no
// cause.
type Hungup struct{ Q850 int }

// ByeDone ends our own BYE: nil when the far end confirmed it, in whatever
// words (481 and 408 mean that there is nothing left to end).
type ByeDone struct{ Err error }

// Cancelled ends a call that the far end placed and gave up before our answer.
// Status is what its INVITE was answered with: 487, or 504 where the caller
// insisted on reliable ringing and then confirmed none (RFC 3262 section 3).
type Cancelled struct{ Status, Q850 int }

// Acked is the ACK for our answer. SDP is set only when the ACK carried one.
type Acked struct{ SDP []byte }

// NoAck says that our answer was never acknowledged within 64·T1 (RFC 3261
// section 13.3.1.4). A BYE is on its way, and ByeDone follows.
type NoAck struct{}

// Expired says that a call is gone at the far end: it said so to a refresh of
// ours, or nobody refreshed the session in time (RFC 4028 section 10). A BYE is
// on its way, and ByeDone follows.
type Expired struct{}

// Refer is the far end's wish that somebody else take its place in the call (RFC
// 3515). It waits for TakeRefer or RefuseRefer; there is one at a time.
type Refer struct {
	To       string   // the user part of Refer-To, escapes undone
	Replaces Replaces // the dialog that is to be replaced there; zero: none
	Ours     bool     // that dialog is one of this gateway
	Foreign  bool     // Refer-To leads away from the trunk, or to ourselves
	By       string   // the URI of Referred-By, "" without one
}

func (Proceeding) event() {}
func (Ringing) event()    {}
func (Accepted) event()   {}
func (Refused) event()    {}
func (Failed) event()     {}
func (Hungup) event()     {}
func (ByeDone) event()    {}
func (Cancelled) event()  {}
func (Acked) event()      {}
func (NoAck) event()      {}
func (Expired) event()    {}
func (Refer) event()      {}

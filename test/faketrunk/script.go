package faketrunk

import (
	"time"

	"wagate/test/tone"
)

// Never is a time that does not come: the call waits for a command.
const Never time.Duration = -1

// OnCancel says what a phone does with a CANCEL that comes in time.
type OnCancel int

// What can happen to a CANCEL.
const (
	Obey  OnCancel = iota // 200 to the CANCEL, 487 to the INVITE
	Cross                 // the phone is picked up at that moment: 200 to the INVITE, then 200 to the CANCEL
	Stall                 // 200 to the CANCEL, and never a final response to the INVITE
	Deaf                  // nothing at all
)

// Script is how a phone treats one call. The zero value rings and answers at
// once. Times count from the INVITE unless they say otherwise; Never waits for
// Call.Ring, Call.Answer or Call.Refuse.
type Script struct {
	Silent   bool          // no response to anything of this call
	NoTrying bool          // no 100
	Ring     time.Duration // when 180 is sent; with Never no 180
	Rings    int           // how often 180 is sent in a row; default once
	Early    bool          // 183 with a session description and audio in the place of 180
	Answer   time.Duration // when the final response is sent
	Status   int           // the final response; default 200
	Headers  []Header      // of the final response: Reason, Retry-After, Contact of a redirect, Warning …
	Fork     bool          // a second 200 with another tag, as from a second phone
	LateACK  time.Duration // of a call that the phone places: so long after the 200 its ACK leaves
	DropACKs int           // so many ACKs are not seen, the 200 is sent again
	OnCancel OnCancel

	Hangup  time.Duration // BYE so long after the ACK; 0: not by itself
	Hold    time.Duration // re-INVITE with sendonly so long after the ACK; 0: never
	Resume  time.Duration // back to sendrecv so long after the hold; 0: never
	LostOKs int           // so many BYEs are noted, and what they are answered with is lost
	NoReACK bool          // the 2xx of its re-INVITEs are not acknowledged
	Reoffer int           // the status that the other side's re-INVITE and UPDATE are answered with; default 200

	Codecs  []string      // in order of preference: PCMA, PCMU, or any other name to have no codec in common
	NoDTMF  bool          // no telephone-event
	NoAudio bool          // no RTP is sent
	Keep    time.Duration // so much of what the phone hears is kept for Audio.Kept
	Tone    float64       // Hz, in the place of the Trunk's; negative: silence
	Voice   tone.Reader   // what is said, 8 kHz, in the place of a tone
	Marker  time.Duration // a delay marker with this period is mixed in and listened for; 0: none

	Auth *Auth // challenges the INVITE
}

// Auth is what a PBX demands before it takes a call, RFC 7616.
type Auth struct {
	Status    int    // 401 or 407; default 401
	Algorithm string // MD5 or SHA-256; default MD5
	Realm     string
	User      string
	Password  string
}

// Answer rings at once and answers after that time.
func Answer(after time.Duration) Script { return Script{Answer: after} }

// NoAnswer rings until somebody gives up.
func NoAnswer() Script { return Script{Answer: Never} }

// Refuse sends a final response at once.
func Refuse(status int, headers ...Header) Script {
	return Script{Ring: Never, Status: status, Headers: headers}
}

// Redirect sends 302 to another URI.
func Redirect(uri string) Script {
	return Refuse(302, Header{"Contact", "<" + uri + ">"})
}

// Dead is a phone that is not there: no response at all.
func Dead() Script { return Script{Silent: true} }

package gateway

import (
	"wagate/sip"
	"wagate/whatsapp"
)

// input is what reaches a call through its mailbox: the news of the world
// around it, before its legs have made events of it. The set is closed.
//
//sumtype:decl
type input interface{ input() }

// of says which leg an input is for: the number of an egress leg, 0 for the
// ingress.
type of uint8

func (o of) leg() uint8 { return uint8(o) }

// legInput is an input for one leg.
type legInput interface {
	input
	leg() uint8
}

type (
	// begun: the intent is on disk and the call is allowed, or err says why not.
	begun struct{ err error }

	// hooked: a webhook about this call.
	hooked struct{ event whatsapp.Event }

	// timerFired: the one timer of the call.
	timerFired struct{ stamp stamp }

	// giveUp: the gateway cannot wait for the legs any longer.
	giveUp struct{}

	// stopWanted: somebody ends the call: drain, admin, a panic.
	stopWanted struct{ cause Cause }

	// setupLate: the WhatsApp leg had its time to come up.
	setupLate struct{ of }

	// graphDone: a request of a WhatsApp leg has its reply.
	graphDone struct {
		of
		req  graphReq
		err  error
		peer *madePeer       // what was made for the request, nil if nothing
		id   whatsapp.CallID // of connect
	}

	// answerApplied: the customer's session description is in our peer
	// connection, or err says why not.
	answerApplied struct {
		of
		err error
	}

	// peerUp: ICE and DTLS of a WhatsApp leg are through.
	peerUp struct{ of }

	// peerHeard: the customer's first audio has come.
	peerHeard struct{ of }

	// audioFailed: a leg's audio gave up.
	audioFailed struct {
		of
		err error
	}

	// legTimeout: a wait that a leg asked for is over.
	legTimeout struct {
		of
		timer legTimer
	}

	// promptOver: the prompt of a leg was played, or takes too long.
	promptOver struct{ of }

	// dialReady: an INVITE is built and on disk, or err says why not.
	dialReady struct {
		of
		dial *trunkDial
		err  error
	}

	// reliefLate: a phone to which the call is transferred rings for too long.
	reliefLate struct{ of }

	// guestCame: a phone calls to take the place of another, whose dialog has this
	// Call-ID.
	guestCame struct {
		of
		guest    *callerLeg
		replaces string
	}

	// guestSaved: its dialog is on disk, or err says why not.
	guestSaved struct {
		of
		err error
	}

	// sipNews: the session of a leg has something to say.
	sipNews struct {
		of
		event sip.Event
	}
)

func (begun) input()         {}
func (hooked) input()        {}
func (timerFired) input()    {}
func (giveUp) input()        {}
func (stopWanted) input()    {}
func (setupLate) input()     {}
func (graphDone) input()     {}
func (answerApplied) input() {}
func (peerUp) input()        {}
func (peerHeard) input()     {}
func (audioFailed) input()   {}
func (legTimeout) input()    {}
func (promptOver) input()    {}
func (dialReady) input()     {}
func (sipNews) input()       {}
func (reliefLate) input()    {}
func (guestCame) input()     {}
func (guestSaved) input()    {}

// madePeer is a peer connection and our session description for it. An answer
// is sent with the same bytes in pre_accept and accept.
type madePeer struct {
	peer peer
	sdp  string
}

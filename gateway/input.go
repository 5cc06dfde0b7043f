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

type (
	// begun: the intent is on disk, or err says why not.
	begun struct{ err error }

	// graphDone: a request of the WhatsApp leg has its reply.
	graphDone struct {
		req  graphReq
		err  error
		peer *madePeer // of reqPrepare
	}

	// hooked: a webhook about this call.
	hooked struct{ event whatsapp.Event }

	// peerUp: ICE and DTLS of the WhatsApp leg are through.
	peerUp struct{}

	// audioFailed: one side's audio gave up.
	audioFailed struct {
		side string
		err  error
	}

	// setupLate: the WhatsApp leg had its time to come up.
	setupLate struct{}

	// dialReady: an INVITE is built and on disk, or err says why not.
	dialReady struct {
		leg  uint8
		dial *trunkDial
		err  error
	}

	// sipNews: the session of an egress leg has something to say.
	sipNews struct {
		leg   uint8
		event sip.Event
	}

	// legTimeout: a wait that the WhatsApp leg asked for is over.
	legTimeout struct{ timer legTimer }

	// timerFired: the one timer of the call.
	timerFired struct{ stamp stamp }

	// giveUp: the gateway cannot wait for the legs any longer.
	giveUp struct{}

	// stopWanted: somebody ends the call: drain, admin, a panic.
	stopWanted struct{ cause Cause }
)

func (begun) input()       {}
func (graphDone) input()   {}
func (hooked) input()      {}
func (peerUp) input()      {}
func (audioFailed) input() {}
func (setupLate) input()   {}
func (dialReady) input()   {}
func (sipNews) input()     {}
func (legTimeout) input()  {}
func (timerFired) input()  {}
func (giveUp) input()      {}
func (stopWanted) input()  {}

// madePeer is a peer connection and its answer to the offer; pre_accept and
// accept carry the same bytes.
type madePeer struct {
	peer   peer
	answer string
}

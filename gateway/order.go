package gateway

import (
	"time"

	"wagate/config"
	"wagate/whatsapp"
)

// The directions of a call, seen from the business.
const (
	inbound  = "inbound"  // the customer calls
	outbound = "outbound" // the customer is called
)

// order is a call as it was asked for: by a customer's offer, by a trunk's
// INVITE, or by an operator. It does not change.
type order struct {
	direction string
	number    config.Number
	user      whatsapp.User // the customer
	refuse    Cause         // fixed at admission: this call is not placed at all
	ring      time.Duration // how long one target rings
	route     string

	// A customer's call.
	wacid    whatsapp.CallID
	eventKey string    // of the webhook
	sent     time.Time // Meta's clock
	offer    string    // the customer's session description
	payload  string
	hops     []config.Hop

	// A call to a customer.
	trunk    string
	dialed   string // what was dialled, as E.164 or a user id
	agent    string // the extension that dialled, or is dialled
	tag      string // our mark in Meta's webhooks
	summoned bool   // we dial the agent first
	callback int64  // of the promise that it carries out, 0 for none
}

// orderOf makes an order of a customer's offer.
func orderOf(offer whatsapp.Offer, number config.Number) order {
	return order{
		direction: inbound, number: number, user: offer.User, wacid: offer.CallID, eventKey: offer.Key, sent: offer.At,
		offer: offer.SDP, payload: payloadOf(offer),
	}
}

// payloadOf is what started the call: a call button's payload, else the deep
// link's.
func payloadOf(o whatsapp.Offer) string {
	if o.Payload != "" {
		return o.Payload
	}
	return o.DeepLink
}

// labels are those of all figures about whole calls: names from the
// configuration. The trunk of a customer's call is the route's first, whoever
// answers.
func (o order) labels() []string {
	return []string{o.direction, o.number.Name, o.firstTrunk()}
}

func (o order) firstTrunk() string {
	if len(o.hops) > 0 {
		return o.hops[0].Trunk
	}
	return o.trunk
}

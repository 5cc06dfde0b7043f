package gateway

import (
	"wagate/media"
	"wagate/store"
	"wagate/whatsapp"
)

// side is one leg of a call with its hands: it carries out what its table
// decides. It belongs to the goroutine of the call.
type side interface {
	take(in legInput)         // news for this leg
	hooked(ev whatsapp.Event) // a webhook, where it is the WhatsApp leg
	hangup(why Cause)         // once
	audio() media.Endpoint    // nil until there is one
	open()                    // let the audio leave
	slow() bool               // the far end may take as long as its timers allow
	owed() []store.Debt       // what is left to the reaper; empty when the leg is over
	finish(rec *store.Record) // what the leg knows for the record
	giveBack()                // what it still holds of what calls share; may be called again
	name() string             // sideWhatsApp or sideSIP
}

// ingress is the leg that called us.
type ingress interface {
	side
	prepare()
	ring()
	answer()
	hurry() // it was hung up, and may not linger over it
}

// egress is a leg that we place.
type egress interface {
	side
	dial()
}

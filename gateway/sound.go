package gateway

import (
	"slices"

	"wagate/config"
	"wagate/media"
)

// securityOf is what a trunk's audio needs towards a target. Keys never travel
// in signalling that others can read.
func securityOf(trunk config.Trunk, target string) media.Security {
	if (config.Target{URI: target}).TLS() {
		switch trunk.SRTP {
		case "optional":
			return media.SecureOptional
		case "required":
			return media.SecureRequired
		}
	}
	return media.SecureOff
}

// speech is what the WhatsApp leg may speak, the preferred first: what the PBX
// speaks, if Meta has that for the number, because then nothing is decoded here;
// else the number's own order.
func (c *Call) speech() []string {
	trunk, _ := c.env.cfg.Trunk(c.order.firstTrunk())
	first := ""
	if len(trunk.Codecs) > 0 {
		first = trunk.Codecs[0]
	}
	if in, ok := c.in.(*callerLeg); ok && in.socket != nil && in.socket.Codec() != media.NoCodec {
		first = in.socket.Codec().String()
	}
	return speechFor(c.order.number.Codecs, first)
}

// codecOf is the codec of a side of the call, or, as long as it has none, one of
// telephone audio.
func codecOf(e media.Endpoint) media.Codec {
	if e == nil || e.Codec() == media.NoCodec {
		return media.PCMA
	}
	return e.Codec()
}

// speechFor puts the codec of the PBX first if the number has it.
func speechFor(codecs []string, first string) []string {
	at := slices.Index(codecs, first)
	if at <= 0 {
		return codecs
	}
	list := slices.Insert(slices.Clone(codecs), 0, first)
	return slices.Delete(list, at+1, at+2)
}

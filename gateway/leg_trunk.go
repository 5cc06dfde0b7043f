package gateway

import "wagate/media"

// trunkLeg is a phone that rings for a customer.
type trunkLeg struct {
	trunkPhone
	table sipEgress
}

func newTrunkLeg(c *Call, id uint8) *trunkLeg {
	p := c.m.Plan
	l := &trunkLeg{table: sipEgress{Leg: id}}
	l.trunkPhone = trunkPhone{
		call: c, id: of(id), hop: c.order.hops[p.Hop], plain: p.Plain, spare: p.spare(), hold: media.Opus,
		table: &l.table, line: &l.table.dialled,
	}
	l.port = l
	if addresses := c.addresses[p.Hop]; int(p.Target) < len(addresses) {
		l.target = addresses[p.Target]
	}
	c.rec.Trunk, c.rec.To = l.hop.Trunk, l.hop.To
	c.rec.SIPStatus, c.rec.Q850 = 0, 0 // what the phone before it said is history
	return l
}

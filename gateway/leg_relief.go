package gateway

import (
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
)

// reliefLimit is how long a phone to which a call is transferred rings at most.
const reliefLimit = 45 * time.Second

// newcomer is a phone that takes the place of another.
type newcomer interface {
	egress
	ingress
	extension() string
	joined() // it has taken over
}

// reliefLeg is a phone that we dial because another one has asked for it.
type reliefLeg struct {
	trunkPhone
	table relief
}

func newReliefLeg(c *Call, id uint8, hop config.Hop, instead sip.Replaces, by string) *reliefLeg {
	l := &reliefLeg{table: relief{Leg: id}}
	l.trunkPhone = trunkPhone{
		call: c, id: of(id), hop: hop, table: &l.table, line: &l.table.dialled,
		aside: true, hold: media.Opus, replaces: instead, referredBy: by, targets: c.env.trunks.Targets(hop.Trunk),
	}
	l.table.Plan = newPlan(len(l.targets))
	l.port = l
	return l
}

func (l *reliefLeg) prepare()          {}
func (l *reliefLeg) ring()             {}
func (l *reliefLeg) answer()           {}
func (l *reliefLeg) hurry()            {}
func (l *reliefLeg) extension() string { return l.hop.To }
func (l *reliefLeg) joined()           { l.aside = false }

func (l *reliefLeg) do(a sipAct, why Cause) {
	if a == sipPrepare {
		l.aim(l.table.Plan)
	}
	l.trunkPhone.do(a, why)
}

package gateway

import (
	"net/url"
	"slices"
	"strings"

	"wagate/config"
)

// mayTransfer says why a call may not be handed on to a target of a trunk; "":
// it may. Extensions are allowed: what a route dials there, and whatever does not
// look like a telephone number or a feature code; transfer_targets adds to them.
// Meta's terms allow no public telephone network on any leg.
func (e *env) mayTransfer(t config.Trunk, to string) string {
	to = dialSeparators.Replace(to)
	listed := len(t.TransferTargets) > 0 && slices.ContainsFunc(t.TransferTargets, func(p string) bool {
		return p != "" && config.MatchPattern(p, to)
	})
	abroad := public(to)
	switch {
	case to == "":
		return "there is no target"
	case !t.AllowPSTN && abroad:
		return "no public telephone network: allow_pstn is false"
	case listed, e.dials(t.Name, to):
		return ""
	case abroad || isNumber(to) && len(to) > longestExtension:
		switch {
		case !t.AllowPSTN:
			return "no public telephone network: allow_pstn is false, and transfer_targets does not name it as an extension"
		case len(t.TransferTargets) > 0:
			return "transfer_targets does not name it"
		}
		return ""
	case dialable(to) != to:
		return "not an extension; transfer_targets may name it"
	}
	return ""
}

// mayRing says why an agent's phone may not be called on a trunk; "": it may. It
// is an extension by the rule for transfers, unless the trunk allows the public
// telephone network.
func (e *env) mayRing(t config.Trunk, agent string) string {
	text, err := url.PathUnescape(agent)
	switch {
	case t.AllowPSTN:
		return ""
	case err != nil:
		return "an escape in it cannot be read"
	}
	return e.mayTransfer(t, text)
}

// dials says whether a route dials just that at a trunk.
func (e *env) dials(trunk, to string) bool {
	for _, r := range e.cfg.Routes {
		if r.Direction != inbound {
			continue
		}
		if r.Trunk == trunk && r.To == to || slices.Contains(r.Overflow, config.Hop{Trunk: trunk, To: to}) {
			return true
		}
	}
	return false
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

package gateway

import (
	"log/slog"
	"slices"
)

// maxMoves is how often one phone may be said to be elsewhere.
const maxMoves = 5

// follow calls a phone where a redirection says that it is (RFC 3261 section
// 8.1.3.4): to where a call may be handed on, and nowhere twice.
func (l *trunkPhone) follow(moved []string) bool {
	c := l.call
	trunk, ok := c.env.cfg.Trunk(l.hop.Trunk)
	if !ok || len(moved) == 0 || len(l.visited) == maxMoves {
		return false
	}
	l.visited = append(l.visited, l.hop.To)
	for _, to := range moved {
		to = dialSeparators.Replace(to)
		if slices.Contains(l.visited, to) {
			continue
		}
		if why := c.env.mayTransfer(trunk, to); why != "" {
			c.log.Warn("redirection is not allowed", slog.String("trunk", trunk.Name), slog.String("to", hide(to, c.rec.User)), slog.String("reason", why))
			continue
		}
		before, former := l.hop.To, l.placed
		l.hop.To, l.placed = to, nil
		if l.line.moved(l.port) {
			l.giveUp(former)
			if c.order.direction == inbound && !l.aside {
				c.rec.To = to
			}
			return true
		}
		l.hop.To, l.placed = before, former
		return false
	}
	return false
}

package gateway

// A plan is bounded so that the machine stays a small value. No caller waits
// for so many phones in turn.
const (
	maxHops    = 8 // places of a route: its trunk and its overflow
	maxTargets = 8 // addresses of one trunk
)

// plan is where an egress leg may ring, in order: the hops of the route, and in
// each hop the addresses of its trunk. It is a cursor; who the hops are is the
// router's knowledge.
type plan struct {
	Targets [maxHops]uint8 // addresses of each hop
	Hops    uint8
	Hop     uint8 // the hop being dialled
	Target  uint8 // the address in that hop
	Plain   bool  // this address is asked once more, with plain G.711 and nothing else
}

// newPlan makes a plan at its first target. It takes the number of addresses of
// each hop; a hop without any counts as one, so that dialling it fails where
// all dialling fails. Hops and addresses beyond the bounds are left out.
func newPlan(targets ...int) plan {
	p := plan{Hops: uint8(min(len(targets), maxHops))}
	for i, n := range targets[:p.Hops] {
		p.Targets[i] = uint8(min(max(n, 1), maxTargets))
	}
	return p
}

// spare tells whether the trunk has another address to be asked after this one.
func (p *plan) spare() bool { return p.Hop < p.Hops && p.Target+1 < p.Targets[p.Hop] }

// next moves the plan on after a failure and reports whether there is anything
// left to dial.
func (p *plan) next(r retry) bool {
	switch r {
	case retryNever:
		return false
	case retryPlain:
		if !p.Plain {
			p.Plain = true
			return p.Hop < p.Hops
		}
	case retryTarget:
		if p.spare() {
			p.Target++
			p.Plain = false
			return true
		}
	case retryHop:
	}
	if p.Hop+1 >= p.Hops {
		return false
	}
	p.Hop, p.Target, p.Plain = p.Hop+1, 0, false
	return true
}

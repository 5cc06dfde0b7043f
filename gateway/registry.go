package gateway

import (
	"sync"
	"time"

	"wagate/whatsapp"
)

// How long the dead are remembered. A connect that arrives after its terminate
// must not ring a phone, and Meta repeats webhooks for a long time.
const (
	tombstoneLife = 24 * time.Hour
	maxTombstones = 200_000
)

// registry knows which call answers to which name – our id, Meta's call id, our
// tag – and who must stay dead. Its mutex is a leaf: map work only.
type registry struct {
	mu     sync.Mutex
	calls  map[string]*Call
	wacids map[whatsapp.CallID]*Call
	names  map[*Call][]whatsapp.CallID // what a call is known by in wacids
	pairs  map[pair]int                // calls between a number of ours and a customer
	tags   map[string]*Call
	tombs  map[whatsapp.CallID]struct{}
	buried []burial // oldest first
	strays map[string]time.Time
}

// pair is a business number and a customer. Meta lets them have one call.
type pair struct{ number, user string }

func pairOf(o order) pair {
	if o.user.UserID != "" {
		return pair{o.number.Name, o.user.UserID}
	}
	return pair{o.number.Name, o.user.Number}
}

type burial struct {
	id whatsapp.CallID
	at time.Time
}

func newRegistry() *registry {
	return &registry{
		calls:  map[string]*Call{},
		wacids: map[whatsapp.CallID]*Call{},
		names:  map[*Call][]whatsapp.CallID{},
		pairs:  map[pair]int{},
		tags:   map[string]*Call{},
		tombs:  map[whatsapp.CallID]struct{}{},
		strays: map[string]time.Time{},
	}
}

// admission is what the registry says of a user's offer.
type admission uint8

const (
	admitted   admission = iota
	duplicate            // said before; the call is alive
	tombstoned           // its terminate came first, or it has ended
)

// admit registers a call under Meta's id, unless that id is known or dead.
func (r *registry) admit(c *Call, id whatsapp.CallID) admission {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, dead := r.tombs[id]; dead {
		return tombstoned
	}
	if _, known := r.wacids[id]; known {
		return duplicate
	}
	r.calls[c.id] = c
	r.pairs[pairOf(c.order)]++
	r.nameLocked(c, id)
	return admitted
}

// admitTagged registers a call that we place, before its request is sent: the
// webhooks may overtake the reply. It says whether it is the only one with its
// customer.
func (r *registry) admitTagged(c *Call, tag string) (alone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[c.id] = c
	r.tags[tag] = c
	r.pairs[pairOf(c.order)]++
	return r.pairs[pairOf(c.order)] == 1
}

// find returns the call that a webhook is about. The first webhook with our
// tag also names the call.
func (r *registry) find(m whatsapp.Meta) (c *Call, dead bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.wacids[m.CallID]; c != nil {
		return c, false
	}
	if c := r.tags[m.Tag]; c != nil && m.Tag != "" {
		r.nameLocked(c, m.CallID)
		return c, false
	}
	_, dead = r.tombs[m.CallID]
	return nil, dead
}

// name adds Meta's id to a call that we placed, once its reply is here.
func (r *registry) name(c *Call, id whatsapp.CallID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[c.id] == c && r.wacids[id] == nil {
		r.nameLocked(c, id)
	}
}

func (r *registry) nameLocked(c *Call, id whatsapp.CallID) {
	r.wacids[id] = c
	r.names[c] = append(r.names[c], id)
}

// bury makes sure that a call never comes to life (again).
func (r *registry) bury(id whatsapp.CallID, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buryLocked(id, now)
}

func (r *registry) buryLocked(id whatsapp.CallID, now time.Time) {
	if _, known := r.tombs[id]; known || id == "" {
		return
	}
	r.tombs[id] = struct{}{}
	r.buried = append(r.buried, burial{id, now})
	for len(r.buried) > maxTombstones || len(r.buried) > 0 && now.Sub(r.buried[0].at) > tombstoneLife {
		delete(r.tombs, r.buried[0].id)
		r.buried = r.buried[1:]
	}
}

// remove takes the names of an ended call off and leaves tombstones. A tag
// whose connect reply never came stays on the list of strays: whatever appears
// under it is ended on sight.
func (r *registry) remove(c *Call, tag string, lost bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[c.id] == c {
		delete(r.calls, c.id)
		if p := pairOf(c.order); r.pairs[p] > 1 {
			r.pairs[p]--
		} else {
			delete(r.pairs, p)
		}
	}
	for _, id := range r.names[c] {
		delete(r.wacids, id)
		r.buryLocked(id, now)
	}
	delete(r.names, c)
	if tag == "" {
		return
	}
	delete(r.tags, tag)
	if lost {
		r.strays[tag] = now
	}
}

// stray says whether a tag belongs to a call that nobody owns any more.
func (r *registry) stray(tag string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for t, since := range r.strays {
		if now.Sub(since) > tombstoneLife {
			delete(r.strays, t)
		}
	}
	_, ok := r.strays[tag]
	return ok
}

// get returns a live call by our id.
func (r *registry) get(id string) *Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[id]
}

// all returns the live calls in no order.
func (r *registry) all() []*Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := make([]*Call, 0, len(r.calls))
	for _, c := range r.calls {
		calls = append(calls, c)
	}
	return calls
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}

package gateway

import (
	"maps"
	"slices"
	"sync"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// How long the dead are remembered. A connect that arrives after its terminate
// must not ring a phone, and Meta repeats webhooks for a long time.
const (
	tombstoneLife = 24 * time.Hour
	maxStrays     = 50_000
)

// registry knows which call answers to which name – our id, Meta's call id, our
// tag – and who must stay dead. Its mutex is a leaf: map work only.
type registry struct {
	mu     sync.Mutex
	calls  map[string]*Call
	wacids map[whatsapp.CallID]*Call
	names  map[*Call][]whatsapp.CallID // what a call is known by in wacids
	pairs  map[pair]map[*Call]bool     // calls between a number of ours and a customer
	tags   map[string]*Call
	graves graves
	strays map[string]store.Stray // by tag
	astray []store.Stray          // oldest first; some are found already
}

// pair is a business number and a customer, by a name of the customer's. Meta
// lets them have one call.
type pair struct{ number, user string }

// pairsOf are the pairs of a call: one for each name that it knows of the
// customer.
func pairsOf(o order) (ps []pair) {
	for _, name := range []string{o.user.Number, o.user.UserID} {
		if name != "" {
			ps = append(ps, pair{o.number.Name, name})
		}
	}
	return ps
}

func newRegistry() *registry {
	return &registry{
		calls:  map[string]*Call{},
		wacids: map[whatsapp.CallID]*Call{},
		names:  map[*Call][]whatsapp.CallID{},
		pairs:  map[pair]map[*Call]bool{},
		tags:   map[string]*Call{},
		graves: newGraves(),
		strays: map[string]store.Stray{},
	}
}

// admission is what the registry says of a user's offer.
type admission uint8

const (
	admitted   admission = iota
	duplicate            // said before; the call is alive
	tombstoned           // its terminate came first; the record is the asker's to write
	recorded             // it has ended, and has its record
)

// admit registers a call under Meta's id, unless that id is known or dead. Of
// all who ask about a dead one without a record, one is told to write it.
func (r *registry) admit(c *Call, id whatsapp.CallID) admission {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.knownLocked(id); a != admitted {
		return a
	}
	r.addLocked(c)
	r.nameLocked(c, id)
	return admitted
}

// lapse buries the id of a call that is too old to ring; admitted and
// tombstoned mean that the record is the asker's to write.
func (r *registry) lapse(id whatsapp.CallID, now time.Time) admission {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.knownLocked(id)
	if a == admitted {
		r.buryLocked(id, now, true)
	}
	return a
}

func (r *registry) knownLocked(id whatsapp.CallID) admission {
	switch written, dead := r.graves.find(id); {
	case written:
		return recorded
	case dead:
		r.graves.dig(id, time.Time{}, true)
		return tombstoned
	case r.wacids[id] != nil:
		return duplicate
	}
	return admitted
}

// admitTagged registers a call that we place, before its request is sent: the
// webhooks may overtake the reply. A second call with the same customer is to be
// refused as busy: Meta lets them have one.
func (r *registry) admitTagged(c *Call, tag string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.order.refuse == NoCause && len(r.othersLocked(c.order)) > 0 {
		c.order.refuse = Busy
	}
	r.addLocked(c)
	r.tags[tag] = c
}

// admitAlone registers a call that we place unless there is one with that
// customer already.
func (r *registry) admitAlone(c *Call, tag string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.othersLocked(c.order)) > 0 {
		return false
	}
	r.addLocked(c)
	r.tags[tag] = c
	return true
}

func (r *registry) addLocked(c *Call) {
	r.calls[c.id] = c
	for _, p := range pairsOf(c.order) {
		if r.pairs[p] == nil {
			r.pairs[p] = map[*Call]bool{}
		}
		r.pairs[p][c] = true
	}
}

// othersLocked are the calls with the customer of an order.
func (r *registry) othersLocked(o order) (others []*Call) {
	for _, p := range pairsOf(o) {
		others = slices.AppendSeq(others, maps.Keys(r.pairs[p]))
	}
	return others
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
	_, dead = r.graves.find(m.CallID)
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

// bury makes sure that a call never comes to life (again). written says whether
// it has a record.
func (r *registry) bury(id whatsapp.CallID, now time.Time, written bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buryLocked(id, now, written)
}

// isRecorded says whether a dead call has its record.
func (r *registry) isRecorded(id whatsapp.CallID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	written, _ := r.graves.find(id)
	return written
}

func (r *registry) buryLocked(id whatsapp.CallID, now time.Time, written bool) {
	if id == "" {
		return
	}
	r.graves.dig(id, now, written)
}

// remove takes the names of an ended call off and leaves tombstones. A tag
// whose connect reply never came stays on the list of strays: whatever appears
// under it is ended on sight.
func (r *registry) remove(c *Call, tag string, lost bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls[c.id] == c {
		delete(r.calls, c.id)
		for _, p := range pairsOf(c.order) {
			if delete(r.pairs[p], c); len(r.pairs[p]) == 0 {
				delete(r.pairs, p)
			}
		}
	}
	for _, id := range r.names[c] {
		delete(r.wacids, id)
		if !lost { // else a webhook named it that the call did not take any more
			r.buryLocked(id, now, true)
		}
	}
	delete(r.names, c)
	if tag == "" {
		return
	}
	delete(r.tags, tag)
	if lost {
		r.strayLocked(store.Stray{Tag: tag, CallID: c.id, Number: c.order.number.Name, Since: now})
	}
}

// addStray puts a call of an earlier run on the list of strays.
func (r *registry) addStray(s store.Stray) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strayLocked(s)
}

func (r *registry) strayLocked(s store.Stray) {
	r.strays[s.Tag] = s
	r.astray = append(r.astray, s)
	for len(r.astray) > maxStrays || s.Since.Sub(r.astray[0].Since) > tombstoneLife {
		delete(r.strays, r.astray[0].Tag)
		r.astray = r.astray[1:]
	}
}

// stray returns the call that nobody owns any more and that answers to a tag.
func (r *registry) stray(tag string, now time.Time) (s store.Stray, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok = r.strays[tag]
	return s, ok && now.Sub(s.Since) <= tombstoneLife
}

// found takes a stray off the list: it has a name now, under which it is dead.
func (r *registry) found(tag string, id whatsapp.CallID, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.strays, tag)
	r.buryLocked(id, now, true)
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

// placed counts the live calls but for those that are only being refused: were
// they to count against the limit, a crowd of them would keep everybody out.
func (r *registry) placed() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.calls {
		if c.order.refuse == NoCause {
			n++
		}
	}
	return n
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.calls)
}

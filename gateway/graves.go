package gateway

import (
	"hash/maphash"
	"time"

	"wagate/whatsapp"
)

// maxGraves is how many dead calls are remembered: what a busy contact centre
// has in three days. Offers that come later than that are too old to ring.
const maxGraves = 1 << 16

// graves are the calls that must stay dead. They take the same memory however
// many there are: of Meta's long ids only a hash is kept, of 64 bits and with a
// seed that nobody outside knows.
type graves struct {
	seed  maphash.Seed
	dug   map[uint64]bool // true: there is a record, or somebody is writing it
	order []grave         // a ring
	first int             // the oldest in order
}

type grave struct {
	id uint64
	at int64 // Unix seconds
}

func newGraves() graves {
	return graves{seed: maphash.MakeSeed(), dug: make(map[uint64]bool, maxGraves), order: make([]grave, maxGraves)}
}

// find says whether a call is dead, and whether it has its record.
func (g *graves) find(id whatsapp.CallID) (written, dead bool) {
	written, dead = g.dug[maphash.String(g.seed, string(id))]
	return written, dead
}

// dig buries a call, or notes that a dead one has its record now. What is older
// than tombstoneLife is forgotten, and the oldest where there is no room.
func (g *graves) dig(id whatsapp.CallID, now time.Time, written bool) {
	hash := maphash.String(g.seed, string(id))
	before, known := g.dug[hash]
	if known {
		g.dug[hash] = before || written
		return
	}
	for len(g.dug) > 0 && (len(g.dug) == maxGraves || now.Unix()-g.order[g.first].at > int64(tombstoneLife/time.Second)) {
		delete(g.dug, g.order[g.first].id)
		g.first = (g.first + 1) % maxGraves
	}
	g.order[(g.first+len(g.dug))%maxGraves] = grave{hash, now.Unix()}
	g.dug[hash] = written
}

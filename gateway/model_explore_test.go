package gateway

import (
	"fmt"
	"hash/maphash"
	"strings"
)

// hashes is a set with a word per element, which is what millions of them may
// cost.
type hashes struct {
	slots []uint64 // zero is free
	n     int
}

// add reports whether h is new.
func (s *hashes) add(h uint64) bool {
	h = max(h, 1)
	if 2*s.n >= len(s.slots) {
		old := s.slots
		s.slots, s.n = make([]uint64, max(1<<10, 2*len(old))), 0
		for _, o := range old {
			if o != 0 {
				s.add(o)
			}
		}
	}
	at := h & uint64(len(s.slots)-1)
	for ; s.slots[at] != 0; at = (at + 1) & uint64(len(s.slots)-1) {
		if s.slots[at] == h {
			return false
		}
	}
	s.slots[at] = h
	s.n++
	return true
}

// explore walks through every state that a start leads to, breadth first, so
// that the first violation has the shortest story.
func explore(start world, visit func(*world)) (states int, bad []string) {
	type node struct {
		parent int32
		move   uint8
	}
	seed := maphash.MakeSeed()
	r := newRunner()
	begin := func(w world) {
		r.w, r.err, r.queue = w, "", r.queue[:0]
	}
	begin(start)
	if start.scene != sceneInbound {
		r.w.m.start(r)
		r.drain()
	}
	first := r.w
	nodes := []node{{-1, 0}}
	var seen hashes
	seen.add(maphash.Comparable(seed, first))
	var buf []move

	story := func(i int32, last string) string {
		var path []uint8
		for ; nodes[i].parent >= 0; i = nodes[i].parent {
			path = append(path, nodes[i].move)
		}
		begin(first)
		var text strings.Builder
		for k := len(path) - 1; k >= 0; k-- {
			m := r.moves(nil)[path[k]]
			m.do(r, m.arg)
			r.drain()
			fmt.Fprintf(&text, "    %-34s %v\n", m.name(m.arg), r.w.m.Phase)
		}
		if last != "" {
			text.WriteString("    " + last + "\n")
		}
		return text.String()
	}

	level, next, base := []world{first}, []world(nil), int32(0)
	for len(level) > 0 {
		next = next[:0]
		for k, w := range level {
			at := base + int32(k)
			visit(&w)
			begin(w)
			buf = r.moves(buf[:0])
			forced := 0
			for i, m := range buf {
				if !m.free {
					forced++
				}
				begin(w)
				m.do(r, m.arg)
				r.drain()
				if what := r.err; what != "" {
					bad = append(bad, what+"\n"+story(at, m.name(m.arg)))
					if len(bad) >= 3 {
						return len(nodes), bad
					}
					continue
				}
				if r.w == w {
					continue
				}
				if !seen.add(maphash.Comparable(seed, r.w)) {
					continue
				}
				nodes = append(nodes, node{at, uint8(i)})
				next = append(next, r.w)
			}
			if forced == 0 && !w.abandoned {
				if q := w.quiet(); q != "" {
					bad = append(bad, q+"\n"+story(at, ""))
					if len(bad) >= 3 {
						return len(nodes), bad
					}
				}
			}
		}
		base += int32(len(level))
		level, next = next, level
	}
	return len(nodes), bad
}

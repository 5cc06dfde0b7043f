package whatsapp

import (
	"hash/fnv"
	"slices"
	"time"
)

// put adds a mark in its place. Of two marks of a call the later stays.
func put(marks []Mark, m Mark, limit int) []Mark {
	for _, have := range marks {
		if have.ID == m.ID && (m.ID != 0 || have.At.Equal(m.At)) {
			m.At = later(m.At, have.At)
		}
	}
	marks = without(marks, m.ID)
	i, same := slices.BinarySearchFunc(marks, m, func(a, b Mark) int { return a.At.Compare(b.At) })
	if same && m.ID == 0 {
		return marks
	}
	return newest(slices.Insert(marks, i, m), limit)
}

// without returns a copy that lacks a call.
func without(marks []Mark, id uint64) []Mark {
	return but(marks, func(m Mark) bool { return id != 0 && m.ID == id })
}

func (m Mark) same(o Mark) bool { return m.ID == o.ID }

// but returns a copy of a list that lacks some, nil when nothing is left.
func but[T any](list []T, gone func(T) bool) []T {
	kept := slices.DeleteFunc(slices.Clone(list), gone)
	if len(kept) == 0 {
		return nil
	}
	return kept
}

func newest[T any](list []T, limit int) []T { return list[max(len(list)-limit, 0):] }

// markOf hides Meta's id, which has the customer's number in it.
func markOf(id CallID) uint64 {
	if id == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(id)) // never fails
	return h.Sum64()
}

// instant is a time as it is kept: milliseconds, UTC.
func instant(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

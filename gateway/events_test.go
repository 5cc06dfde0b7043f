package gateway

import (
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"
)

func newTestFeed(kept int) *feed { return newFeed(aMoment, kept, slog.New(slog.DiscardHandler)) }

func subscribe(t *testing.T, f *feed, after uint64) *subscription {
	t.Helper()
	s, err := f.subscribe(after)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.leave)
	return s
}

// ids are the numbers of what was taken, counted from the feed's first.
func (h harvest) ids(f *feed) []uint64 {
	var ids []uint64
	for _, e := range h.entries {
		ids = append(ids, e.id-f.first+1)
	}
	return ids
}

func wantIDs(t *testing.T, story string, got []uint64, from, to uint64) {
	t.Helper()
	for _, id := range got {
		if id != from {
			break
		}
		from++
	}
	if from != to+1 {
		t.Errorf("%s: got notices %v", story, got)
	}
}

func TestEverySubscriberGetsEverything(t *testing.T) {
	f := newTestFeed(4)
	f.publish(aMoment, trunkUp{"pbx"})
	one, two := subscribe(t, f, 0), subscribe(t, f, 0)
	before := one.take()
	if len(before.entries) > 0 || before.lost != nil || before.over {
		t.Errorf("a new subscriber is given %+v", before)
	}
	f.publish(aMoment, trunkDown{"pbx"})
	select {
	case <-before.more:
	default:
		t.Error("the subscriber is not woken")
	}
	for _, s := range []*subscription{one, two} {
		got := s.take()
		wantIDs(t, "one after the subscription", got.ids(f), 2, 2)
		if e := got.entries[0]; e.topic != "trunk.down" || string(e.data) != `{"at":"2026-11-22T09:00:00.123Z","trunk":"pbx"}` {
			t.Errorf("%s %s", e.topic, e.data)
		}
		wantIDs(t, "and once", s.take().ids(f), 1, 0)
	}
}

func TestSlowSubscriberLosesTheOldest(t *testing.T) {
	f := newTestFeed(4)
	slow := subscribe(t, f, 0)
	for range 10 {
		f.publish(aMoment, trunkUp{"pbx"})
	}
	got := slow.take()
	wantIDs(t, "the latest are left", got.ids(f), 7, 10)
	if got.lost == nil || *got.lost.Lost != 6 {
		t.Errorf("it is told of %+v lost", got.lost)
	}
	if again := slow.take(); again.lost != nil {
		t.Error("it is told twice")
	}
}

func TestComingBack(t *testing.T) {
	const base = 1_000_000
	tests := []struct {
		name      string
		published int
		after     func(f *feed) uint64
		from, to  uint64
		lost      int // -1: nobody knows how many
	}{
		{"after the latest", 3, func(f *feed) uint64 { return f.last }, 4, 3, 0},
		{"in the middle", 3, func(f *feed) uint64 { return f.first }, 2, 3, 0},
		{"before the first", 3, func(f *feed) uint64 { return f.first - 1 }, 1, 3, 0},
		{"nothing yet", 0, func(f *feed) uint64 { return f.first - 1 }, 1, 0, 0},
		{"the oldest that is kept", 6, func(f *feed) uint64 { return f.last - 4 }, 3, 6, 0},
		{"too late", 6, func(f *feed) uint64 { return f.first }, 3, 6, 1},
		{"from an earlier run", 6, func(f *feed) uint64 { return f.first - base }, 3, 6, -1},
		{"from an earlier run, nothing yet", 0, func(*feed) uint64 { return 1 }, 1, 0, -1},
		{"the clock was set back", 3, func(f *feed) uint64 { return f.last + 1 }, 1, 3, -1},
		{"nonsense", 3, func(*feed) uint64 { return math.MaxUint64 }, 1, 3, -1},
	}
	for _, tt := range tests {
		f := newTestFeed(4)
		for range tt.published {
			f.publish(aMoment, trunkUp{"pbx"})
		}
		got := subscribe(t, f, tt.after(f)).take()
		wantIDs(t, tt.name, got.ids(f), tt.from, tt.to)
		lost := 0
		if got.lost != nil {
			lost = -1
			if got.lost.Lost != nil {
				lost = int(*got.lost.Lost)
			}
		}
		if lost != tt.lost {
			t.Errorf("%s: %d lost, want %d", tt.name, lost, tt.lost)
		}
	}
}

func TestNumbersGrowOverRestarts(t *testing.T) {
	old := newFeed(aMoment, 4, nil)
	for range 999 {
		old.publish(aMoment, trunkUp{"pbx"})
	}
	if next := newFeed(aMoment.Add(time.Millisecond), 4, nil); next.first <= old.last {
		t.Errorf("%d follows %d", next.first, old.last)
	}
	if old.last >= 1<<53 {
		t.Error("JavaScript cannot read the number")
	}
}

func TestClosedFeed(t *testing.T) {
	f := newTestFeed(4)
	s := subscribe(t, f, 0)
	waiting := s.take()
	f.publish(aMoment, trunkUp{"pbx"})
	f.close()
	f.close()
	f.publish(aMoment, trunkUp{"late"})
	<-waiting.more
	last := s.take()
	wantIDs(t, "what was published before is still read", last.ids(f), 1, 1)
	if !last.over || !s.take().over {
		t.Error("the end is not told")
	}
	if _, err := f.subscribe(0); !errors.Is(err, errFeedClosed) {
		t.Errorf("a subscription to a closed feed: %v", err)
	}
}

func TestSubscribersAreCounted(t *testing.T) {
	f := newTestFeed(4)
	all := make([]*subscription, 0, maxSubscribers)
	for range maxSubscribers {
		s, err := f.subscribe(0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if _, err := f.subscribe(0); !errors.Is(err, errFeedFull) {
		t.Errorf("one too many: %v", err)
	}
	all[0].leave()
	subscribe(t, f, 0)
}

// TestCrowd has many publish and many read at once: everybody sees every number
// in order, but for those that it was told it lost.
func TestCrowd(t *testing.T) {
	const publishers, each, readers = 4, 500, 4
	f := newTestFeed(32)
	var publishing, reading sync.WaitGroup
	for range readers {
		s := subscribe(t, f, 0)
		reading.Go(func() {
			next := f.first
			for {
				h := s.take()
				if h.lost != nil {
					next += *h.lost.Lost
				}
				for _, e := range h.entries {
					if e.id != next || !json.Valid(e.data) {
						t.Errorf("notice %d, want %d: %s", e.id, next, e.data)
					}
					next = e.id + 1
				}
				if h.over {
					if next != f.first+publishers*each {
						t.Errorf("the last was %d", next-f.first)
					}
					return
				}
				if len(h.entries) == 0 {
					<-h.more
				}
			}
		})
	}
	for range publishers {
		publishing.Go(func() {
			for range each {
				f.publish(aMoment, callStarted{ID: "c1"})
			}
		})
	}
	publishing.Wait()
	f.close()
	reading.Wait()
}

func TestNobodyListens(*testing.T) {
	var f *feed
	f.publish(aMoment, trunkUp{"pbx"})
}

// TestBadFigureHidesOneEventOnly has a figure that JSON cannot hold.
func TestBadFigureHidesOneEventOnly(t *testing.T) {
	f := newTestFeed(4)
	s := subscribe(t, f, 0)
	f.publish(aMoment, callAnswered{Media: callMedia{SIP: &mediaView{MOS: math.NaN()}}})
	f.publish(aMoment, trunkUp{"pbx"})
	wantIDs(t, "the next one", s.take().ids(f), 1, 1)
}

func TestObjects(t *testing.T) {
	type empty struct{}
	type a struct{ A int }
	type b struct{ B string }
	for _, tt := range []struct {
		parts []any
		want  string
	}{
		{nil, "{}"},
		{[]any{empty{}}, "{}"},
		{[]any{a{1}, empty{}, b{"}"}}, `{"A":1,"B":"}"}`},
		{[]any{empty{}, a{1}}, `{"A":1}`},
		{[]any{[]int{1}}, ""},
		{[]any{"{}"}, ""},
		{[]any{nil}, ""},
	} {
		if got, err := object(tt.parts...); string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%v: %s, %v", tt.parts, got, err)
		}
	}
}

package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	keptNotices    = 2048 // how far a subscriber may fall behind, or come back after
	maxSubscribers = 32
	noticeBatch    = 64 // notices that a subscriber takes at once
)

// Why nobody can subscribe.
var (
	errFeedFull   = errors.New("too many subscribers")
	errFeedClosed = errors.New("the gateway is ending")
)

// feed tells subscribers what happens. It keeps the latest notices in one ring
// that all of them read, each at its own place: publishing never waits for
// anybody, and who falls behind by more than the ring loses the oldest and is
// told how many.
//
// Notices are numbered without a gap, but for those that had to be forgotten. The first number is made of the time of
// the start, so that numbers also grow over restarts and a returning subscriber
// of an earlier run is known for one.
type feed struct {
	log *slog.Logger

	mu          sync.Mutex
	ring        []entry // notice n is at n modulo its length
	first, last uint64  // numbers of this run's first notice and of the latest; last is first-1 before there is one
	subscribers int
	changed     chan struct{} // closed at the next notice, or at the end
	closed      bool
}

// entry is a notice as it goes out.
type entry struct {
	id    uint64
	topic string
	data  []byte // one line of JSON
}

func newFeed(start time.Time, kept int, log *slog.Logger) *feed {
	// Below 2^53, so that JavaScript reads it, for as long as clocks have 13 digits.
	const perMillisecond = 1000
	first := uint64(max(start.UnixMilli(), 1)) * perMillisecond
	return &feed{log: log, ring: make([]entry, kept), first: first, last: first - 1, changed: make(chan struct{})}
}

// publish tells every subscriber. It never waits for one. A nil feed tells
// nobody.
func (f *feed) publish(at time.Time, n notice) {
	if f == nil {
		return
	}
	e, err := encode(at, n)
	if err != nil {
		f.log.Error("event cannot be encoded", slog.String("event", e.topic), slog.Any("error", err))
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.last++
	e.id = f.last
	f.ring[f.last%uint64(len(f.ring))] = e
	close(f.changed)
	f.changed = make(chan struct{})
}

// moment is when something happened.
type moment struct {
	At jsonTime `json:"at"`
}

func encode(at time.Time, n notice) (entry, error) {
	topic, parts := n.tell()
	data, err := object(append([]any{moment{jsonTime(at)}}, parts...)...)
	return entry{topic: topic, data: data}, err
}

// object encodes the fields of all parts as one JSON object.
func object(parts ...any) ([]byte, error) {
	var out bytes.Buffer
	out.WriteByte('{')
	for _, part := range parts {
		text, err := json.Marshal(part)
		if err != nil {
			return nil, err
		}
		fields, isObject := bytes.CutSuffix(bytes.TrimPrefix(text, []byte("{")), []byte("}"))
		if !isObject {
			return nil, fmt.Errorf("%T is not an object", part)
		}
		if out.Len() > 1 && len(fields) > 0 {
			out.WriteByte(',')
		}
		out.Write(fields)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// close ends all subscriptions once they have read what was published before.
func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.changed)
	}
}

// subscription is one reader's place in a feed. It belongs to one goroutine.
type subscription struct {
	feed *feed
	seen uint64 // number of the latest notice it was given, or need not have
	gap  bool   // it comes from an earlier run: nobody knows what it missed
}

// subscribe begins after the notice with this number, or with the next one when
// after is 0. The subscription must be left.
func (f *feed) subscribe(after uint64) (*subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, errFeedClosed
	case f.subscribers >= maxSubscribers:
		return nil, errFeedFull
	}
	f.subscribers++
	s := &subscription{feed: f, seen: after}
	switch {
	case after == 0:
		s.seen = f.last
	case after < f.first-1 || after > f.last:
		s.seen, s.gap = f.oldest()-1, true
	}
	return s, nil
}

// oldest is the number of the oldest notice that is kept; last+1 when there is
// none. The caller holds the lock.
func (f *feed) oldest() uint64 {
	if kept := uint64(len(f.ring)); f.last-(f.first-1) > kept {
		return f.last - kept + 1
	}
	return f.first
}

func (s *subscription) leave() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	s.feed.subscribers--
}

// harvest is what a subscriber has before it.
type harvest struct {
	lost    *eventsLost // nil unless notices are missing before the first
	entries []entry
	more    <-chan struct{} // closed when it is worth to look again
	over    bool            // nothing follows
}

// take returns the next notices, none when all were seen. It does not wait.
func (s *subscription) take() harvest {
	f := s.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	h := harvest{more: f.changed}
	if s.gap {
		s.gap, h.lost = false, &eventsLost{}
	}
	if next, oldest := s.seen+1, f.oldest(); next < oldest {
		h.lost = &eventsLost{Lost: new(oldest - next)}
		s.seen = oldest - 1
	}
	for s.seen < f.last && len(h.entries) < noticeBatch {
		s.seen++
		if e := f.ring[s.seen%uint64(len(f.ring))]; e.topic != "" { // not forgotten
			h.entries = append(h.entries, e)
		}
	}
	h.over = f.closed && s.seen == f.last
	return h
}

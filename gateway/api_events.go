package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"wagate/config"
)

const (
	heartbeat       = 15 * time.Second // below the idle limits of common proxies
	subscriberRetry = 2 * time.Second  // after which a client that lost the stream comes back
)

// streamEvents sends what happens from now on, or from the number in
// Last-Event-ID on, as server-sent events (WHATWG HTML section 9.2), until one
// side ends it.
func (a *admin) streamEvents(w http.ResponseWriter, r *http.Request) {
	if !onlyParams(w, r) {
		return
	}
	after, err := lastEventID(r)
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	sub, err := a.deps.events.subscribe(after)
	switch {
	case errors.Is(err, errFeedFull):
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusServiceUnavailable, "overloaded", "there are as many subscribers as the gateway serves; close one")
		return
	case err != nil:
		fail(w, http.StatusServiceUnavailable, "draining", err.Error())
		return
	}
	defer sub.leave()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	s := &eventStream{admin: a, request: r, sub: sub, token: a.cfg.Load().Token, out: w, control: http.NewResponseController(w)}
	s.run()
}

// lastEventID is the number of the last event that the client has, 0 for none.
func lastEventID(r *http.Request) (uint64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil || id == 0 {
		return 0, errors.New("Last-Event-ID is not one that the stream gave")
	}
	return id, nil
}

// eventStream is one subscriber's connection.
type eventStream struct {
	admin   *admin
	request *http.Request
	sub     *subscription
	token   config.Secret // that the request was admitted by
	out     http.ResponseWriter
	control *http.ResponseController
}

// run sends until the client has gone, the gateway ends, or the token is no
// longer valid.
func (s *eventStream) run() {
	if s.send(fmt.Appendf(nil, "retry: %d\nid: %d\n\n", subscriberRetry.Milliseconds(), s.sub.seen)) != nil {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		if s.token != s.admin.cfg.Load().Token {
			s.note(s.send([]byte(": the token has changed\n\n")))
			return
		}
		news := s.sub.take()
		if text := s.write(news); len(text) > 0 {
			if s.send(text) != nil {
				return
			}
			continue
		}
		if news.over {
			s.note(s.send([]byte(": the gateway ends\n\n")))
			return
		}
		select {
		case <-s.request.Context().Done():
			return
		case <-news.more:
		case <-beat.C:
			if s.send([]byte(": still here\n\n")) != nil {
				return
			}
		}
	}
}

// write makes the text of what was taken. What tells of lost events has no id
// of its own: a client that leaves now comes back to where it was.
func (s *eventStream) write(news harvest) []byte {
	var text []byte
	if news.lost != nil {
		s.admin.deps.log.Warn("an event subscriber lost events")
		e, err := encode(time.Now(), *news.lost)
		s.note(err)
		text = fmt.Appendf(text, "event: %s\ndata: %s\n\n", e.topic, e.data)
	}
	for _, e := range news.entries {
		text = fmt.Appendf(text, "id: %d\nevent: %s\ndata: %s\n\n", e.id, e.topic, e.data)
	}
	return text
}

// send writes and flushes, each time with the full time for it: the server's
// limit counts from the request.
func (s *eventStream) send(text []byte) error {
	s.note(s.control.SetWriteDeadline(time.Now().Add(writeTimeout)))
	if _, err := s.out.Write(text); err != nil {
		return err
	}
	return s.control.Flush()
}

func (s *eventStream) note(err error) {
	if err != nil {
		s.admin.deps.log.Debug("event stream", slog.Any("error", err))
	}
}

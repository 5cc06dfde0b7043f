package fakemeta

import (
	"cmp"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// FaultKind is a way in which a Graph request goes wrong.
type FaultKind uint8

// The faults. The action has its effect where the kind says so, or where
// Fault.Effect does.
const (
	NoFault   FaultKind = iota
	Fail                // an error is the reply: Status, Code, Details
	Slow                // Delay passes, then all is well
	LateReply           // the effect at once, the reply after Delay
	Hang                // no reply until the client gives up
	Reset               // the connection is reset, no reply
	LoseReply           // the effect, then a reset
	Garbage             // a 200 that is not JSON
	Drip                // the effect, and the reply one byte at a time, Delay apart
)

// Fault is what goes wrong with Graph requests.
type Fault struct {
	Kind    FaultKind
	Action  string // of a Request; "" stands for all of them and for reads of the number
	CallID  string // "" stands for every call
	To      string // of connect: digits of the user's number; "" stands for everybody
	Times   int    // the next so many requests; 0: all until Heal
	Skip    int    // so many that fit go well first
	Effect  bool   // Fail, Hang, Garbage: the action has its effect nevertheless
	Delay   time.Duration
	Status  int // of Fail; default 500
	Code    int // of Fail; default 2, negative: 0
	Subcode int
	Message string
	Details string
	After   time.Duration // Retry-After
}

type faults struct {
	mu   sync.Mutex
	list []Fault
}

// Fail puts a fault in the way of coming requests. The first of several that
// fit is used.
func (s *Server) Fail(f Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = append(s.faults.list, f)
}

// Heal removes all faults of Graph requests.
func (s *Server) Heal() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = nil
}

// take finds the fault for a request and counts it.
func (l *faults) take(row *Request) Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.list {
		f := &l.list[i]
		if f.Action != "" && f.Action != row.Action || f.CallID != "" && f.CallID != row.CallID || f.To != "" && f.To != row.To {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		found := *f
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				l.list = slices.Delete(l.list, i, i+1)
			}
		}
		return found
	}
	return Fault{}
}

// effective says whether the request is carried out.
func (f Fault) effective() bool {
	switch f.Kind {
	case NoFault, Slow, LateReply, LoseReply, Drip:
		return true
	case Fail, Hang, Garbage:
		return f.Effect
	case Reset:
	}
	return false
}

func (f Fault) refusal() *graphError {
	return &graphError{
		status: cmp.Or(f.Status, http.StatusInternalServerError), code: max(cmp.Or(f.Code, 2), 0), subcode: f.Subcode,
		message: cmp.Or(f.Message, "An unexpected error has occurred. Please retry your request later."),
		details: f.Details, after: f.After,
	}
}

// disturb carries out what the fault does instead of a reply. It reports false
// where a reply is still to be sent.
func (s *Server) disturb(w http.ResponseWriter, r *http.Request, f Fault, row *Request, out outcome, fail *graphError) bool {
	switch f.Kind {
	case LateReply:
		s.pause(r.Context(), f.Delay)
		return false
	case Hang:
		s.pause(r.Context(), time.Hour)
		reset(w)
		return true
	case Reset, LoseReply:
		reset(w)
		return true
	case Garbage:
		row.Status = http.StatusOK
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		_, _ = w.Write([]byte("<html>{\"success\":"))
		return true
	case Drip:
		if fail != nil {
			return false
		}
		row.Status = http.StatusOK
		s.drip(r.Context(), w, f.Delay, out)
		return true
	case NoFault, Fail, Slow:
	}
	return false
}

func (s *Server) drip(ctx context.Context, w http.ResponseWriter, gap time.Duration, out outcome) {
	body, err := json.Marshal(out.body)
	if err != nil {
		return // strings and numbers only: cannot be
	}
	flush := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	for i, b := range body {
		if i == len(body)-1 && out.sent != nil {
			out.sent()
		}
		if _, err := w.Write([]byte{b}); err != nil || flush.Flush() != nil {
			return
		}
		s.pause(ctx, gap)
	}
}

// pause waits, but not longer than the request or the server lives.
func (s *Server) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
}

// reset ends the connection without a reply.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

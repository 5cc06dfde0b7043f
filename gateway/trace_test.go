package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wagate/sip"
	"wagate/store"
	"wagate/whatsapp"
)

func message(n int, text string) sip.Traced {
	return sip.Traced{
		At: aMoment.Add(time.Duration(n) * time.Millisecond), Peer: "udp 192.0.2.10:5060", Start: fmt.Sprintf("INFO sip:%d SIP/2.0", n), Method: "INFO",
		Headers: []sip.Header{{Name: "Subject", Value: text}},
	}
}

// TestLongCallsLoseTheMiddle: how a call began and how it ended stays.
func TestLongCallsLoseTheMiddle(t *testing.T) {
	for _, size := range []int{1, 2000, 3 * maxTraceText} {
		var memory atomic.Int64
		tr := newTrace("c1", cutter{}, &memory)
		const all = 1000
		for n := range all {
			tr.sip(message(n, strings.Repeat("x", size)))
		}
		v := tr.view()
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Lines) > maxTraceLines || len(v.Lines)+v.Dropped != all || len(text) > 3*maxTraceBytes {
			t.Errorf("%d bytes each: %d lines and %d dropped, %d bytes", size, len(v.Lines), v.Dropped, len(text))
		}
		if first := v.Lines[0]; !time.Time(first.At).Equal(aMoment) || !strings.HasPrefix(first.Text, "INFO sip:0 ") {
			t.Errorf("%d bytes each: the first line is %+.200v", size, first)
		}
		if last := v.Lines[len(v.Lines)-1]; !time.Time(last.At).Equal(aMoment.Add((all - 1) * time.Millisecond)) {
			t.Errorf("%d bytes each: the last line is of %v", size, last.At)
		}
		if memory.Load() <= 0 || memory.Load() > 2*maxTraceBytes {
			t.Errorf("%d bytes each: %d bytes are reckoned", size, memory.Load())
		}
		if tr.close(); memory.Load() != 0 {
			t.Errorf("%d bytes are not given back", memory.Load())
		}
	}
}

func TestRepeatsAreCounted(t *testing.T) {
	tr := newTrace("c1", cutter{}, new(atomic.Int64))
	again := message(1, "a")
	tr.sip(again)
	tr.sip(message(2, "b"))
	for n := range 3 {
		again.At = aMoment.Add(time.Duration(n+1) * time.Second)
		tr.sip(again)
	}
	sent := again
	sent.Sent = true
	tr.sip(sent)
	v := tr.view()
	if len(v.Lines) != 3 || v.Lines[0].Again != 3 || !time.Time(v.Lines[0].LastAt).Equal(again.At) || v.Lines[1].Again != 0 {
		t.Errorf("lines %+v", v.Lines)
	}
}

// TestTracesShareTheMemory: where there are too many at once, the ladders stay.
func TestTracesShareTheMemory(t *testing.T) {
	var memory atomic.Int64
	memory.Store(maxTracesMemory + 1)
	tr := newTrace("c1", cutter{}, &memory)
	tr.sip(message(1, "a"))
	if l := tr.view().Lines[0]; l.Text != "" || l.What != "INFO" {
		t.Errorf("line %+v", l)
	}
}

func TestGraphLines(t *testing.T) {
	tr := newTrace("c1", cutter{}, new(atomic.Int64))
	tr.graph(whatsapp.Exchange{
		Sent: aMoment, Done: aMoment.Add(87 * time.Millisecond), Action: "terminate", Method: "POST", Path: "/v26.0/1/calls",
		Request: []byte(`{"action":"terminate"}`), Status: 400, Answer: []byte(`{"error":{"code":138000,"fbtrace_id":"F"}}`), Err: errors.New("refused"),
	})
	tr.graph(whatsapp.Exchange{Sent: aMoment.Add(-time.Second), Done: aMoment, Action: "accept", Method: "POST", Err: errors.New("no\nanswer")})
	v := tr.view()
	if a := v.Lines[0]; a.What != "accept failed" || a.TookMS != 1000 || !strings.Contains(a.Text, `error: no\u000aanswer`) {
		t.Errorf("the request without an answer is %+v", a)
	}
	if b := v.Lines[1]; b.What != "terminate 400" || b.TookMS != 87 || !strings.Contains(b.Text, `"fbtrace_id": "F"`) || !strings.Contains(b.Text, `"action": "terminate"`) {
		t.Errorf("the refused request is %+v", b)
	}
}

// shelf is a traceStore.
type shelf struct {
	rows map[string]store.Trace
	err  error
}

func (s *shelf) SaveTrace(_ context.Context, t store.Trace) error {
	if s.err == nil {
		s.rows[t.CallID] = t
	}
	return s.err
}

func (s *shelf) Trace(_ context.Context, id string) ([]byte, error) { return s.rows[id].Body, nil }

// TestWhatComesAfterTheEndIsTraced: the trace is written once, when nothing
// belongs to the call any more, and can be seen all the time.
func TestWhatComesAfterTheEndIsTraced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{rows: map[string]store.Trace{}}
		all := newTraces(s, slog.New(slog.DiscardHandler))
		tr := all.open("c1", cutter{})
		tr.sip(message(1, "a"))
		all.over(tr, store.Record{ID: "c1", User: "34600111222", UserID: "ES.1", WACID: "wacid.A", EndedAt: aMoment}, func(f func()) { f() })
		time.Sleep(traceGrace - time.Millisecond)
		all.webhook(whatsapp.Terminate{Meta: whatsapp.Meta{CallID: "wacid.A"}}, time.Now())
		all.webhook(whatsapp.Terminate{Meta: whatsapp.Meta{CallID: "wacid.B"}}, time.Now())
		tr.sip(message(2, "b"))
		if len(s.rows) != 0 {
			t.Error("the trace is written too early")
		}
		before, err := all.show(t.Context(), "c1")
		if err != nil || strings.Count(string(before), `"with"`) != 3 || !strings.Contains(string(before), `"terminate"`) {
			t.Errorf("shown %s, %v", before, err)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		row := s.rows["c1"]
		if row.User != "34600111222" || row.UserID != "ES.1" || !row.EndedAt.Equal(aMoment) || string(row.Body) != string(before) {
			t.Errorf("kept %+v", row)
		}
		tr.sip(message(3, "c"))
		if after, err := all.show(t.Context(), "c1"); err != nil || string(after) != string(before) {
			t.Errorf("shown %s, %v", after, err)
		}
		if all.memory.Load() != 0 || len(all.ended) != 0 {
			t.Errorf("%d bytes and %d traces stay in memory", all.memory.Load(), len(all.ended))
		}
		if none, err := all.show(t.Context(), "c2"); none != nil || err != nil {
			t.Errorf("of no call: %s, %v", none, err)
		}
	})
}

func TestTracesAreFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{rows: map[string]store.Trace{}}
		all := newTraces(s, slog.New(slog.DiscardHandler))
		all.over(all.open("c1", cutter{}), store.Record{ID: "c1"}, func(f func()) { f() })
		all.flush()
		if string(s.rows["c1"].Body) != `{"call":"c1","lines":[],"dropped":0}` {
			t.Errorf("kept %s", s.rows["c1"].Body)
		}
		s.err = store.ErrFull
		all.over(all.open("c2", cutter{}), store.Record{ID: "c2"}, func(f func()) { f() })
		all.flush()
		if len(all.ended) != 0 || len(s.rows) != 1 {
			t.Error("a trace that cannot be written stays in memory")
		}
	})
}

func TestTraceByAPI(t *testing.T) {
	for _, c := range []struct {
		path   string
		err    error
		status int
		body   string
	}{
		{"/api/v1/calls/c1/trace", nil, 200, `"what":"INVITE"`},
		{"/api/v1/calls/c2/trace", nil, 404, `"not_found"`},
		{"/api/v1/calls/c1/trace?x=1", nil, 400, `"bad_request"`},
		{"/api/v1/calls/c1/trace", errors.New("disk of +34600111222"), 500, `"internal"`},
	} {
		f := fullAdmin(t)
		f.operator.err = c.err
		w := ask(t, f.admin, "GET", c.path)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) || strings.Contains(w.Body.String(), "34600") {
			t.Errorf("%s: %d %s", c.path, w.Code, w.Body)
		}
	}
}

func BenchmarkTraceSIP(b *testing.B) {
	m := message(1, "a")
	for range 20 {
		m.Headers = append(m.Headers, sip.Header{Name: "Via", Value: "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1"})
	}
	m.Headers = append(m.Headers, sip.Header{Name: "Content-Type", Value: "application/sdp"})
	m.Body = []byte(strings.Repeat("a=rtpmap:8 PCMA/8000\r\n", 20))
	tr := newTrace("c1", cutter{}, new(atomic.Int64))
	b.ReportAllocs()
	for b.Loop() {
		tr.sip(m)
	}
}

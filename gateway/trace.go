package gateway

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wagate/sip"
	"wagate/whatsapp"
)

// What the trace of one call may have, and all that are in memory together. A
// call that goes on for hours loses the middle: how it began and how it ended
// is what one asks.
const (
	maxTraceText    = 8 << 10
	maxTraceBytes   = 64 << 10
	maxTraceLines   = 160
	traceHead       = 60 // lines from the beginning that stay
	traceRepeats    = 12 // lines among which a repeat is looked for
	maxTracesMemory = 64 << 20
)

// Whom a line of a trace was with.
const (
	withSIP     = "sip"
	withGraph   = "graph"
	withWebhook = "webhook"
)

// traceLine is one message of a call, or a request and its answer.
type traceLine struct {
	At     jsonTime `json:"at"`
	With   string   `json:"with"`
	Sent   bool     `json:"sent"`
	What   string   `json:"what"`   // method, status, action or kind of event
	Method string   `json:"method"` // of a SIP response: what it answers
	Peer   string   `json:"peer"`   // of SIP: transport and address
	TookMS int64    `json:"took_ms"`
	Again  int      `json:"again"`   // so often it was repeated
	LastAt jsonTime `json:"last_at"` // the last of the repeats
	Text   string   `json:"text"`
}

func (l *traceLine) size() int { return len(l.Text) + len(l.What) + len(l.Peer) + 200 }

// traceView is a trace as the API shows it and as it is kept.
type traceView struct {
	Call    string      `json:"call"`
	Lines   []traceLine `json:"lines"`
	Dropped int         `json:"dropped"` // messages from the middle that were too many
}

// trace collects the messages of one call from whatever goroutine sees them. Its
// mutex is a leaf. A nil trace takes nothing.
type trace struct {
	call   string
	cut    cutter
	memory *atomic.Int64 // of all traces

	mu      sync.Mutex
	lines   []traceLine
	bytes   int
	dropped int
	closed  bool
}

func newTrace(call string, c cutter, memory *atomic.Int64) *trace {
	return &trace{call: call, cut: c, memory: memory}
}

// sip takes one SIP message.
func (t *trace) sip(m sip.Traced) {
	if t == nil {
		return
	}
	l := traceLine{At: jsonTime(m.At), With: withSIP, Sent: m.Sent, What: m.Method, Peer: m.Peer, Text: t.cut.sip(m)}
	if m.Status != 0 {
		_, words, _ := strings.Cut(m.Start, " ")
		l.What, l.Method = t.cut.own(oneLine(words)), oneLine(m.Method)
	}
	t.add(l)
}

// graph takes one request to Meta.
func (t *trace) graph(x whatsapp.Exchange) {
	if t == nil {
		return
	}
	what := x.Action + " failed"
	if x.Status != 0 {
		what = x.Action + " " + strconv.Itoa(x.Status)
	}
	parts := []string{x.Method + " " + oneLine(x.Path), t.cut.json(x.Request)}
	if x.Status != 0 {
		parts = append(parts, "HTTP "+strconv.Itoa(x.Status), t.cut.json(x.Answer))
	}
	if x.Err != nil {
		parts = append(parts, "error: "+t.cut.own(oneLine(x.Err.Error())))
	}
	parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
	t.add(traceLine{
		At: jsonTime(x.Sent), With: withGraph, Sent: true, What: what,
		TookMS: x.Done.Sub(x.Sent).Milliseconds(), Text: strings.Join(parts, "\n\n"),
	})
}

// webhook takes one event from Meta.
func (t *trace) webhook(ev whatsapp.Event, now time.Time) {
	if t == nil {
		return
	}
	what := string(ev.Kind())
	switch ev := ev.(type) {
	case whatsapp.Offer, whatsapp.Answer:
		what = "connect" // as Meta calls them
	case whatsapp.Status:
		what = ev.State.String()
	case whatsapp.Terminate, whatsapp.PermissionReply, whatsapp.Spoke, whatsapp.MessageFailed, whatsapp.UserMoved:
	}
	raw, err := json.Marshal(ev)
	if err != nil {
		raw = nil
	}
	t.add(traceLine{At: jsonTime(now), With: withWebhook, What: what, Text: t.cut.json(raw)})
}

// add keeps a line, or counts it where it is a repeat.
func (t *trace) add(l traceLine) {
	if len(l.Text) > maxTraceText {
		l.Text = strings.ToValidUTF8(l.Text[:maxTraceText], "") + "\n[and more]"
	}
	l.What = firstRunes(l.What, 80)
	l.Method = firstRunes(l.Method, 40)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for i := len(t.lines) - 1; i >= max(len(t.lines)-traceRepeats, 0); i-- {
		was := &t.lines[i]
		if l.With == withSIP && was.With == withSIP && was.Sent == l.Sent && was.Peer == l.Peer && was.Text == l.Text && l.Text != "" {
			was.Again++
			was.LastAt = l.At
			return
		}
	}
	if t.memory.Load() > maxTracesMemory {
		l.Text = ""
	}
	t.lines = append(t.lines, l)
	t.grow(l.size())
	for len(t.lines) > traceHead+1 && (len(t.lines) > maxTraceLines || t.bytes > maxTraceBytes) {
		t.grow(-t.lines[traceHead].size())
		t.lines = slices.Delete(t.lines, traceHead, traceHead+1)
		t.dropped++
	}
	if last := &t.lines[len(t.lines)-1]; t.bytes > maxTraceBytes && last.Text != "" { // a long beginning
		t.grow(-len(last.Text))
		last.Text = ""
	}
}

func (t *trace) grow(n int) {
	t.bytes += n
	t.memory.Add(int64(n))
}

// firstRunes is as much of a text as a line of a ladder may have.
func firstRunes(text string, most int) string {
	if all := []rune(text); len(all) > most {
		return string(all[:most])
	}
	return text
}

// view is what there is so far, in the order of the times.
func (t *trace) view() traceView {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := traceView{Call: t.call, Lines: slices.Clone(t.lines), Dropped: t.dropped}
	slices.SortStableFunc(v.Lines, func(a, b traceLine) int { return cmp.Compare(time.Time(a.At).UnixNano(), time.Time(b.At).UnixNano()) })
	if v.Lines == nil {
		v.Lines = []traceLine{}
	}
	return v
}

// close gives the memory back; what comes later is taken no more.
func (t *trace) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.grow(-t.bytes)
	t.lines = nil
}

package sip

import (
	"slices"
	"strconv"
	"strings"
)

// maxForks is how many early dialogs of one INVITE get a PRACK.
const maxForks = 16

// fork is an early dialog that a reliable provisional answer opened.
type fork struct {
	dialog *dialog
	rseq   int    // of the last one that was taken
	sdp    []byte // its description, which is the answer if the 2xx has none
}

// reliable takes what is reliable in a provisional answer: it is confirmed by
// PRACK, once and in order (RFC 3262 section 4). It returns false for a repeat
// and for one that came too early, which mean nothing.
func (c *Session) reliable(m *message) bool {
	to := tag(m.get("To"))
	if m.status == 100 || to == "" || !m.names("Require", "100rel") {
		return true
	}
	seq, ok := digits(m.get("RSeq"), maxCSeq)
	f := c.forks[to]
	switch {
	case !ok || seq == 0:
		c.s.metrics.reject("malformed")
		return false
	case f != nil && seq != f.rseq+1:
		return false
	case f == nil && len(c.forks) >= maxForks:
		return false
	case f == nil:
		if c.forks == nil {
			c.forks = map[string]*fork{}
		}
		f = &fork{dialog: dialogOfAnswer(m)}
		c.forks[to] = f
	}
	f.rseq = seq
	if len(m.body) > 0 {
		f.sdp = slices.Clone(m.body)
	}
	number, _ := m.cseq()
	c.ask(&ask{
		dialog: f.dialog, method: "PRACK", fields: []field{{"RAck", strconv.Itoa(seq) + " " + utoa(number) + " INVITE"}},
		done: func(*message, error) {}, // whoever misses it says so by its final answer
	})
	return true
}

// ofFork moves what the early dialog knew into the dialog of the 2xx, and
// returns the far end's description.
func (c *Session) ofFork(m *message) []byte {
	f := c.forks[c.dialog.remoteTag()]
	c.forks = nil
	if f == nil {
		return slices.Clone(m.body)
	}
	c.dialog.LocalSeq, c.dialog.RemoteSeq = f.dialog.LocalSeq, f.dialog.RemoteSeq
	if len(m.body) == 0 {
		return f.sdp
	}
	return slices.Clone(m.body)
}

// peerEarly answers a request of a far end that has not answered our INVITE. It
// cannot change the description: our offer is open.
func (c *Session) peerEarly(in gotRequest) {
	f := c.forks[tag(in.m.get("From"))]
	seq, _ := in.m.cseq()
	switch {
	case f != nil && f.dialog.RemoteSeq != 0 && seq <= f.dialog.RemoteSeq:
		c.s.metrics.reject("cseq")
		in.tx.answer(500)
	case in.m.method != "UPDATE":
		in.tx.answer(481)
	case f == nil || len(in.m.body) > 0:
		in.tx.answer(491)
	default:
		f.dialog.RemoteSeq = seq
		if target := contactURI(in.m); target != "" {
			f.dialog.Target = target
		}
		in.tx.answer(200, field{"Contact", c.s.contactOf(in.m.uri, in.tx.fl.endpoint())})
	}
}

// rack is what a PRACK confirms.
type rack struct {
	rseq   int
	cseq   uint32
	method string
}

func parseRAck(value string) (rack, bool) {
	parts := strings.Fields(value)
	if len(parts) != 3 {
		return rack{}, false
	}
	rseq, ok := digits(parts[0], maxCSeq)
	cseq, good := digits(parts[1], maxCSeq)
	return rack{rseq, uint32(cseq), parts[2]}, ok && good //nolint:gosec // at most maxCSeq
}

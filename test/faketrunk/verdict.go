package faketrunk

import (
	"fmt"
	"slices"
	"strings"
)

// gateStatuses refuse a message, not a call: what is malformed or asks for what
// nobody has is nobody's call, and a challenge is not its end.
var gateStatuses = []int{400, 401, 407, 413, 414, 415, 416, 420, 421, 482, 483, 493, 501, 505, 513}

// Verdicts judges all that a gateway has said to the calls that were placed
// with it, and its BYEs, by what a PBX does with it: 503 sends it to the next
// gateway, so it is about the gateway's own state only; after the customer's
// phone has rung nothing may send it elsewhere; and whatever ends a call says
// why, in the words of the network and in ours. A 180 is what says that the
// phone rings: a 183 without one is an announcement, after which any refusal may
// come.
func (t *Trunk) Verdicts() []string {
	var wrong []string
	placed := map[string]*placedCall{}
	for _, m := range t.Messages() {
		n, method := m.CSeq()
		key := fmt.Sprintf("%s %d", m.CallID(), n)
		switch {
		case !m.In && m.Method == "INVITE" && param(m.Get("To"), "tag") == "":
			placed[key] = &placedCall{}
		case m.In && m.Method == "BYE":
			wrong = append(wrong, farewell(m)...)
		case m.In && m.Status > 100 && method == "INVITE" && placed[key] != nil:
			wrong = append(wrong, placed[key].heard(m)...)
		}
	}
	return wrong
}

// placedCall is an INVITE of ours.
type placedCall struct {
	rung  bool
	final bool // judged; it comes again until our ACK is there
}

func (c *placedCall) heard(m *Message) (wrong []string) {
	add := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%d to call %s: ", m.Status, m.CallID())+fmt.Sprintf(format, args...))
	}
	if m.Status < 200 {
		c.rung = c.rung || m.Status == 180
		return nil
	}
	if c.final || m.Status < 300 {
		c.final = true
		return nil
	}
	c.final = true
	cause, _, _ := strings.Cut(m.Get("X-WA-Error"), ";")
	if m.Status == 503 && !slices.Contains([]string{"overloaded", "draining", "store_failed"}, cause) {
		add("X-WA-Error %q is not this gateway's own state", m.Get("X-WA-Error"))
	}
	if c.rung && !slices.Contains([]int{480, 486, 487, 603}, m.Status) {
		add("a PBX may ring elsewhere, and the phone has rung")
	}
	if slices.Contains(gateStatuses, m.Status) {
		return wrong
	}
	if cause == "" {
		add("no X-WA-Error")
	}
	if m.Status != 487 && !strings.HasPrefix(m.Get("Reason"), "Q.850;cause=") {
		add("Reason %q", m.Get("Reason"))
	}
	if c.rung && m.Get("X-WA-Call") == "" {
		add("no X-WA-Call")
	}
	return wrong
}

// farewell judges a BYE. One that ends an answer nobody has waited for knows no
// call.
func farewell(m *Message) (wrong []string) {
	stray := strings.Contains(m.Get("Reason"), "nobody waits for it")
	for _, name := range []string{"Reason", "X-WA-Error", "X-WA-Call"} {
		if m.Get(name) == "" && (name != "X-WA-Call" || !stray) {
			wrong = append(wrong, "BYE of call "+m.CallID()+": no "+name)
		}
	}
	return wrong
}

package gateway

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the code does into the golden files")

// TestScripts plays the stories of testdata/calls: a line with > is what comes
// in, the indented line below it what the machine and its legs do about it, the
// phase and the cause where they change. Commit what -update writes only if you
// understand why it changed.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/calls/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := play(string(text))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("the story has changed; it is now\n%s", got)
			}
		})
	}
}

// play returns the script with what the code does.
func play(text string) (string, error) {
	var out strings.Builder
	s := &theatre{}
	s.port = theatrePort{s, ""}
	for i := range s.out {
		s.out[i] = theatrePort{s, strconv.Itoa(i) + " "}
	}
	for n, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if strings.HasPrefix(line, "    ") {
			continue // what it did last time
		}
		out.WriteString(line + "\n")
		input, is := strings.CutPrefix(line, "> ")
		if !is {
			continue
		}
		input, _, _ = strings.Cut(input, "  (") // a remark
		before := s.m
		s.did = nil
		if err := s.input(strings.Fields(input)); err != nil {
			return "", fmt.Errorf("line %d: %q: %w", n+1, input, err)
		}
		for len(s.queue) > 0 {
			ev := s.queue[0]
			s.queue = s.queue[1:]
			s.m.step(ev, s)
		}
		did := strings.Join(s.did, "; ")
		if s.m.Phase != before.Phase {
			did = fmt.Sprintf("%-66s %s", did, s.m.Phase)
		}
		if s.m.Cause != before.Cause {
			did += " " + s.m.Cause.String()
		}
		if did == "" {
			did = "nothing"
		}
		out.WriteString("    " + did + "\n")
	}
	return out.String(), nil
}

// theatre is a call whose surroundings are words.
type theatre struct {
	m     machine
	scene string
	speak bool // permissions.announce
	wi    graphIngress
	wo    graphEgress
	si    sipIngress
	su    summonedIngress
	so    [10]sipEgress
	rel   [10]relief
	guest [10]sipIngress
	hand  handover
	port  theatrePort // of the ingress
	out   [10]theatrePort
	did   []string
	queue []event
	over  bool // so is the caller's patience, with this input
}

func (s *theatre) say(format string, args ...any) {
	s.did = append(s.did, fmt.Sprintf(format, args...))
}

// theatrePort is a SIP session made of words.
type theatrePort struct {
	s    *theatre
	name string
}

func (p *theatrePort) emit(ev event) {
	if end, ok := ev.(calleeEnded); ok {
		end.Over = p.s.over
		ev = end
	}
	p.s.emit(ev)
}

func (p *theatrePort) do(a sipAct, c Cause) {
	word := map[sipAct]string{
		sipPrepare: "to disk", sipInvite: "INVITE", sipCancel: "CANCEL", sipBye: "BYE",
		sipRing: "180", sipAnswer: "200", sipTone: "ringback", sipSpeak: "183 and the prompt", sipHush: "no more prompt",
	}[a]
	switch a {
	case sipCancel, sipBye:
		word += fmt.Sprintf(" (Q.850 %d)", c.releaseQ850())
	case sipRefuse:
		code, _ := c.sipStatus(p.s.si.Rung)
		word = strconv.Itoa(code)
	case sipPrepare, sipInvite, sipRing, sipAnswer, sipTone, sipSpeak, sipHush:
	}
	p.s.say("sip %s%s", p.name, word)
}

func (s *theatre) emit(ev event) {
	talks := s.m.Attempt
	if s.hand.In {
		talks = s.m.Caller
	}
	s.hand.pass(ev, talks, s)
}

// The port of the handover.

func (s *theatre) tell(ev event)     { s.queue = append(s.queue, ev) }
func (s *theatre) inform(status int) { s.say("NOTIFY %d", status) }
func (s *theatre) comfort() {
	if s.m.Phase == Active {
		s.say("ringback to the user")
	}
}

func (s *theatre) wait(t legTimer, nth uint8) {
	switch t {
	case retryTimer:
		s.say("wait %d", nth)
	case peerTimer:
		s.say("wait for media")
	case adoptTimer:
		s.say("wait for a webhook")
	case acceptTimer: // always there beside accept
	}
}

var requestWords = map[string]graphReq{
	"prepare": reqPrepare, "pre_accept": reqPreAccept, "accept": reqAccept,
	"reject": reqReject, "terminate": reqTerminate, "connect": reqConnect,
}

func (s *theatre) request(r graphReq) {
	for word, req := range requestWords {
		if req == r {
			s.say("graph %s", word)
		}
	}
}

// The actions.

func (s *theatre) prepareIn() {
	switch s.scene {
	case "user":
		s.wi.prepare(s)
	case "phone":
		s.si.prepare(&s.port)
	case "click":
		s.su.prepare(&s.port)
	}
}

func (s *theatre) dialOut(leg uint8) {
	if s.scene != "user" {
		s.wo.Leg = leg
		s.wo.dial(s)
		return
	}
	s.so[leg] = sipEgress{Leg: leg}
	if s.m.Plan.Plain {
		s.say("plain")
	}
	s.so[leg].dial(&s.out[leg])
}

func (s *theatre) ringIn() {
	switch s.scene {
	case "phone":
		s.si.ring(&s.port)
	case "click":
		s.su.ring(&s.port)
	}
}

func (s *theatre) answerIn() {
	switch s.scene {
	case "user":
		s.wi.answer(s)
	case "phone":
		s.si.answer(&s.port)
	case "click":
		s.su.answer(&s.port)
	}
}

func (s *theatre) hangupIn(c Cause) {
	defer s.dismiss(true, c)
	if s.m.Caller != 0 {
		s.newcomer(s.m.Caller, c)
		return
	}
	s.hangupFirst(c)
}

// newcomer hangs up a phone that took the place of another, or is to.
func (s *theatre) newcomer(leg uint8, c Cause) {
	if s.guest[leg].Leg != 0 {
		s.guest[leg].hangup(c, false, &s.out[leg])
		return
	}
	s.rel[leg].hangup(c, &s.out[leg])
}

func (s *theatre) dismiss(in bool, c Cause) {
	if leg := s.hand.companion(in); leg != 0 {
		s.newcomer(leg, c)
	}
}

func (s *theatre) hangupFirst(c Cause) {
	switch s.scene {
	case "user":
		s.wi.hangup(s)
	case "phone":
		s.si.hangup(c, s.speak && c.spoken(), &s.port)
	case "click":
		s.su.hangup(c, &s.port)
	}
}

func (s *theatre) hurryIn() {
	if s.scene == "phone" {
		s.si.spoken(&s.port)
	}
}

func (s *theatre) hangupOut(leg uint8, c Cause) {
	defer s.dismiss(false, c)
	s.hangupPhone(leg, c)
}

func (s *theatre) hangupPhone(leg uint8, c Cause) {
	if s.rel[leg].Leg != 0 || s.guest[leg].Leg != 0 {
		s.newcomer(leg, c)
		return
	}
	if s.scene != "user" {
		s.wo.hangup(s)
		return
	}
	s.so[leg].hangup(c, &s.out[leg])
}

func (s *theatre) startBridge()           { s.say("bridge start") }
func (s *theatre) stopBridge()            { s.say("bridge stop") }
func (s *theatre) swap(leg uint8, _ bool) { s.say("bridge to %d", leg) }

func (s *theatre) pickUp(leg uint8) { s.say("sip %d has the call", leg) }

func (s *theatre) drop(leg uint8, c Cause) {
	if leg == 0 {
		s.hangupFirst(c)
		return
	}
	s.hangupPhone(leg, c)
}

// arm tells of an end that takes as long as the far end's timers allow.
func (s *theatre) arm(at stamp) {
	slow := s.si.slow() || s.su.slow()
	for i := range s.so {
		slow = slow || s.so[i].slow()
	}
	if at.Phase == Ending && slow {
		s.say("be patient")
	}
}

func (s *theatre) record(c Cause, abandoned bool) {
	by := map[party]string{byGateway: "gateway", byCaller: "caller", byCallee: "callee"}[s.m.By]
	s.say("record %v by %s", c, by)
	if abandoned {
		s.say("debts")
	}
}

package gateway

import (
	"slices"
	"testing"
)

// asked records what the machine asks for.
type asked struct{ what []string }

func (a *asked) add(s string)           { a.what = append(a.what, s) }
func (a *asked) prepareIn()             { a.add("prepareIn") }
func (a *asked) dialOut(uint8)          { a.add("dialOut") }
func (a *asked) ringIn()                { a.add("ringIn") }
func (a *asked) answerIn()              { a.add("answerIn") }
func (a *asked) hangupIn(Cause)         { a.add("hangupIn") }
func (a *asked) hurryIn()               { a.add("hurryIn") }
func (a *asked) hangupOut(uint8, Cause) { a.add("hangupOut") }
func (a *asked) drop(uint8, Cause)      { a.add("drop") }
func (a *asked) startBridge()           { a.add("startBridge") }
func (a *asked) stopBridge()            { a.add("stopBridge") }
func (a *asked) swap(uint8, bool)       { a.add("swap") }
func (a *asked) pickUp(uint8)           { a.add("pickUp") }
func (a *asked) arm(stamp)              { a.add("arm") }
func (a *asked) record(_ Cause, left bool) {
	a.add(map[bool]string{false: "record", true: "record debts"}[left])
}

// in makes a machine that is in that phase, by the straight way.
func in(p Phase, plan plan) machine {
	m := machine{Summoned: p == Summoning}
	do := &asked{}
	m.start(do)
	for _, ev := range []event{routed{plan}, calleeRinging{1}, calleeAnswered{1}, callerConnected{}, stopped{Draining}, callerEnded{Cause: Hangup}, calleeEnded{Leg: 1, Cause: Hangup}} {
		if m.Phase == p {
			break
		}
		m.step(ev, do)
	}
	return m
}

// TestTransitions is the table of the design, cell by cell. What is not in it
// must do nothing.
func TestTransitions(t *testing.T) {
	two := newPlan(1, 1)
	type cell struct {
		to   Phase
		asks []string
	}
	var (
		hangBoth = []string{"hangupIn", "hangupOut", "arm"}
		hangIn   = []string{"hangupIn", "arm"}
		hangOut  = []string{"hangupOut", "arm"}
		unbridge = []string{"stopBridge", "hangupIn", "hangupOut", "arm"}
	)
	ends := map[Phase]cell{
		Summoning: {Ending, hangIn}, Routing: {Ending, hangIn}, Dialing: {Ending, hangBoth},
		Ringing: {Ending, hangBoth}, Answering: {Ending, hangBoth}, Active: {Ending, unbridge},
	}
	for _, row := range []struct {
		name  string
		event func(m machine) event
		cells map[Phase]cell
	}{
		{"summoned", func(machine) event { return summoned{} }, map[Phase]cell{Summoning: {Routing, []string{"arm"}}}},
		{"routed", func(machine) event { return routed{two} }, map[Phase]cell{Routing: {Dialing, []string{"arm", "prepareIn", "dialOut"}}}},
		{"routeFailed", func(machine) event { return routeFailed{NoRoute} }, map[Phase]cell{Routing: {Ending, hangIn}}},
		{"calleeRinging", func(machine) event { return calleeRinging{1} }, map[Phase]cell{Dialing: {Ringing, []string{"arm", "ringIn"}}}},
		{"calleeAnswered", func(machine) event { return calleeAnswered{1} }, map[Phase]cell{
			Dialing: {Answering, []string{"arm", "answerIn"}}, Ringing: {Answering, []string{"arm", "answerIn"}},
		}},
		{"callerConnected", func(machine) event { return callerConnected{} }, map[Phase]cell{Answering: {Active, []string{"arm", "startBridge"}}}},
		{"callerEnded", func(machine) event { return callerEnded{Cause: Hangup} }, map[Phase]cell{
			Summoning: {Ended, []string{"record"}}, Routing: {Ended, []string{"record"}}, Dialing: {Ending, hangOut}, Ringing: {Ending, hangOut},
			Answering: {Ending, hangOut}, Active: {Ending, []string{"stopBridge", "hangupOut", "arm"}}, Ending: {Ending, nil},
		}},
		{"calleeEnded, try elsewhere", func(machine) event { return calleeEnded{Leg: 1, Cause: Unreachable} }, map[Phase]cell{
			Dialing: {Dialing, []string{"dialOut"}}, Ringing: {Dialing, []string{"arm", "dialOut"}},
			Answering: {Ending, hangIn}, Active: {Ending, []string{"stopBridge", "hangupIn", "arm"}}, Ending: {Ending, nil},
		}},
		{"calleeEnded for good", func(machine) event { return calleeEnded{Leg: 1, Cause: Declined} }, map[Phase]cell{
			Dialing: {Ending, hangIn}, Ringing: {Ending, hangIn},
			Answering: {Ending, hangIn}, Active: {Ending, []string{"stopBridge", "hangupIn", "arm"}}, Ending: {Ending, nil},
		}},
		{"calleeEnded, and the caller's patience", func(machine) event { return calleeEnded{1, Unreachable, true} }, map[Phase]cell{
			Dialing: {Ending, hangIn}, Ringing: {Ending, hangIn},
			Answering: {Ending, hangIn}, Active: {Ending, []string{"stopBridge", "hangupIn", "arm"}}, Ending: {Ending, nil},
		}},
		{"mediaLost", func(machine) event { return mediaLost{MediaLost} }, ends},
		{"callerFailed", func(machine) event { return callerFailed{AnswerFailed} }, ends},
		{"stopped", func(machine) event { return stopped{Draining} }, map[Phase]cell{
			Summoning: ends[Summoning], Routing: ends[Routing], Dialing: ends[Dialing], Ringing: ends[Ringing],
			Answering: ends[Answering], Active: ends[Active], Ending: {Ending, []string{"hurryIn"}},
		}},
		{"deadline", func(m machine) event { return deadline{Stamp: stamp{m.Phase, m.Turn}} }, map[Phase]cell{
			Summoning: ends[Summoning], Routing: ends[Routing], Dialing: ends[Dialing],
			Ringing:   {Dialing, []string{"drop", "arm", "dialOut"}},
			Answering: ends[Answering], Active: ends[Active], Ending: {Ended, []string{"record debts"}},
		}},
		{"deadline, and the caller's patience", func(m machine) event { return deadline{stamp{m.Phase, m.Turn}, true} }, map[Phase]cell{
			Summoning: ends[Summoning], Routing: ends[Routing], Dialing: ends[Dialing], Ringing: ends[Ringing],
			Answering: ends[Answering], Active: ends[Active], Ending: {Ended, []string{"record debts"}},
		}},
		{"deadline of another turn", func(m machine) event { return deadline{Stamp: stamp{m.Phase, m.Turn - 1}} }, nil},
		{"deadline of another phase", func(m machine) event { return deadline{Stamp: stamp{m.Phase ^ 1, m.Turn}} }, nil},
		{"replaced", func(machine) event { return replaced{Leg: 2} }, map[Phase]cell{
			Summoning: {Summoning, []string{"drop"}}, Routing: {Routing, []string{"drop"}},
			Dialing: {Answering, []string{"arm", "pickUp", "drop", "answerIn"}}, Ringing: {Answering, []string{"arm", "pickUp", "drop", "answerIn"}},
			Answering: {Answering, []string{"drop"}},
			Active:    {Active, []string{"swap", "drop"}}, Ending: {Ending, []string{"drop"}},
		}},
		{"replaced on the caller's side", func(machine) event { return replaced{Leg: 2, In: true} }, map[Phase]cell{
			Summoning: {Summoning, []string{"drop"}}, Routing: {Routing, []string{"drop"}}, Dialing: {Dialing, []string{"drop"}},
			Ringing: {Ringing, []string{"drop"}}, Answering: {Answering, []string{"drop"}},
			Active: {Active, []string{"swap", "drop"}}, Ending: {Ending, []string{"drop"}},
		}},
		{"calleeRinging of one given up", func(machine) event { return calleeRinging{0} }, nil},
		{"calleeAnswered of one given up", func(machine) event { return calleeAnswered{0} }, nil},
	} {
		for p := Summoning; p <= Ended; p++ {
			m := in(p, two)
			before, ev, do := m, row.event(m), &asked{}
			m.step(ev, do)
			want, told := row.cells[p]
			if !told {
				want = cell{to: p}
			}
			if m.Phase != want.to || !slices.Equal(do.what, want.asks) {
				t.Errorf("%s in %v: got %v and %q, want %v and %q", row.name, p, m.Phase, do.what, want.to, want.asks)
			}
			if _, ended := ev.(calleeEnded); !told && !ended && m != before {
				t.Errorf("%s in %v changed the machine", row.name, p)
			}
		}
	}
}

// TestDeadlineCauses: the phase says what has gone wrong when it took too long.
func TestDeadlineCauses(t *testing.T) {
	for _, tt := range []struct {
		phase   Phase
		toGraph bool
		over    bool
		cause   Cause
		by      party
	}{
		{Summoning, false, false, NoAnswer, byCaller},
		{Routing, false, false, Internal, byGateway},
		{Dialing, false, false, Unreachable, byGateway},
		{Dialing, false, true, NoAnswer, byGateway},
		{Dialing, true, false, APITimeout, byGateway},
		{Dialing, true, true, APITimeout, byGateway},
		{Ringing, false, false, NoAnswer, byGateway},
		{Answering, false, false, AnswerFailed, byGateway},
		{Active, false, false, MaxDuration, byGateway},
	} {
		m := in(tt.phase, newPlan(1))
		m.ToGraph = tt.toGraph
		m.step(deadline{stamp{m.Phase, m.Turn}, tt.over}, &asked{})
		if m.Phase != Ending || m.Cause != tt.cause || m.By != tt.by {
			t.Errorf("%v: got %v, %v by %d; want %v by %d", tt.phase, m.Phase, m.Cause, m.By, tt.cause, tt.by)
		}
	}
}

// TestWhoEnded: the record names the side.
func TestWhoEnded(t *testing.T) {
	for ev, want := range map[event]party{
		callerEnded{Cause: Hangup}:              byCaller,
		callerEnded{Cause: MediaFailed}:         byGateway,
		callerEnded{Cause: APIError}:            byGateway,
		calleeEnded{Leg: 1, Cause: Hangup}:      byCallee,
		calleeEnded{Leg: 1, Cause: MediaFailed}: byGateway,
		calleeEnded{Leg: 1, Cause: APITimeout}:  byGateway,
		callerFailed{AnswerFailed}:              byGateway,
		mediaLost{MediaLost}:                    byGateway,
		stopped{Hangup}:                         byGateway,
	} {
		m := in(Active, newPlan(1))
		m.step(ev, &asked{})
		if m.By != want {
			t.Errorf("%#v: ended by %d, want %d", ev, m.By, want)
		}
	}
}

// TestPlan walks a route: two addresses, then one, then two.
func TestPlan(t *testing.T) {
	type at struct {
		hop, target uint8
		plain       bool
	}
	for _, tt := range []struct {
		name  string
		retry []retry
		want  []at
		last  bool // the plan is at its end after that
	}{
		{"never", []retry{retryNever}, []at{{}}, true},
		{"every address", []retry{retryTarget, retryTarget, retryTarget, retryTarget, retryTarget}, []at{{0, 1, false}, {1, 0, false}, {2, 0, false}, {2, 1, false}, {2, 1, false}}, true},
		{"every hop", []retry{retryHop, retryHop, retryHop}, []at{{1, 0, false}, {2, 0, false}, {2, 0, false}}, true},
		{"plain, then the next hop", []retry{retryPlain, retryPlain}, []at{{0, 0, true}, {1, 0, false}}, false},
		{"plain is of one address", []retry{retryPlain, retryTarget, retryPlain}, []at{{0, 0, true}, {0, 1, false}, {0, 1, true}}, false},
		{"plain at the last", []retry{retryHop, retryHop, retryPlain, retryPlain}, []at{{1, 0, false}, {2, 0, false}, {2, 0, true}, {2, 0, true}}, true},
	} {
		p := newPlan(2, 1, 2)
		for i, r := range tt.retry {
			more := p.next(r)
			if got := (at{p.Hop, p.Target, p.Plain}); got != tt.want[i] {
				t.Errorf("%s, step %d: at %v, want %v", tt.name, i, got, tt.want[i])
			}
			if last := i == len(tt.retry)-1; more == (last && tt.last) {
				t.Errorf("%s, step %d: more is %v", tt.name, i, more)
			}
		}
	}
}

// TestPlanBounds: no route makes a plan that never ends.
func TestPlanBounds(t *testing.T) {
	p := newPlan(slices.Repeat([]int{1000}, 50)...)
	for _, r := range []retry{retryTarget, retryPlain} {
		p, steps := p, 1
		for p.next(r) {
			steps++
		}
		if steps > maxHops*maxTargets {
			t.Errorf("retry %d: %d attempts", r, steps)
		}
	}
	empty := newPlan()
	if empty.next(retryTarget) || empty.next(retryPlain) {
		t.Error("an empty plan has something left to dial")
	}
	if p := newPlan(0, -1); p.Targets[0] != 1 || p.Targets[1] != 1 {
		t.Error("a hop without an address is not dialled")
	}
}

// TestPhaseNames are the words of the admin API.
func TestPhaseNames(t *testing.T) {
	want := []string{"summoning", "routing", "dialing", "ringing", "answering", "active", "ending", "ended", "unknown"}
	for p := range Phase(len(want)) {
		if p.String() != want[p] {
			t.Errorf("phase %d is %q, want %q", p, p, want[p])
		}
	}
}

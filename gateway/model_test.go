package gateway

import (
	"sync"
	"testing"
)

// scenes are the worlds that are explored.
var scenes = []struct {
	name  string
	small bool // quick enough for every run
	start world
}{
	{"inbound", false, inboundWorld(2, budget{losses: 1, dups: 1, stops: 1})},
	{"inbound, all well", true, inboundWorld(2, budget{})},
	{"inbound, one stop", true, inboundWorld(1, budget{stops: 1})},
	{"inbound, one loss", true, inboundWorld(1, budget{losses: 1})},
	{"inbound, two losses", true, inboundWorld(1, budget{losses: 2})},
	{"inbound, transfer", true, inboundWorld(1, budget{stops: 1, transfers: 1})},
	{"inbound, transfers", true, inboundWorld(1, budget{transfers: 2})},
	{"outbound, transfer", true, outboundWorld(budget{transfers: 1})},
	{"clicked, transfer", true, oneAddress(clickedWorld(budget{transfers: 1}))},
	{"inbound, no pre_accept", true, skipPre(inboundWorld(1, budget{losses: 1, stops: 1}))},
	{"outbound", false, outboundWorld(budget{losses: 1, dups: 1, stops: 1})},
	{"outbound, one loss", true, outboundWorld(budget{losses: 1})},
	{"outbound, one stop", true, outboundWorld(budget{stops: 1})},
	{"outbound, announced", true, announced(outboundWorld(budget{stops: 2}))},
	{"outbound, announced, one loss", false, announced(outboundWorld(budget{losses: 1, dups: 1, stops: 1}))},
	{"clicked", false, clickedWorld(budget{losses: 1, dups: 1, stops: 1})},
	{"clicked, all well", true, clickedWorld(budget{})},
	{"clicked, one loss", true, clickedWorld(budget{losses: 1})},
}

func inboundWorld(hops int, b budget) world {
	w := world{scene: sceneInbound, budget: b}
	for i := range hops {
		w.m.Plan.Targets[i] = 1
	}
	w.m.Plan.Hops = uint8(hops)
	w.cloud.state = cloudLive
	w.cloud.hooks[hookConnect] = 1
	w.cloud.sent[hookConnect] = true
	return w
}

func skipPre(w world) world {
	w.wi.SkipPre = true
	return w
}

func outboundWorld(b budget) world {
	w := world{scene: sceneOutbound, born: true, budget: b, m: machine{ToGraph: true, Plan: newPlan(1)}}
	w.lines[0].phone = phoneInvited
	w.hand.In = true
	return w
}

// announced lets the phone hear a prompt before any refusal but that of a
// shutdown.
func announced(w world) world {
	w.announced = true
	return w
}

func clickedWorld(b budget) world {
	return world{
		scene: sceneClicked, born: true, budget: b, m: machine{ToGraph: true, Summoned: true, Plan: newPlan(1)},
		su: summonedIngress{Plan: newPlan(2)}, hand: handover{In: true},
	}
}

func oneAddress(w world) world {
	w.su.Plan = newPlan(1)
	return w
}

// facts are what the walks must have come across; a model that does not get
// there proves nothing.
var facts = []struct {
	name string
	seen func(*world) bool
}{
	{"a summoned phone rings", func(w *world) bool { return w.m.Phase == Summoning && w.lines[0].rung }},
	{"an agent at the second address", func(w *world) bool { return w.su.Up && w.su.Plan.Target == 1 && w.lines[1].silent }},
	{"two phones alive", func(w *world) bool {
		return w.lines[0].phone == phoneTalking && w.lines[1].phone == phoneInvited
	}},
	{"a call while a phone is leaving", func(w *world) bool { return w.m.Phase == Active && w.m.Leaving > 0 }},
	{"a transfer during the end", func(w *world) bool { return w.m.Phase == Ending && w.hand.Leg != 0 }},
	{"the next phone rings and nobody else is there", func(w *world) bool { return w.m.Phase == Active && w.hand.Left && w.rel.Rung }},
	{"a transfer after whoever asked for it hung up", func(w *world) bool { return w.m.Bridged && w.m.Leaving == 0 && w.m.Caller == 2 && w.rel.Up }},
	{"a transfer failed and the call goes on", func(w *world) bool { return w.m.Bridged && w.rel.Closed && w.m.Caller == 0 && w.m.Attempt == 1 }},
	{"a call of a phone that picked up for another", func(w *world) bool {
		return w.m.Bridged && w.m.Attempt == 2 && w.rel.Up && !w.so[0].Up && w.so[0].WantEnd
	}},
	{"a bridge over the second phone", func(w *world) bool { return w.m.Bridged && w.m.Attempt == 2 }},
	{"accept repeated", func(w *world) bool { return w.wi.Accepts == 2 && w.wi.Up }},
	{"accept waits for media", func(w *world) bool { return w.wi.PeerWait }},
	{"answered while still preparing", func(w *world) bool { return w.wi.WantAnswer && w.wi.Busy == reqPrepare }},
	{"the other verb", func(w *world) bool { return w.refused != 0 && w.cloud.state == cloudGone }},
	{"dead on arrival", func(w *world) bool { return w.tombstone }},
	{"a call that nobody owns", func(w *world) bool { return w.stray }},
	{"a call named after it was given up", func(w *world) bool { return w.wo.Adrift }},
	{"a call named by its webhook", func(w *world) bool { return w.wo.Lost && w.wo.Placed && w.m.Phase == Active }},
	{"487 and 200 cross", func(w *world) bool { return w.lines[0].cancelled && w.si.Answering }},
	{"a prompt while the user's call is being ended", func(w *world) bool { return w.playing && w.m.Out == legOpen }},
	{"a prompt that is heard out", func(w *world) bool { return w.spoken && w.m.Phase == Ended && !w.lines[0].cancelled }},
	{"a prompt that a CANCEL ends", func(w *world) bool { return w.playing && w.lines[0].cancelled }},
	{"abandoned during a prompt", func(w *world) bool { return w.abandoned && w.playing }},
	{"abandoned", func(w *world) bool { return w.abandoned }},
}

// TestModel walks through everything that may happen to a call. The large
// worlds take a quarter of a minute and some memory; -short and the race
// detector leave them out.
func TestModel(t *testing.T) {
	var mu sync.Mutex
	reached, small := make([]bool, len(facts)), 0
	t.Run("scenes", func(t *testing.T) {
		for _, s := range scenes {
			t.Run(s.name, func(t *testing.T) {
				if !s.small && (testing.Short() || raceDetector) {
					t.Skip("too large for -short and for the race detector")
				}
				t.Parallel()
				here := make([]bool, len(facts))
				visit := func(w *world) {
					for i := range facts {
						here[i] = here[i] || facts[i].seen(w)
					}
				}
				if !s.small {
					visit = func(*world) {}
				}
				states, bad := explore(s.start, visit)
				for _, b := range bad {
					t.Errorf("VIOLATION: %s", b)
				}
				t.Logf("%d states, %d violations", states, len(bad))
				mu.Lock()
				defer mu.Unlock()
				if s.small {
					small++
				}
				for i := range facts {
					reached[i] = reached[i] || here[i]
				}
			})
		}
	})
	for _, s := range scenes {
		if s.small {
			small--
		}
	}
	if t.Failed() || small < 0 { // or -run chose only some
		return
	}
	for i, f := range facts {
		if !reached[i] {
			t.Errorf("no walk came across: %s", f.name)
		}
	}
}

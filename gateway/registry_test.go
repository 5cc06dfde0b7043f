package gateway

import (
	"crypto/rand"
	"strconv"
	"testing"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/whatsapp"
)

func TestRegistryTellsTheLivingFromTheDead(t *testing.T) {
	now := time.Now()
	r := newRegistry()
	a, b := &Call{id: "a"}, &Call{id: "b"}
	if got := r.admit(a, "wacid.A"); got != admitted {
		t.Errorf("first offer: %v", got)
	}
	if got := r.admit(b, "wacid.A"); got != duplicate {
		t.Errorf("the same offer again: %v", got)
	}
	if c, _ := r.find(whatsapp.Meta{CallID: "wacid.A"}); c != a {
		t.Errorf("found %v", c)
	}
	r.remove(a, "", false, now)
	if c, dead := r.find(whatsapp.Meta{CallID: "wacid.A"}); c != nil || !dead {
		t.Errorf("after its end: call %v, dead %v", c, dead)
	}
	if got := r.admit(b, "wacid.A"); got != recorded {
		t.Errorf("an offer after the end: %v", got)
	}
	r.bury("wacid.B", now, false)
	if got := r.admit(b, "wacid.B"); got != tombstoned {
		t.Errorf("an offer after its terminate: %v", got)
	}
	if got := r.admit(b, "wacid.B"); got != recorded {
		t.Errorf("the same offer again, which must not be recorded twice: %v", got)
	}
	if got := r.lapse("wacid.C", now); got != admitted {
		t.Errorf("a stale offer: %v", got)
	}
	if got := r.lapse("wacid.C", now); got != recorded {
		t.Errorf("a stale offer again: %v", got)
	}
	if r.count() != 0 || len(r.all()) != 0 || r.get("a") != nil {
		t.Error("somebody is left")
	}
}

func TestRegistryNamesCallsByTag(t *testing.T) {
	now := time.Now()
	r := newRegistry()
	c := &Call{id: "c"}
	r.admitTagged(c, "tag")
	if got, _ := r.find(whatsapp.Meta{CallID: "wacid.C", Tag: "tag"}); got != c {
		t.Fatal("a webhook that overtakes the reply does not find its call")
	}
	if got, _ := r.find(whatsapp.Meta{CallID: "wacid.C"}); got != c {
		t.Error("the webhook did not name the call")
	}
	r.name(c, "wacid.C") // the reply, late
	r.remove(c, "tag", true, now)
	isStray := func(tag string, at time.Time) bool {
		_, ok := r.stray(tag, at)
		return ok
	}
	if !isStray("tag", now) || isStray("other", now) {
		t.Error("only a tag without its reply is a stray")
	}
	if isStray("tag", now.Add(tombstoneLife+time.Second)) {
		t.Error("a stray is remembered for ever")
	}
	if got, dead := r.find(whatsapp.Meta{CallID: "wacid.C", Tag: "tag"}); got != nil || dead {
		t.Error("a stray that its call did not take any more counts as over")
	}
	r.found("tag", "wacid.C", now)
	if _, dead := r.find(whatsapp.Meta{CallID: "wacid.C", Tag: "tag"}); isStray("tag", now) || !dead {
		t.Error("a stray is ended more than once")
	}
}

// TestOneCallForACustomer by whatever name: a customer's offer tells the number
// and the id, an agent dials one of them.
func TestOneCallForACustomer(t *testing.T) {
	number, id := whatsapp.User{Number: "34600111222"}, whatsapp.User{UserID: "ES.20914466382001574"}
	both := whatsapp.User{Number: number.Number, UserID: id.UserID}
	with := func(user whatsapp.User) *Call {
		return &Call{id: rand.Text(), order: order{direction: outbound, number: config.Number{Name: "support"}, user: user}}
	}
	for _, row := range []struct{ first, second whatsapp.User }{{both, number}, {both, id}, {number, both}, {id, both}, {both, both}, {id, id}} {
		r := newRegistry()
		first := with(row.first)
		r.admit(first, "wacid.A")
		second := with(row.second)
		r.admitTagged(second, "tag")
		if second.order.refuse != Busy {
			t.Errorf("%+v while there is %+v: %v, want busy", row.second, row.first, second.order.refuse)
		}
		clicked := with(row.second)
		r.remove(second, "tag", false, time.Now())
		if r.admitAlone(clicked, "clicked") {
			t.Errorf("%+v is alone while there is %+v", row.second, row.first)
		}
		r.remove(first, "", false, time.Now())
		if !r.admitAlone(clicked, "clicked") {
			t.Errorf("%+v is not free after its calls", row.second)
		}
		r.remove(clicked, "clicked", false, time.Now())
		if len(r.pairs) != 0 {
			t.Errorf("left are %v", r.pairs)
		}
	}
}

func TestStraysAreBounded(t *testing.T) {
	now := time.Now()
	r := newRegistry()
	for i := range maxStrays + 1 {
		r.addStray(store.Stray{Tag: strconv.Itoa(i), Since: now})
	}
	_, first := r.stray("0", now)
	_, last := r.stray(strconv.Itoa(maxStrays), now)
	if len(r.strays) != maxStrays || first || !last {
		t.Errorf("%d strays, the oldest %v, the newest %v; want %d without the oldest", len(r.strays), first, last, maxStrays)
	}
	r.addStray(store.Stray{Tag: "later", Since: now.Add(tombstoneLife + time.Second)})
	if len(r.strays) != 1 || len(r.astray) != 1 {
		t.Errorf("%d strays are remembered for ever", len(r.strays))
	}
}

func TestTombstonesAreForgotten(t *testing.T) {
	now := time.Now()
	dead := func(g graves, id string) bool { _, dead := g.find(whatsapp.CallID(id)); return dead }
	g := newGraves()
	g.dig("old", now, false)
	g.dig("old", now, false) // a grave is dug once
	g.dig("new", now.Add(tombstoneLife+time.Second), false)
	if dead(g, "old") || !dead(g, "new") || len(g.dug) != 1 {
		t.Errorf("after a day the old one is dead: %v, the new one: %v, %d in all", dead(g, "old"), dead(g, "new"), len(g.dug))
	}
	for i := range 3 * maxGraves {
		g.dig(whatsapp.CallID(strconv.Itoa(i)), now.Add(tombstoneLife), i%2 == 0)
	}
	for i, want := range map[int]bool{0: false, 2*maxGraves - 1: false, 2 * maxGraves: true, 3*maxGraves - 1: true} {
		if written, got := g.find(whatsapp.CallID(strconv.Itoa(i))); got != want || written != (want && i%2 == 0) {
			t.Errorf("number %d of %d: dead %v, recorded %v", i, 3*maxGraves, got, written)
		}
	}
	if len(g.dug) != maxGraves {
		t.Errorf("%d are remembered, want %d", len(g.dug), maxGraves)
	}
}

func TestTrunkLimits(t *testing.T) {
	now := time.Now()
	l := newTrunkLimits()
	trunk := trunkOf("pbx", 3, 2)
	take := func(at time.Time, want bool) {
		t.Helper()
		if got := l.acquire(trunk, at); got != want {
			t.Errorf("acquire: %v, want %v", got, want)
		}
	}
	take(now, true)
	take(now, true)
	take(now, false) // max_cps
	take(now.Add(time.Second), true)
	take(now.Add(2*time.Second), false) // max_calls
	l.release("pbx")
	take(now.Add(3*time.Second), true)
}

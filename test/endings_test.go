package test

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// ending is one course of a call. Without a play the call ends by itself.
type ending struct {
	name   string
	wants  string // cause/party that the record may have, several where hang-ups race
	script faketrunk.Script
	call   fakemeta.CallOptions // of a customer's call
	callee *fakemeta.Callee     // of an agent's call
	from   string               // the agent's extension
	bare   bool                 // the agent's INVITE has no session description
	upset  fakemeta.Upset
	fault  fakemeta.Fault // in the way of this call alone
	play   func(ctx context.Context, s *scene) error
	slow   bool // only in the long form
	owed   bool // the far end may not confirm in time
}

// scene is an ending that is being played.
type scene struct {
	ending
	stage    *stage
	r        *rig.Rig
	id       string             // payload of a customer's call
	desk     string             // extension of a second phone
	who      string             // number of the customer
	line     int                // business number, for one with a fault
	customer *fakemeta.Customer // of an agent's call only where it came so far
	agent    *faketrunk.Call    // of an agent's call
}

// stage is a gateway on which endings are played, in rounds.
type stage struct {
	r         *rig.Rig
	calls     []ending
	settingUp chan struct{}

	mu      sync.Mutex
	scripts map[string]faketrunk.Script // by payload and extension
	stalled map[string]bool             // Call-IDs of phones that give no final answer
	played  int
}

// The times of a stage: long enough for a machine that is slow.
const (
	stageRing  = 3 * time.Second
	stageMedia = 5 * time.Second
)

// Who calls: an agent, and one whose route does not wait.
const (
	patientDesk   = "201"
	impatientDesk = "202"
)

// setUpAtOnce is how many calls are being set up at the same time: more is a test
// of the machine.
const setUpAtOnce = 12

// enter starts a gateway for rounds of these endings, some rounds at once. A call
// with a fault has a business number of its own: what is found of one number is
// held against its later calls.
func enter(ctx context.Context, t *testing.T, calls []ending, atOnce int) *stage {
	t.Helper()
	o := numbered(len(calls)*atOnce, rig.Options{Dir: quickDisk(t), Config: stageConfig})
	o.Meta.StartSilence, o.Meta.Silence = patience, patience
	r, err := rig.Start(ctx, o)
	must(t, err)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	g := &stage{r: r, calls: calls, settingUp: make(chan struct{}, setUpAtOnce), scripts: map[string]faketrunk.Script{}, stalled: map[string]bool{}}
	r.PBX.Handle(g.choose)
	return g
}

func stageConfig(c *config.Config) {
	c.Limits.Calls, c.Limits.MaxDuration = 5000, 3*stageMedia
	c.Media.Timeout, c.Media.ICETimeout, c.Media.SetupTimeout = stageMedia, stageMedia, stageMedia
	c.Trunks[0].Auth = config.Credentials{User: "gateway", Password: "wrong"}
	gone := c.Trunks[0]
	gone.Name, gone.Targets, gone.Sources = "gone", []config.Target{{URI: "sip:127.0.0.1:9;transport=tcp"}}, []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	c.Trunks = append(c.Trunks, gone)
	unprobed(c)
	inbound := func(name string) config.Route {
		r := c.Routes[0]
		r.Name, r.Match = name, config.Match{Payload: name + "*"}
		return r
	}
	closed, refused, brief := inbound("closed"), inbound("TCP is refused"), inbound("nobody answers")
	closed.Reject, refused.Trunk, brief.RingTimeout = true, gone.Name, stageRing
	rig.DialOut(c)
	impatient := c.Routes[len(c.Routes)-1]
	impatient.Name, impatient.Match, impatient.RingTimeout = "impatient", config.Match{Caller: impatientDesk}, stageRing
	c.Routes = append([]config.Route{closed, refused, brief, impatient}, c.Routes...)
}

func (g *stage) choose(m *faketrunk.Message) faketrunk.Script {
	g.mu.Lock()
	defer g.mu.Unlock()
	ext, _, _ := strings.Cut(strings.TrimPrefix(m.URI, "sip:"), "@")
	if s, ok := g.scripts[ext]; ok {
		return s
	}
	s := g.scripts[m.Get("X-WA-Payload")]
	if s.OnCancel == faketrunk.Stall {
		g.stalled[m.CallID()] = true
	}
	return s
}

// pardoned is a complaint of the PBX about the reaper: it cancels every INVITE that
// may have left, and does not know how often that phone was called.
func (g *stage) pardoned(fault string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	id, cancel := strings.CutPrefix(fault, "a CANCEL for no INVITE: ")
	return cancel && g.stalled[id]
}

func (g *stage) script(key string, s faketrunk.Script) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.scripts[key] = s
}

// rounds plays every ending that many times, all at once, waits until nothing is
// left, and judges the records.
func (g *stage) rounds(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	all := make([]*scene, 0, n*len(g.calls))
	for i := range n {
		for j, e := range g.calls {
			g.played++
			all = append(all, &scene{
				ending: e, stage: g, r: g.r, line: i*len(g.calls) + j, id: fmt.Sprintf("%s #%d", e.name, g.played),
				desk: fmt.Sprintf("desk%d", g.played), who: fmt.Sprintf("34610%06d", g.played),
			})
		}
	}
	known := metric(t, g.r, "wagate_permission_replies_total")
	for _, s := range all {
		if s.callee != nil {
			known++
			g.r.Meta.GrantTo(s.number(), s.who)
		}
	}
	awaitMetric(ctx, t, g.r, known, "wagate_permission_replies_total")
	began := time.Now()
	slices.SortStableFunc(all, func(a, b *scene) int { return cmp.Compare(a.placedBy(), b.placedBy()) })
	var wg sync.WaitGroup
	for _, s := range all {
		g.script(s.id, s.script)
		g.settingUp <- struct{}{}
		must(t, s.begin(ctx))
		wg.Go(func() {
			s.setUp(ctx)
			<-g.settingUp
		})
		wg.Go(func() {
			if s.play == nil {
				return
			}
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			if err := s.play(ctx, s); err != nil {
				t.Errorf("%s: %v", s.id, err)
			}
		})
	}
	wg.Wait()
	g.judge(ctx, t, all, began)
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.scripts)
}

// placedBy sorts agents behind customers: an upset is for the next connect webhook,
// whoever's it is.
func (s *scene) placedBy() int {
	if s.callee != nil {
		return 1
	}
	return 0
}

// number is the business number that the call is for.
func (s *scene) number() string {
	if s.fault.Kind == fakemeta.NoFault {
		return ""
	}
	return numberID(s.line)
}

func (s *scene) begin(ctx context.Context) (err error) {
	if s.callee != nil {
		return s.dial(ctx)
	}
	u := s.upset
	if u.Kind == "" { // time to put the fault in place
		u = fakemeta.Upset{Kind: fakemeta.KindConnect, Times: 1, Delay: 50 * time.Millisecond, Copies: s.line % 2}
	}
	s.r.Meta.Disturb(u)
	o := s.call
	o.Payload, o.User.Number, o.To = s.id, s.who, s.number()
	if s.customer, err = s.r.Meta.Call(ctx, o); err != nil {
		return err
	}
	if s.fault.Kind != fakemeta.NoFault {
		s.fault.CallID = s.customer.ID()
		s.r.Meta.Fail(s.fault)
	}
	return nil
}

func (s *scene) dial(ctx context.Context) (err error) {
	s.r.Meta.Callee(s.who, *s.callee)
	o := faketrunk.Outgoing{
		To: "sip:+" + s.who + "@" + s.r.Gateway.SIPAddr("udp"), From: cmp.Or(s.from, patientDesk), Script: s.script, NoOffer: s.bare,
	}
	if s.fault.Kind != fakemeta.NoFault {
		if s.fault.Action == "connect" {
			s.fault.To = s.who
			s.r.Meta.Fail(s.fault)
		}
		o.Headers = []faketrunk.Header{{Name: "X-WA-Number", Value: numberName(s.line)}}
	}
	s.agent, err = s.r.PBX.Dial(ctx, o)
	return err
}

// setUp waits until the call is up or over.
func (s *scene) setUp(ctx context.Context) {
	if s.agent != nil {
		_ = s.agent.Wait(ctx, faketrunk.Up) // or it is over
		return
	}
	_ = s.customer.Wait(ctx, fakemeta.Connected)
}

// judge waits for the last end and looks into the books of all sides.
func (g *stage) judge(ctx context.Context, t *testing.T, all []*scene, began time.Time) {
	t.Helper()
	if err := g.r.Meta.WaitQuiet(ctx); err != nil {
		t.Errorf("Meta: %v", err)
	}
	if err := g.r.PBX.Settled(ctx); err != nil {
		t.Errorf("PBX: %v", err)
	}
	eventually(ctx, t, "the last call", func() bool { return metric(t, g.r, "wagate_calls") == 0 })
	mine := map[string][]store.Record{}
	for _, rec := range recordsSince(ctx, t, g.r, began, len(all)) {
		mine[strings.TrimPrefix(rec.User, "+")] = append(mine[strings.TrimPrefix(rec.User, "+")], rec)
	}
	wantAtRest(t, g.r)
	for _, s := range all {
		s.judge(t, mine[s.who])
	}
	for _, v := range g.r.Meta.Violations() {
		if !unknowable(g.r.Meta, v) {
			t.Errorf("Meta would complain: %s: %s%s", v.Rule, v.Detail, askedOf(g.r.Meta, v.CallID))
		}
	}
	for _, f := range slices.DeleteFunc(g.r.PBX.Faults(), g.pardoned) {
		t.Errorf("the PBX would complain: %s", f)
	}
}

func (s *scene) judge(t *testing.T, rs []store.Record) {
	t.Helper()
	if len(rs) != 1 {
		t.Errorf("%s: %d records", s.id, len(rs))
		return
	}
	rec := rs[0]
	if got := rec.Cause + "/" + rec.EndedBy; !slices.Contains(strings.Fields(s.wants), got) || rec.Abandoned && !s.owed {
		t.Errorf("%s: the record says %s, abandoned %v, want %s", s.id, got, rec.Abandoned, s.wants)
	}
	if s.customer == nil {
		return
	}
	if rec.WACID != s.customer.ID() {
		t.Errorf("%s: the record is of call %q, want %s", s.id, rec.WACID, s.customer.ID())
	}
	if rep := s.customer.Report(); s.callee == nil && (rep.Early != 0 || len(rep.Streams) > 1) {
		t.Errorf("%s: early %d, %d streams", s.id, rep.Early, len(rep.Streams))
	}
}

// recordsSince waits until so many calls that ended since then are on record.
func recordsSince(ctx context.Context, t *testing.T, r *rig.Rig, since time.Time, want int) []store.Record {
	t.Helper()
	var all []store.Record
	eventually(ctx, t, fmt.Sprintf("%d records", want), func() bool {
		all = allRecords(ctx, t, r, "&since="+since.UTC().Format(time.RFC3339))
		all = slices.DeleteFunc(all, func(rec store.Record) bool { return rec.EndedAt.Before(since) })
		return len(all) >= want
	})
	return all
}

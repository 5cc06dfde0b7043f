//go:build system || soak

package test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// faulty is the program with faults in it that a call can ask for by its payload,
// and a wall clock that can be set: the sources are those that ship, with a line
// added where a fault may be.
var faulty = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wagate-faulty")
	if err != nil {
		return "", err
	}
	root, err := filepath.Abs("..")
	if err != nil {
		return "", err
	}
	inGateway := func(name string) string { return filepath.Join(root, "gateway", name) }
	replace := map[string]string{}
	for place, name := range map[string]string{inGateway("provoke.go"): "provoke.go", filepath.Join(root, "cmd", "wagate", "clock.go"): "clock.go"} {
		text, err := os.ReadFile(filepath.Join(root, "test", "testdata", "faults", name+".txt"))
		if err != nil {
			return "", err
		}
		replace[place] = filepath.Join(dir, name)
		if err := os.WriteFile(replace[place], text, 0o600); err != nil {
			return "", err
		}
	}
	for file, fault := range map[string][2]string{
		"call_input.go": {"func (c *Call) handle(in input) {", "provoke(c)"},
		"outbound.go":   {"func (g *Gateway) incoming(s *sip.Session, in sip.Incoming) {", "provokeIncoming(in)"},
	} {
		text, err := os.ReadFile(inGateway(file))
		if err != nil {
			return "", err
		}
		if !strings.Contains(string(text), fault[0]) {
			return "", fmt.Errorf("%s has no %q any more", file, fault[0])
		}
		replace[inGateway(file)] = filepath.Join(dir, file)
		with := strings.Replace(string(text), fault[0], fault[0]+fault[1]+";", 1)
		if err := os.WriteFile(replace[inGateway(file)], []byte(with), 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(struct{ Replace map[string]string }{replace})
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "wagate")
	out, err := exec.CommandContext(context.Background(), "go", "build", detector, "-ldflags=-checklinkname=0", "-overlay", list, "-tags", "nolibopusfile", "-o", path, "wagate/cmd/wagate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// TestFaultsEndOneCall is R08: a fault in any phase of a call ends that call on
// both sides, and no other.
func TestFaultsEndOneCall(t *testing.T) {
	t.Parallel()
	path, err := faulty()
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 6*patience)
	defer cancel()
	d := setUp(t, setup{Extra: dialOutFile, Program: path})
	d.pbx.Handle(func(m *faketrunk.Message) faketrunk.Script {
		if m.Get("X-WA-Payload") == "panic-ringing" {
			return faketrunk.NoAnswer()
		}
		return faketrunk.Answer(0)
	})
	d.meta.Callee("", fakemeta.Callee{Never: true})
	d.start(ctx)
	healthy, ear := d.talks(ctx, "34600113301")

	var broken []*fakemeta.Customer
	inbound := []string{"routing", "dialing", "ringing", "answering", "active"}
	for _, phase := range inbound {
		c, err := d.meta.Call(ctx, fakemeta.CallOptions{Payload: "panic-" + phase})
		must(t, err)
		if phase == "ringing" || phase == "active" { // something has to happen in that phase
			switch phase {
			case "ringing":
				must(t, c.Wait(ctx, fakemeta.Ringing))
				must(t, phoneOf(ctx, t, d.pbx, "panic-ringing").Wait(ctx, faketrunk.Rung))
				_ = phoneOf(ctx, t, d.pbx, "panic-ringing").Answer()
			case "active":
				eventually(ctx, t, "the call to be up, or its fault", func() bool {
					return c.State() == fakemeta.Ended || slices.ContainsFunc(d.calls(ctx), func(l liveCall) bool {
						return l.WACID == c.ID() && l.Phase == phase
					})
				})
				_ = phoneOf(ctx, t, d.pbx, "panic-active").Hangup(ctx)
			}
		}
		broken = append(broken, c)
	}
	outbound := []string{"routing", "dialing", "ringing"}
	for i, phase := range outbound {
		who := fmt.Sprintf("3460011331%d", i)
		agent, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + who + "@" + d.sip, From: "panic-" + phase})
		must(t, err)
		if phase == "ringing" {
			must(t, agent.Wait(ctx, faketrunk.Rung))
			c, err := d.meta.WaitCallee(ctx, who)
			must(t, err)
			c.PickUp()
		}
		status, word := refused(ctx, t, agent)
		if want := map[bool]int{false: 500, true: 480}[phase == "ringing"]; status != want || word != "internal" {
			t.Errorf("a fault while %s was told the PBX as %d %s, want %d internal", phase, status, word, want)
		}
	}
	agent, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + d.sip, From: "panic-incoming"})
	must(t, err)
	if status, word := refused(ctx, t, agent); status != 500 || word != "internal" {
		t.Errorf("a fault over an INVITE was told the PBX as %d %s, want 500 internal", status, word)
	}
	for i, c := range broken {
		must(t, c.Wait(ctx, fakemeta.Ended))
		if end := c.End(); end.By != fakemeta.ByBusiness {
			t.Errorf("the call that failed while %s ended %+v", inbound[i], end)
		}
	}
	hearing(ctx, t, healthy, ear)
	healthy.HangUp()
	must(t, d.meta.WaitQuiet(ctx))
	must(t, d.pbx.Settled(ctx))
	d.wantOneRecordEach(ctx)
	internal := 0
	for _, r := range d.records(ctx, 0) {
		if r.Cause == "internal" && r.EndedBy == "gateway" {
			internal++
		}
	}
	want := len(inbound) + len(outbound)
	counted := d.metric(ctx, "wagate_call_panics_total")
	over := d.metric(ctx, "wagate_sip_requests_rejected_total", `reason="panic"`)
	if internal != want || int(counted) != want || over != 1 {
		t.Errorf("%d records say internal, %v panics and %v over requests are counted, want %d, %d and 1", internal, counted, over, want, want)
	}
	t.Logf("R08: %d faults ended %d calls on both sides, 0 others lost, 500 sent, counter at %v", want+1, want, counted)
}

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
	"wagate/test/tone"
)

// tell prints what happened and what was heard, and fails if anything that
// should have been heard was not.
func (d demoCmd) tell(term terminal, r *rig.Rig, calls []*demoCall) error {
	for _, c := range calls {
		if c.customer != nil && (d.Ladder || len(calls) <= 2*demoLadders) {
			c.ladder(term, r)
		}
	}
	head := []string{"call", "from", "customer hears", "delay", "lost", "phone hears", "delay", "lost", "ended by", "result"}
	var rows [][]string
	failed := 0
	for _, c := range calls {
		row, ok := c.row()
		if !ok {
			failed++
		}
		rows = append(rows, row)
	}
	term.say("")
	if err := table(term.out, head, rows); err != nil {
		return err
	}
	term.say("\ndelay: mouth to ear, one 20 ms packet included; without the phones' own buffers")
	if failed > 0 {
		return fmt.Errorf("%d of %d calls failed", failed, len(calls))
	}
	term.say("%d of %d calls with audio both ways", len(calls), len(calls))
	return nil
}

// row is the line of the call in the table, and whether all was well.
func (c *demoCall) row() (cells []string, ok bool) {
	name := fmt.Sprint(c.number)
	if c.customer == nil || c.phone == nil {
		return []string{name, c.from(), "", "", "", "", "", "", "", fmt.Sprint(c.err)}, false
	}
	report := c.customer.Report()
	audio := c.phone.Audio()
	missing := 0
	for _, s := range report.Streams {
		missing += s.Missing
	}
	customerHears, one := heard(c.customer.Meter(), rig.PhoneTone)
	phoneHears, two := heard(audio.Meter(), rig.CustomerTone)
	toCustomer := tone.Delays(audio.MarkersSent(), c.ear.Heard())
	toPhone := audio.Delays(c.marker.Sent())
	by := "customer"
	if c.byPhone {
		by = "phone"
	}
	result := "ok"
	if c.err != nil {
		result = c.err.Error()
	}
	return []string{
		name, c.from(), customerHears, delay(toCustomer), fmt.Sprint(missing),
		phoneHears, delay(toPhone), fmt.Sprint(audio.Reception().Missing), by, result,
	}, one && two && c.err == nil
}

func (c *demoCall) from() string {
	if c.outbound {
		return "desk phone"
	}
	return "customer"
}

// heard says which tone was heard, and how loud.
func heard(m *tone.Meter, freq float64) (text string, ok bool) {
	level, ok := m.Level(freq)
	if !ok {
		return fmt.Sprintf("no %.0f Hz", freq), false
	}
	return fmt.Sprintf("%.0f Hz at %.1f dBFS", freq, level), true
}

// delay is the median from mouth to ear.
func delay(all []time.Duration) string {
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	return fmt.Sprintf("%.1f ms", float64(all[len(all)/2]+packetLength)/float64(time.Millisecond))
}

// ladder prints the messages of the call on both sides of the gateway, in the
// order of their times.
func (c *demoCall) ladder(term terminal, r *rig.Rig) {
	rungs := append(c.metaRungs(r.Meta), c.phoneRungs()...)
	if c.outbound {
		term.say("\ncall %d: extension 201 calls +%s, who is asked first and says yes", c.number, c.who)
	} else {
		term.say("\ncall %d: %s (+%s) calls, extension 600 answers", c.number, c.customer.User().Name, c.customer.User().Number)
	}
	term.ladder(rungs)
}

func (c *demoCall) metaRungs(meta *fakemeta.Server) []rung {
	var all []rung
	for _, d := range meta.Deliveries() {
		for _, kind := range d.Kinds {
			if d.Has(kind, c.customer.ID()) {
				all = append(all, rung{d.At, arrow(fmt.Sprintf("webhook %s", kind), true)})
			}
		}
	}
	for _, q := range meta.Requests() {
		if c.outbound && q.Action == "messages" && strings.HasSuffix(q.To, c.who) {
			all = append(all, rung{q.At, arrow("permission request "+fmt.Sprint(q.Status), false)})
		}
		if q.CallID == c.customer.ID() {
			all = append(all, rung{q.At, arrow(fmt.Sprintf("%s %d", q.Action, q.Status), false)})
		}
	}
	return all
}

func (c *demoCall) phoneRungs() []rung {
	if c.phone == nil {
		return nil
	}
	var all []rung
	messages := c.phone.Messages()
	if c.refused != nil {
		messages = append(c.refused.Messages(), messages...)
	}
	for _, m := range messages {
		all = append(all, rung{m.At, pbxArrow(firstLine(m), m.In)})
	}
	return all
}

// firstLine is short enough for a ladder: no addresses.
func firstLine(m *faketrunk.Message) string {
	if m.Method != "" {
		return m.Method
	}
	return fmt.Sprintf("%d %s", m.Status, m.Phrase)
}

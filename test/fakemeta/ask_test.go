package fakemeta

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

const nuria = "34600111222"

// noon is where the clocks of these tests begin.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// strict is a simulated Meta that wants permission, and its clock.
func strict(t *testing.T, o Options) (*gateway, *Clock) {
	t.Helper()
	clock := NewClock(noon)
	o.Clock, o.StrictPermissions = clock.Now, true
	return start(t, o), clock
}

// message sends a message with these fields beside the product.
func (g *gateway) message(fields string) graphReply {
	return g.raw(http.MethodPost, "/v26.0/401122334455667/messages", "Bearer access-token", "application/json",
		[]byte(`{"messaging_product":"whatsapp",`+fields+`}`))
}

const freeAsk = `"recipient_type":"individual","type":"interactive","interactive":{"type":"call_permission_request",` +
	`"action":{"name":"call_permission_request"},"body":{"text":"May we call you?"}}`

const templateAsk = `"type":"template","template":{"name":"ask_to_call","language":{"code":"en"}}`

func (g *gateway) ask(to string) graphReply { return g.message(`"to":"` + to + `",` + freeAsk) }

func (g *gateway) askByTemplate(to string) graphReply {
	return g.message(`"to":"` + to + `",` + templateAsk)
}

// story runs the steps of a test about one user: "verb argument = result".
type story struct {
	*gateway
	clock *Clock
	last  string // wamid of the last request
}

func (st *story) run(steps ...string) {
	st.t.Helper()
	for i, step := range steps {
		do, want, _ := strings.Cut(step, " = ")
		verb, arg, _ := strings.Cut(do, " ")
		if got := st.step(verb, arg); got != want {
			st.t.Fatalf("step %d, %q: got %q\nbook: %+v", i+1, step, got, st.meta.Permission(nuria))
		}
	}
}

func result(r graphReply) string {
	if r.status == http.StatusOK {
		return ""
	}
	return strconv.Itoa(r.code)
}

func (st *story) step(verb, arg string) string {
	st.t.Helper()
	m := st.meta
	switch verb {
	case "clock":
		d, err := time.ParseDuration(arg)
		if err != nil {
			st.t.Fatal(err)
		}
		st.clock.Advance(d)
	case "write":
		m.Write(nuria, "hello")
	case "ask", "template":
		send := st.ask
		if verb == "template" {
			send = st.askByTemplate
		}
		r := send(nuria)
		if r.id != "" {
			st.last = r.id
		}
		return result(r)
	case "answer":
		err := m.Answer(nuria, map[string]Answer{"temporary": GrantTemporary, "permanent": GrantPermanent, "decline": Decline}[arg])
		if err != nil {
			return "nobody asked"
		}
	case "allow":
		m.Grant(nuria)
	case "revoke":
		m.Revoke(nuria)
	case "talk", "ring", "reject", "early", "fail", "break":
		for n := max(1, number(arg)); n > 0; n-- {
			if r := st.call(verb); result(r) != "" {
				return result(r)
			}
		}
	case "calls": // the user
		c, err := m.Call(st.ctx(), CallOptions{User: User{Number: nuria}, Companion: arg == "by companion"})
		if err != nil {
			st.t.Fatal(err)
		}
		if arg == "and talks" {
			st.must(st.do("accept", c.ID(), plainAnswer))
		}
		c.HangUp()
		st.wait(KindTerminate, c.ID(), 1)
	case "is":
		b := m.Permission(nuria)
		switch arg {
		case "state":
			return b.State.String()
		case "streak":
			return fmt.Sprintf("%d, %d nudges, %d revocations", b.Unanswered, b.Nudges, b.AutoRevoked)
		case "asks":
			return fmt.Sprintf("%d/24h %d/7d", b.AsksDay, b.AsksWeek)
		case "next ask":
			return until(b.NextAsk, st.clock.Now())
		case "next call":
			return until(b.NextCall, st.clock.Now())
		case "window":
			return until(b.Window, st.clock.Now())
		}
	default:
		st.t.Fatalf("no verb %q", verb)
	}
	return ""
}

func number(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

func until(at, now time.Time) string {
	if at.IsZero() {
		return "now"
	}
	return at.Sub(now).String()
}

// call makes a whole call to the user and waits for its end.
func (st *story) call(how string) graphReply {
	st.t.Helper()
	c := Callee{Never: true}
	switch how {
	case "talk":
		c = Callee{Answer: time.Nanosecond}
	case "reject":
		c = Callee{Reject: time.Nanosecond}
	case "early":
		c = Callee{Ring: time.Hour}
	case "fail":
		c = Callee{Fail: 138019}
	}
	st.meta.Callee(nuria, c)
	r := st.dial(nuria, plainOffer)
	if r.status != http.StatusOK {
		return r
	}
	switch how {
	case "talk":
		st.wait(KindAccepted, r.id, 1)
		st.must(st.do("terminate", r.id, ""))
	case "ring":
		st.wait(KindRinging, r.id, 1)
		st.must(st.do("terminate", r.id, ""))
	case "early":
		st.must(st.do("terminate", r.id, ""))
	case "break":
		st.wait(KindRinging, r.id, 1)
		st.meta.Customer(r.id).Break(138020)
	}
	st.wait(KindTerminate, r.id, 1)
	return r
}

// fields are what a webhook says under that path.
func fields(t *testing.T, from any, path ...string) string {
	t.Helper()
	for _, p := range path {
		from = from.(map[string]any)[p]
	}
	b, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

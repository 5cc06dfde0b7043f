package sip

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"wagate/config"
)

// crash closes a server without a word and starts another on the same port.
func crash(t *testing.T, s *Server, trunks ...config.Trunk) *Server {
	t.Helper()
	addr := s.Addr("udp").String()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return serverOn(t, quick(), []string{"udp://" + addr}, trunks...)
}

// recovering runs Recover beside the test.
func recovering(t *testing.T, s *Server, state []byte) chan error {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	go func() { done <- s.Recover(ctx, state, Reason{Q850: 41, WAError: "internal"}) }()
	return done
}

func outcome(t *testing.T, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatal("recovery does not end")
		return nil
	}
}

func TestRecoverCancelsARingingPhone(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, e, invite := dial(t, s, p, call())
	p.reply(invite, 180, "a")
	next[Ringing](e)
	s = crash(t, s, trunkTo(p))
	done := recovering(t, s, c.State())
	cancel := p.want("CANCEL")
	for _, name := range []string{"Via", "From", "To", "Call-ID"} {
		if cancel.get(name) != invite.get(name) {
			t.Errorf("%s is %q, was %q", name, cancel.get(name), invite.get(name))
		}
	}
	if cancel.uri != invite.uri || cancel.get("x-wa-error") != "internal" {
		t.Errorf("unexpected CANCEL:\n%s", cancel.bytes())
	}
	p.reply(cancel, 200, "a")
	p.reply(invite, 487, "a")
	p.want("ACK")
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
}

func TestRecoverEndsALateAnswer(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, _, invite := dial(t, s, p, call())
	s = crash(t, s, trunkTo(p))
	done := recovering(t, s, c.State())
	p.reply(p.want("CANCEL"), 481, "a")
	p.ok(invite, "a")
	p.want("ACK")
	bye := p.want("BYE")
	if n, _ := invite.cseq(); bye.get("CSeq") != utoa(n+1)+" BYE" {
		t.Errorf("CSeq is %s after %d", bye.get("CSeq"), n)
	}
	p.reply(bye, 200, "")
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
}

func TestRecoverOfAnInviteThatNeverLeft(t *testing.T) {
	p := newPeer(t)
	trunk := authTrunk(p)
	s := newTestServer(t, quick(), trunk)
	o := call()
	o.Target = "sip:" + p.addr().String()
	c, err := s.Prepare(o, nil)
	if err != nil {
		t.Fatal(err)
	}
	s = crash(t, s, trunk)
	done := recovering(t, s, c.State())
	seen := map[string]bool{}
	for len(seen) < 1+maxProofs { // each attempt that the challenges could have made
		cancel := p.want("CANCEL")
		seen[cancel.get("Via")] = true
		p.reply(cancel, 481, "a")
	}
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
}

// A CANCEL that cannot leave is no end: whoever owes it hears of it at once and
// tries again, instead of when an answer would have been due.
func TestRecoverTellsThatNothingLeft(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	c, _, _ := dial(t, s, p, call())
	state := overDeadTCP(t, c.State())
	s = crash(t, s, trunkTo(p))
	if err := outcome(t, recovering(t, s, state)); !errors.Is(err, ErrTransport) {
		t.Errorf("got %v, want %v", err, ErrTransport)
	}
}

// overDeadTCP is the same attempt over TCP to a port where nobody listens.
func overDeadTCP(t *testing.T, state []byte) []byte {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var st durable
	if err := json.Unmarshal(state, &st); err != nil {
		t.Fatal(err)
	}
	st.Proto, st.Addr = "tcp", l.Addr().String()
	b, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRecoverCancelsTheAuthorizedAttempt(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), authTrunk(p))
	c, _, first := dial(t, s, p, call())
	state := c.State() // all that was on disk
	p.reply(first, 401, "x", askMD5)
	second := p.wantThat("INVITE", func(m *message) bool { return m.has("authorization") })
	p.reply(second, 180, "a")
	s = crash(t, s, authTrunk(p))
	done := recovering(t, s, state)
	for {
		cancel := p.want("CANCEL")
		if cancel.get("Via") != second.get("Via") {
			p.reply(cancel, 481, "a")
			continue
		}
		p.reply(cancel, 200, "a")
		p.reply(second, 487, "a")
		break
	}
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
}

func TestRecoverHangsUp(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	o := call()
	saved := make(chan []byte, 1)
	o.Changed = func(state []byte) { saved <- state }
	c, _, invite := setUp(t, s, p, o)
	if state := <-saved; string(state) != string(c.State()) {
		t.Error("what was to be saved before the ACK is not the dialog")
	}
	s = crash(t, s, trunkTo(p))
	for _, answer := range []int{200, 481} {
		done := recovering(t, s, c.State())
		bye := p.want("BYE")
		n, _ := invite.cseq()
		if got, _ := bye.cseq(); got != n+lostSeq || tag(bye.get("To")) != "a" || bye.get("Reason") != "Q.850;cause=41" {
			t.Errorf("unexpected BYE:\n%s", bye.bytes())
		}
		p.reply(bye, answer, "")
		if err := outcome(t, done); err != nil {
			t.Error(err)
		}
	}
	done := recovering(t, s, c.State())
	if err := outcome(t, done); !errors.Is(err, ErrSilent) {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestRecoverHangsUpWithCredentials(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), authTrunk(p))
	c, _, _ := setUp(t, s, p, call())
	s = crash(t, s, authTrunk(p))
	done := recovering(t, s, c.State())
	p.reply(p.want("BYE"), 401, "", askMD5)
	bye := p.wantThat("BYE", func(m *message) bool { return m.has("authorization") })
	checkDigest(t, askMD5, bye.get("authorization"), "BYE", bye.uri)
	p.reply(bye, 200, "")
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
}

func TestRecoverRefusesNonsense(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	for _, state := range []string{"", "{}", `{"v":1}`, `{"v":1,"trunk":"pbx"}`, `{"v":1,"trunk":"pbx","proto":"udp","addr":"192.0.2.1:5060"}`, `{"v":2,"trunk":"pbx"}`} {
		if err := s.Recover(context.Background(), []byte(state), Reason{}); err == nil {
			t.Errorf("%s was recovered", state)
		}
	}
	var st durable
	c, _, _ := dial(t, s, p, call())
	if err := json.Unmarshal(c.State(), &st); err != nil || st.Version != stateVersion {
		t.Errorf("state is %s", c.State())
	}
	c.Abandon()
}

func TestLateAnswerOfNobody(t *testing.T) {
	p := newPeer(t)
	s := newTestServer(t, quick(), trunkTo(p))
	_, e, invite := dial(t, s, p, call())
	p.reply(invite, 486, "a")
	next[Refused](e)
	crash(t, s, trunkTo(p))
	p.ok(invite, "b")
	p.want("ACK")
	p.want("BYE")
	foreign := *invite
	foreign.fields = []field{{"Via", "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx"}}
	foreign.fields = append(foreign.fields, invite.fields[1:]...)
	p.drain()
	p.ok(&foreign, "c")
	p.never("ACK", 50*time.Millisecond)
}

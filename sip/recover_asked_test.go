package sip

import (
	"bufio"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRecoverRefusesWhoStillWaits: a caller who has no answer yet from a process
// that died is refused by the next one, whether or not the phone was said to
// ring, and does not wait for a limit of its own.
func TestRecoverRefusesWhoStillWaits(t *testing.T) {
	for name, rung := range map[string]bool{"tried": false, "rung": true} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			invite, call := d.invite("v=0")
			if rung {
				call.Ring()
				d.want("180")
			}
			state := call.State()
			s := crash(t, d.s, trunkTo(d.peer))
			done := recovering(t, s, state)
			refusal := d.want("480")
			if !strings.Contains(refusal.get("Via"), branchOf(invite.get("Via"))) || refusal.get("From") != invite.get("From") || refusal.get("CSeq") != "1 INVITE" ||
				tag(refusal.get("To")) != tag(call.dialog.Local) || refusal.get("Reason") != "Q.850;cause=41" || refusal.get("x-wa-error") != "internal" {
				t.Errorf("unexpected refusal:\n%s", refusal.bytes())
			}
			bye := d.want("BYE")
			d.want("480") // until it is confirmed
			d.send(s.Addr("udp"), acknowledge(invite.bytes(), refusal))
			d.reply(bye, 481, "")
			if err := outcome(t, done); err != nil {
				t.Error(err)
			}
			d.drain()
			d.never("480", 4*quick().t2)
		})
	}
}

// TestRecoverHangsUpOnWhoWasAnswered: what was written down before our 200 left
// does not say that it did. Whoever has it does not mind being refused, and is
// not refused for long.
func TestRecoverHangsUpOnWhoWasAnswered(t *testing.T) {
	d := newDesk(t)
	invite, call := d.invite("v=0")
	state := call.State()
	call.Answer([]byte("v=0"))
	answer := d.want("200")
	d.follow(invite, answer, "ACK", 1)
	next[Acked](call.events)
	s := crash(t, d.s, trunkTo(d.peer))
	done := recovering(t, s, state)
	d.want("480")
	d.reply(d.want("BYE"), 200, "")
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
	d.wantQuiet("480", quick().t2)
}

// wantQuiet waits until a message has not come for twice as long.
func (p *peer) wantQuiet(what string, d time.Duration) {
	p.t.Helper()
	limit, still := time.After(patience), time.NewTimer(2*d)
	defer still.Stop()
	for {
		select {
		case m := <-p.in:
			if m.method == what || strconv.Itoa(m.status) == what {
				still.Reset(2 * d)
			}
		case <-still.C:
			return
		case <-limit:
			p.t.Fatalf("%s comes again and again", what)
		}
	}
}

// TestRecoverWhileTheCallerActs: who still waits repeats the INVITE to the next
// process, or gives up. Both get answers that go together.
func TestRecoverWhileTheCallerActs(t *testing.T) {
	d := newDesk(t)
	invite, call := d.invite("v=0")
	state := call.State()
	s := crash(t, d.s, trunkTo(d.peer))
	d.send(s.Addr("udp"), string(invite.bytes())) // which does not take calls yet
	d.never("503", 5*quick().t1)
	done := recovering(t, s, state)
	first, bye := d.want("480"), d.want("BYE")
	d.send(s.Addr("udp"), string(invite.bytes()))
	if again := d.want("480"); again.get("To") != first.get("To") {
		t.Errorf("refused by %s and by %s", first.get("To"), again.get("To"))
	}
	d.s = s
	d.cancel(invite)
	ok := d.wantThat("200", func(m *message) bool { return strings.HasSuffix(m.get("CSeq"), " CANCEL") })
	if ok.get("To") != first.get("To") {
		t.Errorf("refused by %s, the CANCEL is answered by %s", first.get("To"), ok.get("To"))
	}
	d.reply(bye, 481, "")
	if err := outcome(t, done); err != nil {
		t.Error(err)
	}
	if err := outcome(t, recovering(t, s, state)); !errors.Is(err, ErrSilent) { // nobody answers the second BYE
		t.Errorf("recovered again: %v", err)
	}
}

// TestRecoverRefusesOverANewConnection: the connection of a call went with the
// process, so the refusal goes where the far end's Via says that it listens, and
// where nobody does, to its Contact.
func TestRecoverRefusesOverANewConnection(t *testing.T) {
	far, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	for name, via := range map[string]string{"Via": far.Addr().String(), "Contact": "127.0.0.1:9"} {
		t.Run(name, func(t *testing.T) {
			before := tcpServer(t)
			d := deskOf(t, before, newPeer(t))
			d.write(connect(t, before), "INVITE", via, far.Addr().String())
			state := (<-d.calls).State()
			if err := before.Close(); err != nil {
				t.Fatal(err)
			}
			done := recovering(t, tcpServer(t), state)
			far.SetDeadline(time.Now().Add(patience))
			nc, err := far.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(patience))
			r := bufio.NewReader(nc)
			got := status(t, r)
			if strings.HasPrefix(got, "BYE ") { // which may come first
				got = status(t, r)
			}
			if got != "SIP/2.0 480 Temporarily Unavailable" {
				t.Errorf("got %q", got)
			}
			_ = outcome(t, done) // nobody answers the BYE
		})
	}
}

// write sends a request over a connection, of one who listens at these addresses.
func (d *desk) write(nc net.Conn, method, via, contact string) {
	d.t.Helper()
	m := d.outside(method, "v=0", "Via: SIP/2.0/TCP "+via+";branch="+newBranch(), "Contact: <sip:201@"+contact+";transport=tcp>")
	if _, err := nc.Write(m.bytes()); err != nil {
		d.t.Fatal(err)
	}
}

package sip

import (
	"bufio"
	"net"
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
	d.drain()
	d.never("480", 4*quick().t2)
}

// TestRecoverRefusesOverANewConnection: the connection of a call went with the
// process, so the refusal goes where the far end's Via says that it listens.
func TestRecoverRefusesOverANewConnection(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	before := tcpServer(t)
	d := deskOf(t, before, newPeer(t))
	d.write(connect(t, before), "INVITE", far.Addr().String())
	state := (<-d.calls).State()
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	done := recovering(t, tcpServer(t), state)
	nc, err := far.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if got := status(t, bufio.NewReader(nc)); got != "SIP/2.0 480 Temporarily Unavailable" {
		t.Errorf("got %q", got)
	}
	_ = outcome(t, done) // nobody answers the BYE
}

// write sends a request over a connection for one who listens at that address.
func (d *desk) write(nc net.Conn, method, listens string) {
	d.t.Helper()
	m := d.outside(method, "v=0", "Via: SIP/2.0/TCP "+listens+";branch="+newBranch(), "Contact: <sip:201@"+listens+";transport=tcp>")
	if _, err := nc.Write(m.bytes()); err != nil {
		d.t.Fatal(err)
	}
}

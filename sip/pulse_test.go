package sip

import (
	"errors"
	"testing"
	"time"

	"wagate/config"
)

// pulsing is a server that keeps a connection to a phone alive.
func pulsing(t *testing.T, pong time.Duration, mute bool) (*Server, *phone, *conn) {
	t.Helper()
	p := newPhone(t, nil)
	p.mute.Store(mute)
	trunk := trunkTo(newPeer(t))
	trunk.Targets = []config.Target{{URI: p.uri()}}
	tm := quick()
	tm.keepalive, tm.pong, tm.silent = 20*time.Millisecond, pong, time.Hour // only the flow can end a call
	s := serverOn(t, tm, []string{"tcp://127.0.0.1:0"}, trunk)
	tr := s.trunk("pbx")
	to, _ := tr.place(p.uri())
	return s, p, s.connTo(tr, to)
}

// TestFlowThatFallsSilentIsLeft: a far end that has answered pings and then does
// not is gone, and with it what waits for its answer.
func TestFlowThatFallsSilentIsLeft(t *testing.T) {
	s, p, c := pulsing(t, 3*time.Second, false)
	until(t, c.pulse.answers.Load)
	p.mute.Store(true)
	o := call()
	o.Target = p.uri()
	_, e := placed(t, s, o)
	p.want("INVITE")
	<-c.gone
	if got := next[Failed](e); !errors.Is(got.Err, ErrTransport) || !errors.Is(got.Err, errNoPong) {
		t.Errorf("the call failed with %v", got.Err)
	}
}

// TestFlowWithoutPongStays: not every PBX answers pings.
func TestFlowWithoutPongStays(t *testing.T) {
	_, p, c := pulsing(t, time.Second, true)
	until(t, func() bool { return p.pings.Load() >= 80 }) // longer than a pong may take
	if p.connections() != 1 {
		t.Errorf("there were %d connections", p.connections())
	}
	select {
	case <-c.gone:
		t.Error("the connection was given up")
	default:
	}
}

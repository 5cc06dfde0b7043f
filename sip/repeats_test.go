package sip

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/test/ether"
)

// recorder is a far end in memory that writes down when what came. It answers
// an INVITE with script, and otherwise nothing.
type recorder struct {
	t      *testing.T
	s      *Server
	conn   *ether.Conn
	target string
	script []int
	log    []string // "3.5 BYE"
	start  time.Time
	last   *message
}

// recorded makes a server whose trunk is a recorder; it runs inside
// synctest.Test.
func recorded(t *testing.T, script ...int) *recorder {
	t.Helper()
	const at = "127.0.0.1:5071"
	s, _ := bubble(t, func(c *config.Trunk) { c.Targets = []config.Target{{URI: "sip:" + at}} })
	ours, ok := s.sockets[0].conn.(*ether.Conn)
	if !ok {
		t.Fatalf("the server's socket is a %T", s.sockets[0].conn)
	}
	r := &recorder{t: t, s: s, conn: ours.Net().Open(netip.MustParseAddrPort(at)), target: "sip:" + at, script: script, start: time.Now()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, maxMessage)
		for {
			n, _, err := r.conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			r.hear(slices.Clone(buf[:n]))
		}
	}()
	t.Cleanup(func() { r.conn.Close(); <-done })
	return r
}

func (r *recorder) hear(data []byte) {
	m, f := parse(data, true)
	if f != nil {
		r.t.Errorf("the gateway sent what it would refuse: %v\n%s", f, data)
		return
	}
	r.last = m
	what := m.method
	if what == "" {
		what = strconv.Itoa(m.status)
	}
	r.log = append(r.log, fmt.Sprint(time.Since(r.start).Seconds())+" "+what)
	if what != "INVITE" {
		return
	}
	for _, status := range r.script {
		answer := response(m, status, "far", flow{remote: r.s.sockets[0].local})
		answer.add("Contact", "<sip:phone@127.0.0.1:5071>")
		r.send(answer)
	}
}

func (r *recorder) send(m *message) {
	if _, err := r.conn.WriteToUDPAddrPort(m.bytes(), r.s.sockets[0].local); err != nil {
		r.t.Error(err)
	}
}

// after lets time pass and compares what came since the last time.
func (r *recorder) after(d time.Duration, want string) {
	r.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	if got := strings.Join(r.log, ", "); got != want {
		r.t.Errorf("after %v came\n%s, want\n%s", d, got, want)
	}
	r.log, r.start = nil, time.Now()
}

// place starts a call to the recorder.
func (r *recorder) place() (*Session, *events) {
	r.t.Helper()
	o := call()
	o.Target = r.target
	return placed(r.t, r.s, o)
}

// every lists an event at these seconds.
func every(what string, seconds ...float64) string {
	list := make([]string, 0, len(seconds))
	for _, s := range seconds {
		list = append(list, fmt.Sprint(s)+" "+what)
	}
	return strings.Join(list, ", ")
}

// upToT2 is when a message is repeated from T1 on, doubling up to T2, until
// 64·T1 is over.
var upToT2 = []float64{0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5}

// TestRepeats has the timers of RFC 3261 section 17 at their real lengths, in
// fake time. Timer B is cut short: a target that is silent for 4 s is silent.
func TestRepeats(t *testing.T) {
	t.Run("A and B: an INVITE", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := recorded(t)
			_, e := r.place()
			r.after(time.Minute, every("INVITE", 0, 0.5, 1.5, 3.5))
			next[Failed](e)
		})
	})
	t.Run("D: a refusal that comes again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := recorded(t, 486)
			_, e := r.place()
			r.after(time.Second, "0 INVITE, 0 ACK")
			next[Refused](e)
			refusal := response(r.inviteOf(), 486, "far", flow{remote: r.s.sockets[0].local})
			r.send(refusal)
			r.after(30*time.Second, "0 ACK")
			r.send(refusal)
			r.after(10*time.Second, "0 ACK")
			r.send(refusal)
			r.after(time.Minute, "") // over
		})
	})
	t.Run("E and F: a BYE", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := recorded(t, 200)
			c, e := r.place()
			r.after(time.Second, "0 INVITE, 0 ACK")
			next[Accepted](e)
			c.Bye(Reason{Q850: 16})
			r.after(time.Minute, every("BYE", upToT2...))
			if got := next[ByeDone](e); got.Err == nil {
				t.Error("an unanswered BYE is done without an error")
			}
		})
	})
	// Until 100 the far end repeats its INVITE, so a process that starts in the
	// place of one that died hears of the call.
	t.Run("nothing to answer yet", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, d := recordedDesk(t)
			invite := r.callFrom(d)
			r.send(invite)
			call := <-d.calls
			call.Noted()
			r.after(100*time.Millisecond, "")
			r.send(invite)
			r.after(time.Second, "0.05 100")
			r.send(invite)
			r.after(time.Second, "0 100")
			call.Ring()
			r.after(time.Second, "0 180")
			r.send(invite)
			r.after(time.Second, "0 180")
		})
	})
	t.Run("nothing to answer, and not on disk", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, d := recordedDesk(t)
			r.send(r.callFrom(d))
			call := <-d.calls
			r.after(300*time.Millisecond, "")
			call.Noted()
			r.after(time.Second, "0 100")
			r.send(r.callFrom(d))
			call = <-d.calls
			r.after(time.Second, "0.45 100") // before it is repeated
			call.Noted()
			r.after(time.Second, "")
		})
	})
	t.Run("G and H: a refusal of ours", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, d := recordedDesk(t)
			r.send(r.callFrom(d))
			call := <-d.calls
			call.Refuse(486, Reason{}, 0)
			r.after(time.Minute, every("486", upToT2...))
		})
	})
	t.Run("I: an ACK ends them", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, d := recordedDesk(t)
			invite := r.callFrom(d)
			r.send(invite)
			call := <-d.calls
			call.Refuse(486, Reason{}, 0)
			r.after(time.Second, "0 486, 0.5 486")
			ack, _ := parse([]byte(acknowledge(invite.bytes(), r.last)), true)
			r.send(ack)
			r.after(time.Minute, "")
		})
	})
	t.Run("ringing, and an answer without ACK", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r, d := recordedDesk(t)
			r.send(r.callFrom(d))
			call := <-d.calls
			call.Ring()
			r.after(190*time.Second, every("180", 0, 60, 120, 180))
			call.Answer([]byte("v=0"))
			r.after(33*time.Second, every("200", upToT2...)+", 32 BYE, 32.5 BYE")
			next[NoAck](call.events)
		})
	})
}

// inviteOf is the INVITE that the last ACK belongs to, as far as an answer
// copies it.
func (r *recorder) inviteOf() *message {
	m := *r.last
	m.fields = slices.Clone(m.fields)
	n, _ := m.cseq()
	m.method = "INVITE"
	m.setCSeq(int(n), "INVITE")
	return &m
}

// recordedDesk is recorded with a server that takes calls.
func recordedDesk(t *testing.T) (*recorder, *desk) {
	t.Helper()
	r := recorded(t)
	return r, deskOf(t, r.s, newPeerOn(t, r.conn.Net().Open(netip.MustParseAddrPort("127.0.0.1:5072"))))
}

// callFrom is an INVITE that is answered to the recorder, whose clock it starts.
func (r *recorder) callFrom(d *desk) *message {
	r.start = time.Now()
	return d.outside("INVITE", "v=0", "Via: SIP/2.0/UDP 127.0.0.1:5071;branch="+newBranch(), "Contact: <sip:201@127.0.0.1:5071>")
}

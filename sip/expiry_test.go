package sip

import (
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
)

func halfHour(t *config.Trunk) { t.SessionExpires = 1800 * time.Second }

// timed brings a call up whose 2xx has these lines.
func timed(t *testing.T, s *Server, p *peer, lines ...string) (*Session, *events, *message) {
	t.Helper()
	o := call()
	o.Reoffer = func(offer []byte) ([]byte, error) { return []byte("answer to " + string(offer)), nil }
	c, e, invite := dial(t, s, p, o)
	p.reply(invite, 200, "a", append(append([]string{p.contact()}, lines...), "", "v=0 answer")...)
	next[Accepted](e)
	p.want("ACK")
	return c, e, invite
}

// after waits for a request and for nothing before it, and tells how long.
func (p *peer) after(method string) (*message, time.Duration) {
	p.t.Helper()
	begun := time.Now()
	for {
		select {
		case m := <-p.in:
			switch {
			case m.method == method:
				return m, time.Since(begun)
			case m.method != "" && m.method != "ACK":
				p.t.Fatalf("got %s, want %s", m.method, method)
			}
		case <-time.After(24 * time.Hour):
			p.t.Fatalf("no %s came", method)
		}
	}
}

const (
	weDo   = "Session-Expires: 600;refresher=uac"
	theyDo = "Session-Expires: 600;refresher=uas"
	update = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE"
)

func TestWeRefreshByUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, halfHour)
		c, e, invite := timed(t, s, p, weDo, update)
		if invite.get("Session-Expires") != "1800" || invite.get("Min-SE") != "90" || !invite.supports("timer") {
			t.Errorf("unexpected INVITE:\n%s", invite.bytes())
		}
		for range 3 {
			m, took := p.after("UPDATE")
			if took != 300*time.Second {
				t.Errorf("refreshed after %v", took)
			}
			if m.get("Session-Expires") != "600;refresher=uac" || m.get("Min-SE") != "90" || len(m.body) != 0 || !m.has("Contact") || !m.supports("timer") {
				t.Errorf("unexpected UPDATE:\n%s", m.bytes())
			}
			p.reply(m, 200, "", weDo)
		}
		m, _ := p.after("UPDATE")
		p.reply(m, 200, "") // turned off (RFC 4028 section 7.2)
		p.never("UPDATE", time.Hour)
		e.none(0)
		c.Bye(Reason{})
		p.reply(p.want("BYE"), 200, "")
		next[ByeDone](e)
		gone(t, s)
	})
}

func TestWeRefreshByInvite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, halfHour)
		c, e, invite := timed(t, s, p, weDo)
		m, took := p.after("INVITE")
		if took != 300*time.Second || string(m.body) != "v=0 offer" || m.get("Session-Expires") != "600;refresher=uac" {
			t.Errorf("unexpected INVITE after %v:\n%s", took, m.bytes())
		}
		p.reply(m, 200, "", p.contact(), weDo, "", "v=0 answer")
		ack := p.want("ACK")
		if first, _ := invite.cseq(); ack.get("CSeq") != utoa(first+1)+" ACK" {
			t.Errorf("the ACK has CSeq %s", ack.get("CSeq"))
		}
		p.reply(m, 200, "", p.contact(), weDo, "", "v=0 answer") // the ACK was lost
		p.want("ACK")
		// The description that a later offer brought is what stands from then on.
		p.inDialog(invite, "a", "UPDATE", 10, "hold", "Supported: timer", "Session-Expires: 600;refresher=uas")
		if got := p.want("200"); got.get("Session-Expires") != "600;refresher=uas" {
			t.Errorf("unexpected 200:\n%s", got.bytes())
		}
		m, _ = p.after("INVITE")
		if string(m.body) != "answer to hold" {
			t.Errorf("refreshed with %q", m.body)
		}
		p.reply(m, 100, "")
		c.Bye(Reason{}) // at once, whatever is open (I17)
		p.reply(p.want("BYE"), 200, "")
		p.reply(m, 487, "")
		p.want("ACK")
		next[ByeDone](e)
		gone(t, s)
		time.Sleep(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.clients)+len(s.servers) != 0 {
			t.Errorf("%d and %d transactions are left", len(s.clients), len(s.servers))
		}
	})
}

// TestRefusedRefresh has what each answer to a refresh means (RFC 4028 section
// 10, RFC 5057 section 5.1).
func TestRefusedRefresh(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		line   string
		least  time.Duration // until what follows
		most   time.Duration
		then   string
	}{
		{"silence", 0, "", 32 * time.Second, 32 * time.Second, "BYE"},
		{"not finished", 100, "", 32 * time.Second, 32 * time.Second, "BYE"},
		{"timeout", 408, "", 0, 0, "BYE"},
		{"unknown call", 481, "", 0, 0, "BYE"},
		{"gone", 410, "", 0, 0, "BYE"},
		{"not found", 404, "", 0, 0, "BYE"},
		{"their fault", 500, "", 10 * time.Second, 10 * time.Second, "UPDATE"},
		{"overloaded", 503, "Retry-After: 40", 40 * time.Second, 40 * time.Second, "UPDATE"},
		{"not acceptable", 488, "", 10 * time.Second, 10 * time.Second, "UPDATE"},
		{"refused", 403, "", 10 * time.Second, 10 * time.Second, "UPDATE"},
		{"glare", 491, "", 2100 * time.Millisecond, 4 * time.Second, "UPDATE"},
		{"no UPDATE after all", 405, "", 0, 0, "INVITE"},
		{"not implemented", 501, "", 0, 0, "INVITE"},
		{"too often", 422, "Min-SE: 1200", 0, 0, "UPDATE"},
		{"too often, in no words", 422, "", 10 * time.Second, 10 * time.Second, "UPDATE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := bubble(t, halfHour)
				call, e, _ := timed(t, s, p, weDo, update)
				m, _ := p.after("UPDATE")
				if c.status != 0 {
					lines := []string{}
					if c.line != "" {
						lines = append(lines, c.line)
					}
					p.reply(m, c.status, "", lines...)
				}
				m, took := p.after(c.then)
				if took < c.least || took > c.most {
					t.Errorf("%s after %v, want %v to %v", c.then, took, c.least, c.most)
				}
				if c.line == "Min-SE: 1200" && (m.get("Min-SE") != "1200" || m.get("Session-Expires") != "1200;refresher=uac") {
					t.Errorf("unexpected UPDATE:\n%s", m.bytes())
				}
				if c.then == "BYE" {
					next[Expired](e)
					if q850(m) != 102 {
						t.Errorf("unexpected BYE:\n%s", m.bytes())
					}
				} else {
					e.none(0)
					call.Bye(Reason{})
					m = p.want("BYE")
				}
				p.reply(m, 200, "")
				next[ByeDone](e)
				gone(t, s)
			})
		})
	}
}

// TestRefusedForGood keeps trying as long as the session lasts, and no longer.
func TestRefusedForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, halfHour)
		begun := time.Now()
		_, e, _ := timed(t, s, p, weDo, update)
		tries := 0
		for {
			m := <-p.in
			if m.method == "UPDATE" {
				tries++
				p.reply(m, 500, "")
			}
			if m.method == "BYE" {
				p.reply(m, 200, "")
				break
			}
		}
		if took := time.Since(begun); took != 568*time.Second || tries != 27 {
			t.Errorf("given up after %v and %d tries", took, tries)
		}
		next[Expired](e)
		next[ByeDone](e)
	})
}

func TestTheyDoNotRefresh(t *testing.T) {
	for _, c := range []struct {
		line string
		want time.Duration
	}{
		{"Session-Expires: 90;refresher=uas", 60 * time.Second},
		{"x: 600;refresher=uas", 568 * time.Second},
		{"Session-Expires: 1;refresher=uas", 60 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, p := bubble(t, halfHour)
			_, e, _ := timed(t, s, p, c.line)
			m, took := p.after("BYE")
			if took != c.want {
				t.Errorf("%s: BYE after %v, want %v", c.line, took, c.want)
			}
			next[Expired](e)
			p.reply(m, 481, "") // it knows
			next[ByeDone](e)
			gone(t, s)
		})
	}
}

func TestTheyRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, halfHour)
		_, e, invite := timed(t, s, p, theyDo)
		for seq := 10; seq < 14; seq++ {
			time.Sleep(500 * time.Second)
			if seq%2 == 0 {
				p.inDialog(invite, "a", "UPDATE", seq, "", "Supported: timer", "Session-Expires: 600") // who does it stays
			} else {
				p.inDialog(invite, "a", "INVITE", seq, "v=0 answer", "k: timer", "Session-Expires: 600;refresher=uac")
			}
			ok := p.want("200")
			if ok.get("Session-Expires") != "600;refresher=uac" || ok.get("Require") != "timer" {
				t.Errorf("unexpected 200:\n%s", ok.bytes())
			}
			if seq%2 == 1 {
				p.inDialog(invite, "a", "ACK", seq, "")
			}
		}
		e.none(0)
		_, took := p.after("BYE")
		if took != 568*time.Second {
			t.Errorf("BYE after %v", took)
		}
		next[Expired](e)
	})
}

func TestSessionIntervalTooSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, func(t *config.Trunk) { t.SessionExpires = 90 * time.Second })
		_, e, first := dial(t, s, p, call())
		p.reply(first, 422, "x", "Min-SE: 600")
		second := p.want("INVITE")
		n, _ := first.cseq()
		if second.get("Session-Expires") != "600" || second.get("Min-SE") != "600" || second.get("Call-ID") != first.get("Call-ID") || second.get("CSeq") != utoa(n+1)+" INVITE" {
			t.Errorf("unexpected INVITE:\n%s", second.bytes())
		}
		p.reply(second, 422, "x", "Min-SE: 1200") // once is enough
		if got := next[Refused](e); got.Status != 422 {
			t.Errorf("refused with %d", got.Status)
		}
		_, e, first = dial(t, s, p, call())
		p.reply(first, 422, "x")
		next[Refused](e)
		gone(t, s)
	})
}

// TestAnswerToASessionTimer has RFC 4028's table 2 and what stands around it.
func TestAnswerToASessionTimer(t *testing.T) {
	for _, c := range []struct {
		name    string
		wish    int
		lines   []string
		want    string // Session-Expires of our 2xx
		require bool
		status  string
		ours    bool
	}{
		{"unknown to the caller", 1800, nil, "1800;refresher=uas", false, "200", true},
		{"known to the caller", 1800, []string{"Supported: replaces,timer"}, "1800;refresher=uas", true, "200", true},
		{"the caller's is shorter", 1800, []string{"Supported: timer", "Session-Expires: 600"}, "600;refresher=uas", true, "200", true},
		{"ours is shorter", 600, []string{"k: timer", "x: 1800"}, "600;refresher=uas", true, "200", true},
		{"but not below theirs", 600, []string{"Supported: timer", "Session-Expires: 1800", "Min-SE: 1200"}, "1200;refresher=uas", true, "200", true},
		{"the caller does it", 1800, []string{"Supported: timer", "Session-Expires: 600 ;refresher=UAC"}, "600;refresher=uac", true, "200", false},
		{"we are to do it", 1800, []string{"Supported: timer", "Session-Expires: 600;refresher=uas"}, "600;refresher=uas", true, "200", true},
		{"required", 0, []string{"Require: timer", "Session-Expires: 600;refresher=uac"}, "600;refresher=uac", true, "200", false},
		{"off, and not asked for", 0, []string{"Supported: timer"}, "", false, "200", false},
		{"too small", 1800, []string{"Supported: timer", "Session-Expires: 60"}, "", false, "422", false},
		{"too small, unknown to the caller", 1800, []string{"Session-Expires: 60"}, "90;refresher=uas", true, "200", true},
		{"no number", 1800, []string{"Session-Expires: soon"}, "", false, "400", false},
		{"no number of seconds", 1800, []string{"Min-SE: -1"}, "", false, "400", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := bubble(t, func(t *config.Trunk) { t.SessionExpires = time.Duration(c.wish) * time.Second })
				d := deskOf(t, s, p)
				if c.status != "200" {
					d.send(s.Addr("udp"), string(d.outside("INVITE", "v=0", c.lines...).bytes()))
					if got := d.want(c.status); c.status == "422" && got.get("Min-SE") != "90" {
						t.Errorf("422 without Min-SE:\n%s", got.bytes())
					}
					return
				}
				invite, in := d.invite("v=0 offer", c.lines...)
				in.Answer([]byte("v=0 answer"))
				ok := d.want("200")
				if ok.get("Session-Expires") != c.want || ok.supports("timer") != true || (ok.get("Require") == "timer") != c.require {
					t.Errorf("unexpected 200:\n%s", ok.bytes())
				}
				d.follow(invite, ok, "ACK", 1)
				next[Acked](in.events)
				if c.want == "" {
					d.never("BYE", 5*time.Hour)
					return
				}
				interval, _, _ := strings.Cut(c.want, ";")
				n, _ := strconv.Atoi(interval)
				wait, method := time.Duration(n)*time.Second, "BYE"
				if c.ours {
					wait, method = wait/2, "INVITE" // it names no UPDATE
				} else {
					wait -= min(32*time.Second, wait/3)
				}
				if _, took := d.after(method); took != wait {
					t.Errorf("%s after %v, want %v", method, took, wait)
				}
			})
		})
	}
}

// FuzzSessionTimer holds for any Session-Expires and Min-SE: whatever is agreed
// is an interval that can be kept.
func FuzzSessionTimer(f *testing.F) {
	for _, seed := range [][2]string{{"1800;refresher=uac", "90"}, {"0", ""}, {"99999999999", "4294967295"}, {";;=", "x"}, {"90 ; refresher = UAS", " 90"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, interval, least string) {
		m := &message{method: "INVITE"}
		m.add("Session-Expires", interval)
		m.add("Min-SE", least)
		for _, supports := range []string{"", "timer"} {
			m.add("Supported", supports)
			for _, wish := range []time.Duration{0, minExpiry, maxExpiry} {
				for _, e := range []expiry{newExpiry(wish), {wish: wish, floor: minExpiry, interval: time.Hour}} {
					answer := e.answer(m)
					e.agreed(m)
					e.tooSmall(m)
					offer := e.offer(e.interval > 0)
					if e.interval != 0 && (e.interval < minExpiry || e.interval > maxExpiry || e.patience() <= e.interval/2) {
						t.Fatalf("%q %q: agreed on %v", interval, least, e.interval)
					}
					for _, fs := range [][]field{answer, offer} {
						said := &message{fields: fs}
						if d, _, ok := sessionExpires(said); len(fs) > 0 && (!ok || d < minExpiry || d > maxExpiry) {
							t.Fatalf("%q %q: said %v", interval, least, fs)
						}
					}
				}
			}
		}
	})
}

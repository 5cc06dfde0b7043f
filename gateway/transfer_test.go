package gateway

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/media"
	"wagate/sip"
)

// TestAgents: an agent's phone is an extension of the PBX, as the target of a
// transfer is.
func TestAgents(t *testing.T) {
	e := &env{cfg: config.Default()}
	for _, row := range []struct {
		agent    string
		pstn     bool
		patterns []string
		want     bool
	}{
		{"201", false, nil, true},
		{"ana.b", false, nil, true},
		{"912345678", false, nil, false}, // national
		{"%39%31%32%33%34%35%36%37%38", false, nil, false},
		{"91-234-56-78", false, nil, false},
		{"*72912345678", false, nil, false},
		{"+351210000999", false, nil, false},
		{"%2B351210000999", false, nil, false},
		{"%zz", false, nil, false},
		{"7001234", false, []string{"700*"}, true},
		{"912345678", true, nil, true},
		{"+351210000999", true, []string{"700*"}, true}, // where transfers may not go
	} {
		why := e.mayRing(config.Trunk{Name: "pbx", AllowPSTN: row.pstn, TransferTargets: row.patterns}, row.agent)
		if (why == "") != row.want {
			t.Errorf("%q with allow_pstn %v and %q: %q", row.agent, row.pstn, row.patterns, why)
		}
	}
}

func TestTransferTargets(t *testing.T) {
	cfg := config.Default()
	cfg.Routes = []config.Route{
		{Direction: inbound, Trunk: "pbx", To: "00600", Overflow: []config.Hop{{Trunk: "pbx", To: "*99"}, {Trunk: "two", To: "12345678"}}},
		{Direction: outbound, Trunk: "pbx", To: "87654321"},
	}
	e := &env{cfg: cfg}
	for _, row := range []struct {
		to       string
		pstn     bool
		patterns []string
		want     bool
	}{
		{"601", false, nil, true},
		{"queue-2", false, nil, true},
		{"600123", false, nil, true},
		{"6001234", false, nil, false},
		{"600-12-34", false, nil, false},
		{"+351210000000", false, nil, false},
		{"+1", false, nil, false},
		{"00351210000000", false, nil, false},
		{"00600", false, nil, true},     // a route dials it
		{"*99", false, nil, true},       // and that
		{"12345678", false, nil, false}, // at another trunk
		{"87654321", false, nil, false}, // nobody dials the trunk so
		{"*72", false, nil, false},
		{"6#1", false, nil, false},
		{"", false, nil, false},
		{"6001234", false, []string{"600*"}, true},
		{"*72", false, []string{"*7*"}, true},
		{"+351210000000", false, []string{"+351*"}, false}, // the terms come first
		{"601", false, []string{"700*"}, true},
		{"+351210000000", true, nil, true},
		{"00351210000000", true, nil, true},
		{"6001234", true, nil, true},
		{"+351210000000", true, []string{"+351*"}, true},
		{"+34910000000", true, []string{"+351*"}, false},
		{"6001234", true, []string{"+351*"}, false},
		{"601", false, []string{""}, true},
	} {
		why := e.mayTransfer(config.Trunk{Name: "pbx", AllowPSTN: row.pstn, TransferTargets: row.patterns}, row.to)
		if (why == "") != row.want {
			t.Errorf("%q with allow_pstn %v and %q: %q", row.to, row.pstn, row.patterns, why)
		}
	}
}

// active brings a customer's call to its first phone.
func (s *rehearsal) active() *fakeSession {
	s.t.Helper()
	s.start()
	phone := s.dialled()
	phone.answer()
	s.phase(Active)
	s.seen.take()
	return phone
}

func (s *rehearsal) onDisk(want ...string) {
	s.t.Helper()
	synctest.Wait()
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	if got := slices.Sorted(maps.Values(s.book.dialogs)); !slices.Equal(got, want) {
		s.t.Errorf("dialogs of %v are on disk, want %v", got, want)
	}
}

// TestTransferIsOnDisk: a crash at any moment finds every dialog that may be
// alive, and no other.
func TestTransferIsOnDisk(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		first := s.active()
		s.onDisk("600")
		s.book.slowDialog = time.Second
		first.notify(sip.Refer{To: "601", By: "sip:600@pbx"})
		s.saw("nothing leaves before it is on disk", "202", "save sip:10.0.0.1")
		time.Sleep(time.Second)
		second := s.dialled()
		if second.out.ReferredBy != "sip:600@pbx" || second.out.To != "601" {
			t.Errorf("the INVITE is %+v", second.out)
		}
		s.onDisk("600", "601")
		second.answer()
		s.onDisk("600", "601")
		first.notify(sip.ByeDone{})
		s.onDisk("601")
		second.notify(sip.Refer{To: "602"})
		time.Sleep(time.Second)
		third := s.dialled()
		s.onDisk("601", "602")
		third.notify(sip.Refused{Status: 486})
		s.onDisk("601")
		s.customerHangsUp()
		second.notify(sip.ByeDone{})
		if r := s.ended(Hangup, "customer"); r.Transfers != 1 || r.To != "601" || !slices.Equal(r.Agents, []string{"600", "601"}) || len(s.book.owed) != 0 {
			t.Errorf("record is %+v, owed %v", r, s.book.owed)
		}
	})
}

// TestTransferOwesBothEnds: phones that never confirm their end are owed one.
func TestTransferOwesBothEnds(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		first := s.active()
		first.notify(sip.Refer{To: "601"})
		s.dialled()
		s.customerHangsUp()
		time.Sleep(slowEnding)
		synctest.Wait()
		if s.ended(Hangup, "customer"); len(s.book.owed) != 2 {
			t.Errorf("owed is %v, want the ends of two dialogs", s.book.owed)
		}
	})
}

func TestReferIsRefused(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		first := s.active()
		for _, row := range []struct {
			ev   sip.Refer
			want string
		}{
			{sip.Refer{To: "+351210000000"}, "REFER refused 403"},
			{sip.Refer{To: "601", Foreign: true}, "REFER refused 403"},
			{sip.Refer{To: "601", Ours: true}, "REFER refused 403"},
		} {
			first.notify(row.ev)
			s.saw("not allowed", row.want)
		}
		for i := range maxTransfers {
			first.notify(sip.Refer{To: "601"})
			second := s.dialled()
			if i == 0 {
				first.notify(sip.Refer{To: "602"})
				time.Sleep(reliefLimit)
				synctest.Wait()
				second.notify(sip.Proceeding{Status: 100})
			}
			second.notify(sip.Refused{Status: 487})
			time.Sleep(time.Second) // within max_cps
			synctest.Wait()
		}
		if seen := s.seen.take(); !slices.Contains(seen, "REFER refused 491") || !slices.Contains(seen, "CANCEL sip:10.0.0.1") || !slices.Contains(seen, "NOTIFY 480") {
			t.Errorf("seen: %v", seen)
		}
		first.notify(sip.Refer{To: "601"})
		s.saw("too often", "REFER refused 603")
		s.phase(Active)
		first.notify(sip.Hungup{})
		s.ended(Hangup, "pbx")
	})
}

// TestReferBeforeTheCustomerIsConnected waits, and is forgotten with the call.
func TestReferBeforeTheCustomerIsConnected(t *testing.T) {
	for _, gone := range []bool{false, true} {
		rehearse(t, onePhone, func(s *rehearsal) {
			s.graph.slow = map[string]time.Duration{"accept:sdp": time.Second}
			s.start()
			first := s.dialled()
			first.answer()
			s.phase(Answering)
			s.seen.take()
			first.notify(sip.Refer{To: "601"})
			s.saw("nobody is connected yet")
			if gone {
				first.notify(sip.Hungup{})
				time.Sleep(time.Second)
				s.ended(Hangup, "pbx")
				s.saw("the call is over", "terminate")
				return
			}
			time.Sleep(time.Second)
			second := s.dialled()
			s.saw("it is granted", "open whatsapp", "202", "save sip:10.0.0.1", "INVITE sip:10.0.0.1 601")
			second.answer()
			s.saw("the other phone talks", "open sip", "NOTIFY 200", "BYE sip:10.0.0.1")
			first.notify(sip.ByeDone{})
			second.notify(sip.Hungup{})
			if r := s.ended(Hangup, "pbx"); r.Transfers != 1 {
				t.Errorf("record is %+v", r)
			}
		})
	}
}

// TestPhoneThatTakesOverSaysNothingUsable: the call goes on with the one before.
func TestPhoneThatTakesOverSaysNothingUsable(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		first := s.active()
		s.audio.sdpErr = media.ErrNoCodec
		first.notify(sip.Refer{To: "601"})
		second := s.dialled()
		second.answer()
		s.saw("it is hung up", "202", "save sip:10.0.0.1", "INVITE sip:10.0.0.1 601", "BYE sip:10.0.0.1")
		second.notify(sip.ByeDone{})
		s.saw("and told", "NOTIFY 488")
		s.phase(Active)
		s.customerHangsUp()
		first.notify(sip.ByeDone{})
		s.ended(Hangup, "customer")
	})
}

func TestRedirectionIsFollowedWhereACallMayGo(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		for i, row := range []struct {
			moved []string
			to    string
		}{
			{[]string{"+351210000000", "601"}, "601"},
			{[]string{"600", "602"}, "602"}, // not back
			{[]string{"603"}, "603"},
			{[]string{"604"}, "604"},
			{[]string{"605"}, "605"},
		} {
			phone.notify(sip.Refused{Status: 302, Moved: row.moved})
			if phone = s.dialled(); phone.out.To != row.to {
				t.Errorf("redirection %d leads to %s, want %s", i, phone.out.To, row.to)
			}
		}
		s.onDisk("605") // in the place of the ones before
		phone.notify(sip.Refused{Status: 302, Moved: []string{"606"}})
		if r := s.ended(NoAnswer, "pbx"); r.To != "605" || r.SIPStatus != 302 {
			t.Errorf("record is %+v", r)
		}
	})
}

func TestRedirectionToNowhere(t *testing.T) {
	for _, moved := range [][]string{nil, {"600"}, {"+351210000000", "00351210000000"}} {
		rehearse(t, onePhone, func(s *rehearsal) {
			s.start()
			s.dialled().notify(sip.Refused{Status: 302, Moved: moved})
			s.ended(NoAnswer, "pbx")
		})
	}
}

func TestRedirectionAfterTheHangup(t *testing.T) {
	rehearse(t, onePhone, func(s *rehearsal) {
		s.start()
		phone := s.dialled()
		phone.notify(sip.Proceeding{Status: 100})
		s.customerHangsUp()
		phone.notify(sip.Refused{Status: 302, Moved: []string{"601"}})
		s.ended(Cancelled, "customer")
		if n := len(s.trunk.sessions); n != 0 {
			t.Errorf("%d phones were rung after the hangup", n)
		}
	})
}

package gateway

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/store"
	"wagate/test/faketrunk"
	"wagate/whatsapp"
)

const promisedFor = 5 * time.Minute

// promising is a gateway that calls agents back, in fake time.
func promising(t *testing.T, story func(s *sweep), change func(c *config.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, end := newSweep(t, func(c *config.Config) {
			c.Permissions.Callback, c.Permissions.CallbackWithin = true, promisedFor
			if change != nil {
				change(c)
			}
		})
		defer end()
		s.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.NoAnswer() })
		story(s)
	})
}

// promise lets an agent wait for a customer.
func (s *sweep) promise(user, agent string) {
	s.t.Helper()
	now := time.Now()
	_, err := s.g.store.KeepCallback(s.ctx, store.Callback{
		Number: "1", User: user, Trunk: "pbx", Agent: agent, Since: now, Expires: now.Add(promisedFor),
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// grant is a customer's word.
func (s *sweep) grant(user string) {
	s.g.deliver(whatsapp.PermissionReply{
		Meta: whatsapp.Meta{Key: "grant " + user, NumberID: "1", At: time.Now()}, User: whatsapp.User{Number: user},
		Accept: true, Expires: time.Now().Add(7 * 24 * time.Hour),
	})
}

func (s *sweep) waiting() int {
	s.t.Helper()
	all, err := s.g.store.Callbacks(s.ctx, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	return len(all)
}

// TestGrantDuringAnotherCall: the customer talks to somebody else just then, so
// the agent's phone rings when that call is over, once.
func TestGrantDuringAnotherCall(t *testing.T) {
	const user = "34600111222"
	promising(t, func(s *sweep) {
		s.g.resume(s.ctx)
		s.promise(user, "201")
		s.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(0) })
		customer := s.meta.call(user)
		phone, err := s.pbx.Next(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.grant(user)
		time.Sleep(time.Minute)
		if n := len(s.pbx.Calls()); n != 1 || s.waiting() != 1 {
			t.Fatalf("%d phones rang and %d agents wait, while the customer talks; want one of each", n, s.waiting())
		}
		s.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Refuse(486) })
		s.meta.leave(customer)
		back, err := s.pbx.Next(s.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if uri := back.Invite().URI; uri[:8] != "sip:201@" || !phone.Is(faketrunk.Ended) {
			t.Errorf("called back is %s, the call before is over: %v", uri, phone.Is(faketrunk.Ended))
		}
		time.Sleep(time.Minute)
		if n := len(s.pbx.Calls()); n != 2 || s.waiting() != 0 {
			t.Errorf("%d phones rang and %d agents wait at the end; want two and none", n, s.waiting())
		}
	}, nil)
}

// TestCallOutlastsThePromise: callback_within is over before that call is.
func TestCallOutlastsThePromise(t *testing.T) {
	const user = "34600111222"
	promising(t, func(s *sweep) {
		s.g.resume(s.ctx)
		s.promise(user, "201")
		s.pbx.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(0) })
		customer := s.meta.call(user)
		if _, err := s.pbx.Next(s.ctx); err != nil {
			t.Fatal(err)
		}
		s.grant(user)
		time.Sleep(promisedFor + time.Second)
		s.meta.leave(customer)
		time.Sleep(time.Minute)
		if n := len(s.pbx.Calls()); n != 1 {
			t.Errorf("%d phones rang, want the one of the customer's call", n)
		}
	}, nil)
}

// TestCallbacksDueAtOnce: they come at half the pace that the trunk takes, and no
// faster than it has places; none is lost.
func TestCallbacksDueAtOnce(t *testing.T) {
	const agents, cps, places = 20, 4, 10
	promising(t, func(s *sweep) {
		for i := range agents {
			user := strconv.Itoa(34600111200 + i)
			s.promise(user, strconv.Itoa(200+i))
			s.grant(user)
		}
		time.Sleep(time.Second)
		began := time.Now()
		s.g.resume(s.ctx)
		var rang []*faketrunk.Call
		for range places {
			phone, err := s.pbx.Next(s.ctx)
			if err != nil {
				t.Fatal(err)
			}
			rang = append(rang, phone)
		}
		if took := time.Since(began); took < (places-1)*time.Second*2/cps {
			t.Errorf("%d phones rang within %v", places, took)
		}
		time.Sleep(5 * time.Second)
		if n := len(s.pbx.Calls()); n != places {
			t.Errorf("%d phones ring at a time, want %d", n, places)
		}
		for len(rang) < agents {
			_ = rang[len(rang)-places].Refuse(486)
			phone, err := s.pbx.Next(s.ctx)
			if err != nil {
				t.Fatal(err)
			}
			rang = append(rang, phone)
		}
		time.Sleep(2 * time.Minute)
		if n := len(s.pbx.Calls()); n != agents || s.waiting() != 0 {
			t.Errorf("%d phones rang and %d agents wait, want %d and none", n, s.waiting(), agents)
		}
	}, func(c *config.Config) { c.Trunks[0].MaxCPS, c.Trunks[0].MaxCalls = cps, places })
}

package test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

// talkPackets is how much a customer hears before a talk is one.
const talkPackets = 25

// after lets the customer hang up so long after the call was placed.
func after(d time.Duration) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		pause(ctx, d)
		s.customer.HangUp()
		return nil
	}
}

// goneWhileItRings lets the customer hang up when the phone rings.
func goneWhileItRings(ctx context.Context, s *scene) error {
	phone, err := s.phone(ctx)
	if err != nil {
		return err
	}
	err = phone.Wait(ctx, faketrunk.Rung)
	s.customer.HangUp()
	return err
}

// talks lets the customer hear the phone, and then does the rest.
func talks(then ...func(context.Context, *scene) error) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		if err := s.up(ctx); err != nil {
			return err
		}
		for _, f := range then {
			if err := f(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// up waits until the customer hears something of an answered call.
func (s *scene) up(ctx context.Context) error {
	if s.callee != nil {
		if err := s.agent.Wait(ctx, faketrunk.Up); err != nil {
			return err
		}
		if err := s.called(ctx); err != nil {
			return err
		}
	}
	if err := s.customer.Wait(ctx, fakemeta.Connected); err != nil {
		return err
	}
	return until(ctx, "the customer hears the phone", func() bool { return len(s.customer.Packets()) >= talkPackets })
}

// called waits until Meta calls the customer.
func (s *scene) called(ctx context.Context) (err error) {
	s.customer, err = s.r.Meta.WaitCallee(ctx, s.who)
	if err == nil && s.fault.Kind != fakemeta.NoFault && s.fault.Action != "connect" {
		s.fault.CallID = s.customer.ID()
		s.r.Meta.Fail(s.fault)
	}
	return err
}

// phone waits for the phone that a customer's call came to.
func (s *scene) phone(ctx context.Context) (*faketrunk.Call, error) {
	if s.agent != nil {
		return s.agent, nil
	}
	return s.find(ctx, func(c *faketrunk.Call) bool { return c.Invite().Get("X-WA-Payload") == s.id })
}

func (s *scene) find(ctx context.Context, is func(*faketrunk.Call) bool) (found *faketrunk.Call, err error) {
	err = until(ctx, "a phone", func() bool {
		for _, c := range s.r.PBX.Calls() {
			if is(c) {
				found = c
			}
		}
		return found != nil
	})
	return found, err
}

// until waits for something that nobody announces.
func until(ctx context.Context, what string, holds func() bool) error {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		case <-poll.C:
		}
	}
	return nil
}

func customerEnds(_ context.Context, s *scene) error {
	s.customer.HangUp()
	return nil
}

func phoneEnds(ctx context.Context, s *scene) error {
	phone, err := s.phone(ctx)
	if err != nil {
		return err
	}
	return phone.Hangup(ctx)
}

func bothEnd(ctx context.Context, s *scene) error {
	go s.customer.HangUp()
	return phoneEnds(ctx, s)
}

func customerVanishes(_ context.Context, s *scene) error {
	s.customer.Vanish()
	return nil
}

// breaksAtMeta is the end of a call in which Meta's app hears nothing any more.
func breaksAtMeta(_ context.Context, s *scene) error {
	s.customer.Break(138021)
	return nil
}

// holds lets the phone hold the call, and does the rest in the hold.
func holds(then func(context.Context, *scene) error) func(context.Context, *scene) error {
	return talks(func(ctx context.Context, s *scene) error {
		phone, err := s.phone(ctx)
		if err != nil {
			return err
		}
		if _, err := phone.Reinvite(ctx, faketrunk.SendOnly); err != nil {
			return err
		}
		return then(ctx, s)
	})
}

// holdCrosses lets the phone hold the call in the moment in which the customer
// hangs up; what it is told is one or the other.
func holdCrosses(ctx context.Context, s *scene) error {
	phone, err := s.phone(ctx)
	if err != nil {
		return err
	}
	go s.customer.HangUp()
	_, err = phone.Reinvite(ctx, faketrunk.SendOnly)
	return err
}

// transfers lets the phone send a REFER to a second phone with that script, waits
// until that was called, and does the rest.
func transfers(script faketrunk.Script, then func(ctx context.Context, s *scene, first, second *faketrunk.Call) error) func(context.Context, *scene) error {
	return talks(func(ctx context.Context, s *scene) error {
		first, err := s.phone(ctx)
		if err != nil {
			return err
		}
		if err := s.refer(ctx, first, script); err != nil {
			return err
		}
		second, err := s.find(ctx, func(c *faketrunk.Call) bool { return dialled(c) == s.desk })
		if err != nil {
			return err
		}
		return then(ctx, s, first, second)
	})
}

// refer sends a REFER to a second phone, and takes its 202.
func (s *scene) refer(ctx context.Context, first *faketrunk.Call, script faketrunk.Script) error {
	s.stage.script(s.desk, script)
	res, err := first.Request(ctx, "REFER", []faketrunk.Header{
		{Name: "Contact", Value: "<sip:phone@127.0.0.1>"}, {Name: "Refer-To", Value: "<sip:" + s.desk + "@" + s.r.PBX.URI("udp")[4:] + ">"},
	}, nil)
	if err == nil && res.Status != 202 {
		err = fmt.Errorf("REFER is answered with %d", res.Status)
	}
	return err
}

// replaced lets a second phone take the call over by Replaces, and does the rest.
func replaced(then func(ctx context.Context, s *scene, first, second *faketrunk.Call) error) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		first, err := s.phone(ctx)
		if err != nil {
			return err
		}
		if err := first.Wait(ctx, faketrunk.Rung); err != nil {
			return err
		}
		second, err := s.r.PBX.Dial(ctx, faketrunk.Outgoing{
			To: "sip:wagate@" + s.r.Gateway.SIPAddr("udp"), From: s.desk,
			Headers: []faketrunk.Header{{Name: "Replaces", Value: first.Replaces()}, {Name: "Require", Value: "replaces"}},
		})
		if err != nil {
			return err
		}
		return then(ctx, s, first, second)
	}
}

// secondEnds waits until the second phone has the call, and lets it hang up.
func secondEnds(ctx context.Context, _ *scene, first, second *faketrunk.Call) error {
	return errors.Join(second.Wait(ctx, faketrunk.Up), first.Wait(ctx, faketrunk.Ended), second.Hangup(ctx))
}

// agentGivesUp hangs up when the customer's phone rings, or was picked up so fast
// that it did not.
func agentGivesUp(ctx context.Context, s *scene) error {
	if err := until(ctx, "it rings", func() bool { return s.agent.Is(faketrunk.Rung) || s.agent.Is(faketrunk.Answered) }); err != nil {
		return err
	}
	return s.agent.Hangup(ctx)
}

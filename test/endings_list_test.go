package test

import (
	"context"
	"errors"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

const (
	byCustomer = "hangup/customer"
	byPhone    = "hangup/pbx"
)

// beforeTheAnswer are customers' calls that no phone answers, or too late.
func beforeTheAnswer() []ending {
	rings, crosses, stalls, forgets, late := faketrunk.NoAnswer(), faketrunk.NoAnswer(), faketrunk.NoAnswer(), faketrunk.NoAnswer(), faketrunk.NoAnswer()
	crosses.OnCancel, stalls.OnCancel, forgets.OnCancel = faketrunk.Cross, faketrunk.Stall, faketrunk.Deaf
	late.NoTrying, late.Ring = true, 700*time.Millisecond
	challenges := faketrunk.Script{Auth: &faketrunk.Auth{Realm: "pbx", User: "gateway", Password: "right"}}
	return []ending{
		{name: "gone at once", script: rings, play: customerEnds, wants: "cancelled/customer"},
		{name: "gone before it rings", script: late, play: after(300 * time.Millisecond), wants: "cancelled/customer"},
		{name: "gone while it rings", script: rings, play: goneWhileItRings, wants: "cancelled/customer"},
		{name: "CANCEL crosses the answer", script: crosses, play: goneWhileItRings, wants: "cancelled/customer"},
		{name: "gone as it answers", script: faketrunk.Answer(300 * time.Millisecond), play: after(300 * time.Millisecond), wants: "cancelled/customer " + byCustomer},
		{name: "no final answer after the CANCEL", script: stalls, play: goneWhileItRings, wants: "cancelled/customer", owed: true, slow: true},
		{name: "CANCEL is forgotten", script: forgets, wants: "cancelled/customer", play: func(ctx context.Context, s *scene) error {
			if err := goneWhileItRings(ctx, s); err != nil {
				return err
			}
			phone, err := s.phone(ctx)
			return errors.Join(err, phone.Wait(ctx, faketrunk.Cancelled), phone.Refuse(480))
		}},
		{name: "gone from a dead PBX", script: faketrunk.Dead(), play: after(300 * time.Millisecond), wants: "cancelled/customer"},
		{name: "dead PBX", script: faketrunk.Dead(), wants: "unreachable/pbx"},
		{name: "TCP is refused", wants: "unreachable/pbx"},
		{name: "busy", script: faketrunk.Refuse(486), wants: "busy/pbx"},
		{name: "declined", script: faketrunk.Refuse(603), wants: "declined/pbx"},
		{name: "out of order", script: faketrunk.Refuse(503), wants: "unreachable/pbx"},
		{name: "no such extension", script: faketrunk.Refuse(404), wants: "not_found/pbx"},
		{name: "sent elsewhere", script: faketrunk.Redirect("sip:600@192.0.2.1"), wants: "no_answer/pbx"},
		{name: "challenged without end", script: challenges, wants: "trunk_auth/pbx"},
		{name: "nobody answers", script: rings, wants: "no_answer/gateway"},
		{name: "no codec in common", script: faketrunk.Script{Codecs: []string{"G729"}}, wants: "no_codec/pbx"},
		{
			name: "its end is known first", script: faketrunk.Answer(0), play: customerEnds, wants: "cancelled/customer",
			upset: fakemeta.Upset{Kind: fakemeta.KindConnect, Times: 1, Delay: 500 * time.Millisecond},
		},
		{
			name: "closed, and reject is lost twice", wants: "not_allowed/gateway",
			fault: fakemeta.Fault{Kind: fakemeta.Reset, Action: "reject", Times: 2},
		},
	}
}

// whileItIsAnswered are customers' calls that fail, or hardly do not, when the
// phone has answered.
func whileItIsAnswered() []ending {
	deaf, deafer, forked, early := faketrunk.Answer(0), faketrunk.Answer(0), faketrunk.Answer(100*time.Millisecond), faketrunk.Answer(400*time.Millisecond)
	deaf.DropACKs, deafer.DropACKs, forked.Fork, early.Early = 1, 1000, true, true
	rings := faketrunk.Answer(200 * time.Millisecond)
	rings.Rings = 60
	hasUp := talks(customerEnds)
	return []ending{
		{name: "lost ACK", script: deaf, play: hasUp, wants: byCustomer},
		{name: "no ACK comes through", script: deafer, play: hasUp, wants: byCustomer},
		{name: "two phones answer", script: forked, play: hasUp, wants: byCustomer},
		{name: "60 rings", script: rings, play: hasUp, wants: byCustomer},
		{name: "early audio", script: early, play: hasUp, wants: byCustomer},
		{
			name: "offered late and four times", play: hasUp, wants: byCustomer,
			upset: fakemeta.Upset{Kind: fakemeta.KindConnect, Times: 1, Delay: 300 * time.Millisecond, Copies: 3},
		},
		{
			name: "pre_accept fails", script: faketrunk.Answer(500 * time.Millisecond), play: hasUp, wants: byCustomer,
			fault: fakemeta.Fault{Kind: fakemeta.Fail, Action: "pre_accept"},
		},
		{
			name: "reply to accept is lost", play: hasUp, wants: byCustomer,
			fault: fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "accept", Times: 1},
		},
		{
			name: "accept is answered late", play: hasUp, wants: byCustomer,
			fault: fakemeta.Fault{Kind: fakemeta.LateReply, Action: "accept", Delay: 700 * time.Millisecond, Times: 1},
		},
		{
			name: "gone while accept is asked", wants: "hangup/customer cancelled/customer",
			play: func(ctx context.Context, s *scene) error {
				err := s.customer.Wait(ctx, fakemeta.Connected)
				s.customer.HangUp()
				return err
			},
			fault: fakemeta.Fault{Kind: fakemeta.LateReply, Action: "accept", Delay: 700 * time.Millisecond, Times: 1},
		},
		{
			name: "accept fails", wants: "answer_failed/gateway",
			fault: fakemeta.Fault{Kind: fakemeta.Reset, Action: "accept"},
		},
		{
			name: "accept hangs", wants: "answer_failed/gateway",
			fault: fakemeta.Fault{Kind: fakemeta.Hang, Action: "accept"},
		},
		{name: "no network for the audio", wants: "media_failed/gateway", play: customerVanishes},
		{name: "handshake without an answer", call: fakemeta.CallOptions{Flaw: fakemeta.Unshaken}, wants: "media_failed/gateway"},
		{name: "another's certificate", call: fakemeta.CallOptions{Flaw: fakemeta.WrongPrint}, wants: "media_failed/gateway"},
	}
}

// afterATalk are customers' calls that end when both have heard each other.
func afterATalk() []ending {
	ignores := faketrunk.Script{LostOKs: 4} // until 8 s after the first BYE
	unsettled := faketrunk.Script{NoReACK: true}
	return []ending{
		{name: "the customer ends", play: talks(customerEnds), wants: byCustomer},
		{name: "the phone ends", play: talks(phoneEnds), wants: byPhone},
		{name: "both end", play: talks(bothEnd), wants: byCustomer + " " + byPhone},
		{name: "BYE is answered late", script: ignores, play: talks(customerEnds), wants: byCustomer},
		{name: "the customer's network is gone", play: talks(customerVanishes), wants: "media_lost/gateway"},
		{name: "nothing comes from the phone", script: faketrunk.Script{NoAudio: true}, wants: "media_lost/gateway"},
		{name: "Meta ends it", play: talks(breaksAtMeta), wants: "media_failed/gateway"},
		{name: "too long", wants: "max_duration/gateway", slow: true},
		{
			name: "terminate is lost twice", play: talks(phoneEnds), wants: byPhone,
			fault: fakemeta.Fault{Kind: fakemeta.Reset, Action: "terminate", Times: 2},
		},
		{
			name: "terminate hangs", play: talks(phoneEnds), wants: byPhone,
			fault: fakemeta.Fault{Kind: fakemeta.Hang, Action: "terminate", Times: 1},
		},
		{name: "nobody tells that the customer is gone", wants: "media_lost/gateway", play: talks(func(_ context.Context, s *scene) error {
			s.r.Meta.Disturb(fakemeta.Upset{Kind: fakemeta.KindTerminate, CallID: s.customer.ID(), Drop: true})
			s.customer.HangUp()
			return nil
		})},
		{name: "its end is told three times", wants: byCustomer, play: talks(func(_ context.Context, s *scene) error {
			s.r.Meta.Disturb(fakemeta.Upset{CallID: s.customer.ID(), Copies: 2})
			s.customer.HangUp()
			return nil
		})},
		{name: "ended in a hold", play: holds(phoneEnds), wants: byPhone},
		{name: "gone in a hold", play: holds(customerEnds), wants: byCustomer},
		{name: "a hold without ACK, and the end", script: unsettled, play: holds(phoneEnds), wants: byPhone},
		{name: "a hold crosses the end", play: talks(holdCrosses), wants: byCustomer},
		{name: "settings are read in it", wants: byCustomer, play: talks(func(_ context.Context, s *scene) error {
			err := s.r.Gateway.Reload(s.r.Config)
			s.customer.HangUp()
			return err
		})},
	}
}

// handedOn are customers' calls that a second phone takes, or does not.
func handedOn() []ending {
	rings := faketrunk.NoAnswer()
	return []ending{
		{name: "handed on", play: transfers(faketrunk.Answer(0), secondEnds), wants: byPhone},
		{
			name: "handed on to one who is busy", wants: byCustomer,
			play: transfers(faketrunk.Refuse(486), func(ctx context.Context, s *scene, _, second *faketrunk.Call) error {
				err := second.Wait(ctx, faketrunk.Ended)
				s.customer.HangUp()
				return err
			}),
		},
		{
			name: "handed on to one who is busy, and gone", wants: byPhone,
			play: transfers(faketrunk.Refuse(486), func(ctx context.Context, _ *scene, first, _ *faketrunk.Call) error {
				return first.Hangup(ctx)
			}),
		},
		{
			name: "handed on, and gone, to one who does not come", wants: byPhone,
			play: transfers(rings, func(ctx context.Context, _ *scene, first, second *faketrunk.Call) error {
				return errors.Join(first.Hangup(ctx), second.Refuse(480))
			}),
		},
		{
			name: "the customer does not wait for the second phone", wants: byCustomer,
			play: transfers(rings, func(ctx context.Context, s *scene, first, _ *faketrunk.Call) error {
				err := first.Hangup(ctx)
				s.customer.HangUp()
				return err
			}),
		},
		{name: "REFER, and BYE at once", wants: byPhone, play: talks(func(ctx context.Context, s *scene) error {
			first, err := s.phone(ctx)
			if err != nil {
				return err
			}
			return errors.Join(s.refer(ctx, first, faketrunk.Refuse(486)), first.Hangup(ctx))
		})},
		{name: "replaced", play: talks(replaced(secondEnds)), wants: byPhone},
		{name: "picked up by a colleague", script: rings, play: replaced(secondEnds), wants: byPhone},
	}
}

// byAgents are calls of agents to customers.
func byAgents() []ending {
	takes, never := &fakemeta.Callee{Ring: 50 * time.Millisecond, Answer: 200 * time.Millisecond}, &fakemeta.Callee{Never: true}
	refused := func(code, status int) fakemeta.Fault {
		return fakemeta.Fault{Kind: fakemeta.Fail, Action: "connect", Code: code, Status: status, Times: 1}
	}
	return []ending{
		{name: "the customer declines", callee: &fakemeta.Callee{Reject: 100 * time.Millisecond}, wants: "declined/customer"},
		{name: "the agent gives up", callee: never, play: agentGivesUp, wants: "cancelled/pbx"},
		{name: "the agent gives up at once", callee: never, play: phoneEnds, wants: "cancelled/pbx"},
		{name: "the agent gives up as the customer comes", callee: never, wants: "cancelled/pbx " + byPhone, play: func(ctx context.Context, s *scene) error {
			if err := errors.Join(s.called(ctx), s.agent.Wait(ctx, faketrunk.Rung)); err != nil {
				return err
			}
			go s.customer.PickUp()
			return s.agent.Hangup(ctx)
		}},
		{name: "the customer does not come", callee: never, from: impatientDesk, wants: "no_answer/gateway"},
		{name: "no WhatsApp there", callee: &fakemeta.Callee{Absent: true}, wants: "not_found/customer"},
		{name: "Meta knows of no permission", callee: takes, fault: refused(138006, 401), wants: "no_permission/gateway"},
		{name: "Meta is down", callee: takes, fault: refused(2, 503), wants: "api_down/gateway"},
		{
			name: "reply to connect is lost", callee: takes, play: talks(phoneEnds), wants: byPhone,
			fault: fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "connect", Times: 1},
		},
		{
			name: "reply to connect is lost, and the agent gives up", callee: never, play: agentGivesUp, wants: "cancelled/pbx",
			fault: fakemeta.Fault{Kind: fakemeta.LoseReply, Action: "connect", Times: 1},
		},
		{
			name: "connect hangs", callee: takes, wants: "api_timeout/gateway",
			fault: fakemeta.Fault{Kind: fakemeta.Hang, Action: "connect", Times: 1},
		},
		{name: "Meta cannot set it up", callee: &fakemeta.Callee{Fail: 138020}, wants: "media_failed/gateway"},
		{name: "blocked audio of the customer", callee: &fakemeta.Callee{Answer: 100 * time.Millisecond, Dark: true}, wants: "media_failed/gateway"},
		{name: "no handshake of the customer", callee: &fakemeta.Callee{Answer: 100 * time.Millisecond, Flaw: fakemeta.Unshaken}, wants: "media_failed/gateway"},
		{name: "another's certificate of the customer", callee: &fakemeta.Callee{Answer: 100 * time.Millisecond, Flaw: fakemeta.WrongPrint}, wants: "media_failed/gateway"},
		{name: "the customer's network goes", callee: takes, play: talks(customerVanishes), wants: "media_lost/gateway"},
		{name: "nothing comes from the agent", callee: takes, script: faketrunk.Script{NoAudio: true}, wants: "media_lost/gateway"},
		{name: "no codec of the agent", callee: takes, script: faketrunk.Script{Codecs: []string{"G729"}}, wants: "no_codec/gateway"},
		{name: "no offer of the agent", callee: takes, bare: true, play: talks(phoneEnds), wants: byPhone},
		{name: "late ACK of the agent", callee: takes, script: faketrunk.Script{LateACK: 700 * time.Millisecond}, play: talks(phoneEnds), wants: byPhone},
		{
			name: "the agent is gone before it is known that the customer came", wants: "cancelled/pbx " + byPhone,
			callee: &fakemeta.Callee{Ring: 50 * time.Millisecond, Answer: 300 * time.Millisecond, LateAccepted: time.Second}, play: agentGivesUp,
		},
		{name: "the customer hangs up on the agent", callee: takes, play: talks(customerEnds), wants: byCustomer},
		{name: "agent and customer hang up", callee: takes, play: talks(bothEnd), wants: byCustomer + " " + byPhone},
		{
			name: "terminate of the agent's call is lost twice", callee: takes, play: talks(phoneEnds), wants: byPhone,
			fault: fakemeta.Fault{Kind: fakemeta.Reset, Action: "terminate", Times: 2},
		},
		{name: "the agent hands on", callee: takes, play: transfers(faketrunk.Answer(0), secondEnds), wants: byPhone},
	}
}

// endings are all courses that a call has here.
func endings() []ending {
	var all []ending
	for _, part := range [][]ending{beforeTheAnswer(), whileItIsAnswered(), afterATalk(), handedOn(), byAgents()} {
		all = append(all, part...)
	}
	return all
}

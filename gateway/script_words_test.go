package gateway

import (
	"fmt"
	"strconv"
	"strings"
)

// The words of the scripts: what a line with > may say comes in.

// input takes one line of a script.
func (s *theatre) input(words []string) error {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	rest := strings.Join(words[min(1, len(words)):], " ")
	switch arg(0) {
	case "call": // who begins it, and the addresses of an agent's phone
		s.scene = arg(1)
		if n, err := strconv.Atoi(arg(2)); err == nil {
			s.su.Plan = newPlan(n)
		}
		s.hand.In = s.scene != "user"
		s.m.ToGraph, s.m.Summoned = s.scene != "user", s.scene == "click"
		s.speak = arg(2) == "announced"
		s.m.start(s)
	case "routed": // addresses of each hop
		var hops []int
		for _, w := range words[1:] {
			n, err := strconv.Atoi(w)
			if err != nil {
				return err
			}
			hops = append(hops, n)
		}
		s.emit(routed{newPlan(hops...)})
	case "denied":
		c, err := causeNamed(arg(1))
		s.emit(routeFailed{c})
		return err
	case "spoken": // the prompt was heard out
		s.si.spoken(&s.port)
	case "stop":
		c, err := causeNamed(arg(1))
		s.emit(stopped{c})
		return err
	case "deadline":
		s.emit(deadline{stamp{s.m.Phase, s.m.Turn}, arg(1) == "over"})
	case "late": // a timer of the phase before
		s.emit(deadline{Stamp: stamp{s.m.Phase - 1, s.m.Turn - 1}})
	case "REFER": // the number of the new phone, and the addresses where it may be
		leg, err := strconv.Atoi(arg(1))
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(arg(2))
		s.rel[leg] = relief{Leg: uint8(leg), Plan: newPlan(n)}
		s.hand.Leg = uint8(leg)
		s.rel[leg].dial(&s.out[leg])
	case "Replaces": // the number of the phone that calls in the place of another
		leg, err := strconv.Atoi(arg(1))
		if err != nil {
			return err
		}
		s.guest[leg] = sipIngress{Leg: uint8(leg)}
		s.hand.Leg = uint8(leg)
		s.guest[leg].answer(&s.out[leg])
	case "rings": // for too long
		s.newcomer(s.hand.Leg, NoAnswer)
	case "media":
		if s.scene == "user" {
			s.wi.mediaReady(s)
		} else {
			s.wo.mediaReady(s)
		}
	case "lost":
		c := MediaLost
		if rest != "" {
			var err error
			if c, err = causeNamed(rest); err != nil {
				return err
			}
		}
		s.emit(mediaLost{c})
	case "audio":
		s.wo.heard(s)
	case "timer":
		t, ok := map[string]legTimer{"retry": retryTimer, "media": peerTimer, "accept": acceptTimer, "webhook": adoptTimer}[rest]
		if !ok {
			return fmt.Errorf("no such timer")
		}
		if s.scene == "user" {
			s.wi.timeout(t, s)
		} else {
			s.wo.timeout(t, s)
		}
	case "graph":
		return s.graphReply(arg(1), arg(2), arg(3))
	case "webhook":
		return s.webhook(rest)
	case "sip":
		return s.sip(words[1:])
	default:
		return fmt.Errorf("unknown input")
	}
	return nil
}

func causeNamed(word string) (Cause, error) {
	if word == "" {
		return NoCause, nil
	}
	for c := range numCauses {
		if c.String() == word {
			return c, nil
		}
	}
	return NoCause, fmt.Errorf("no cause is called %q", word)
}

func (s *theatre) graphReply(request, result, cause string) error {
	req, ok := requestWords[request]
	if !ok {
		return fmt.Errorf("no such request")
	}
	res, ok := map[string]graphResult{
		"ok": resultOK, "gone": resultGone, "refused": resultRefused, "hopeless": resultHopeless,
		"busy": resultTemporary, "lost": resultUnknown, "barred": resultBarred,
	}[result]
	if !ok {
		return fmt.Errorf("no such result")
	}
	c, err := causeNamed(cause)
	rep := graphReply{res, c}
	if s.scene == "user" {
		s.wi.reply(req, rep, s)
	} else {
		s.wo.reply(req, rep, s)
	}
	return err
}

func (s *theatre) webhook(rest string) error {
	word, cause, _ := strings.Cut(rest, " ")
	why, err := causeNamed(cause)
	switch word {
	case "terminate":
		if s.scene == "user" {
			s.wi.terminated(why, s)
		} else {
			s.wo.terminated(why, s)
		}
	case "RINGING":
		s.wo.ringing(s)
	case "answer":
		s.wo.named(s)
		s.wo.answered(s)
	case "ACCEPTED":
		s.wo.accepted(s)
	case "REJECTED":
		s.wo.rejected(s)
	default:
		return fmt.Errorf("no such webhook")
	}
	return err
}

// sip takes news of a session: "1 180" of an egress leg, "ACK" of the ingress.
func (s *theatre) sip(words []string) error {
	i := 0
	if s.scene == "user" {
		var err error
		if i, err = strconv.Atoi(words[0]); err != nil {
			return err
		}
		words = words[1:]
	}
	if s.over = words[len(words)-1] == "over"; s.over {
		words = words[:len(words)-1]
	}
	word := strings.Join(words, " ")
	status, _ := strconv.Atoi(word)
	if n, err := strconv.Atoi(words[0]); s.scene != "user" && err == nil && len(words) > 1 && n < len(s.rel) {
		i, word = n, strings.Join(words[1:], " ")
		status, _ = strconv.Atoi(word)
	}
	if s.rel[i].Leg != 0 {
		return hearPhone(&s.rel[i], word, causeOfSIP(status, 0), &s.out[i])
	}
	if s.guest[i].Leg != 0 {
		return hearCaller(&s.guest[i], word, &s.out[i])
	}
	switch s.scene {
	case "user":
		return hearPhone(&s.so[i], word, causeOfSIP(status, 0), &s.out[i])
	case "click":
		return hearPhone(&s.su, word, causeOfSIP(status, 0), &s.port)
	}
	return hearCaller(&s.si, word, &s.port)
}

func hearCaller(l *sipIngress, word string, p sipPort) error {
	switch word {
	case "CANCEL":
		l.cancelled(p)
	case "ACK":
		l.acked(p)
	case "no ACK":
		l.unacked(p)
	case "BYE", "BYE ok":
		l.hungup(p)
	default:
		return fmt.Errorf("no such message")
	}
	return nil
}

// hearPhone gives a phone that we dial the news of its session.
func hearPhone(l phoneTable, word string, c Cause, p sipPort) error {
	switch word {
	case "on disk":
		l.prepared(p)
	case "100":
		l.proceeding(p)
	case "180", "183":
		l.ringing(p)
	case "200":
		l.accepted(p)
	case "200 unusable":
		l.unusable()
		p.emit(stopped{NoCodec})
	case "BYE", "BYE ok":
		l.hungup(p)
	case "silent":
		l.refused(Unreachable, p)
	default:
		if _, err := strconv.Atoi(word); err != nil || c == NoCause {
			return fmt.Errorf("no such message")
		}
		l.refused(c, p)
	}
	return nil
}

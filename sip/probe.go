package sip

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

// probe asks every target by OPTIONS again and again until ctx ends, each at
// its trunk's interval with some jitter, so that a fleet does not ask at once.
func (s *Server) probe(ctx context.Context) {
	next := map[endpoint]time.Time{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.ctx.Done():
			return
		case <-s.newTrunk:
		case <-timer.C:
		}
		now := time.Now()
		wait := time.Minute
		for _, t := range s.allTrunks() {
			every := t.cfg.OptionsInterval
			if every <= 0 {
				continue
			}
			for _, to := range t.endpoints() {
				if due := next[to]; now.Before(due) {
					wait = min(wait, due.Sub(now))
					continue
				}
				jittered := every*9/10 + rand.N(every/5+1) //nolint:gosec // spread, not secrecy
				next[to] = now.Add(jittered)
				wait = min(wait, jittered)
				s.ask(t, to, now)
			}
		}
		timer.Reset(wait)
	}
}

// ask sends one OPTIONS. Whatever comes back but 503 says that somebody is
// there.
func (s *Server) ask(t *trunk, to endpoint, sent time.Time) {
	host, _ := s.localHost(to)
	target := "sip:" + to.addr.String()
	if to.proto == "tcp" {
		target += ";transport=tcp"
	}
	m := &message{method: "OPTIONS", uri: target}
	m.add("Max-Forwards", "70")
	m.add("From", "<sip:wagate@"+host+">;tag="+newTag())
	m.add("To", "<"+target+">")
	m.add("Call-ID", newID())
	m.add("CSeq", "1 OPTIONS")
	m.add("Contact", s.contactFor(to))
	m.add("Accept", contentSDP)
	m.add("User-Agent", userAgent)
	s.request(t, m, to, newBranch(), s.tm.probe, func(_ *clientTx, m *message, err error) bool {
		switch {
		case err == nil && m.status < 200:
			return true
		case err == nil && m.status != 503:
			s.metrics.probed(t.cfg.Name, time.Since(sent))
			t.probed(to, true, time.Time{})
		default:
			t.probed(to, false, time.Now().Add(s.tm.dead))
		}
		s.verdict(t)
		return true
	})
}

// verdict publishes whether the trunk is up, and logs a change once.
func (s *Server) verdict(t *trunk) {
	up := t.up()
	s.metrics.trunkUp(t.cfg.Name, up)
	switch was := t.said.Swap(btoi32(up) + 1); {
	case up && was == 1:
		s.log.Info("trunk up", slog.String("trunk", t.cfg.Name))
	case !up && was != 1:
		s.log.Warn("trunk down", slog.String("trunk", t.cfg.Name))
	}
}

func btoi32(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

package sip

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// probe asks every target by OPTIONS again and again until ctx ends, each at
// its trunk's interval with some jitter, so that a fleet does not ask at once.
func (s *Server) probe(ctx context.Context) {
	type target struct { // two trunks may share an address
		trunk string
		to    endpoint
	}
	next := map[target]time.Time{}
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
			targets := t.endpoints()
			if len(targets) == 0 { // none of its names can be resolved
				s.verdict(t)
			}
			for _, to := range targets {
				key := target{t.cfg.Name, to}
				if due := next[key]; now.Before(due) {
					wait = min(wait, due.Sub(now))
					continue
				}
				jittered := every*9/10 + rand.N(every/5+1) //nolint:gosec // spread, not secrecy
				next[key] = now.Add(jittered)
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
	if to.proto != "udp" {
		target += ";transport=" + to.proto
	}
	m := &message{method: "OPTIONS", uri: target}
	m.add("Max-Forwards", "70")
	m.add("From", "<sip:wagate@"+host+">;tag="+newTag())
	m.add("To", "<"+target+">")
	m.add("Call-ID", newID())
	m.add("CSeq", "1 OPTIONS")
	m.add("Contact", s.contactOf(target, to))
	m.add("Accept", contentSDP)
	m.add("User-Agent", userAgent)
	s.request(t, m, to, newBranch(), s.tm.probe, func(_ *clientTx, m *message, err error) bool {
		switch {
		case err == nil && m.status < 200:
			return true
		case err == nil && m.status != 503:
			s.metrics.probed(t.cfg.Name, time.Since(sent))
			s.heard(t.cfg.Name, to, nil, sent)
		case err == nil:
			s.heard(t.cfg.Name, to, errUnavailable, sent)
		default:
			s.heard(t.cfg.Name, to, err, sent)
		}
		return true
	})
}

// Watch has changed called whenever OPTIONS show that a trunk is up or down, and
// was not or was not known to be: the first result counts. It is called in the
// order of the changes, must not wait, and is to be set before Serve. Trunks that
// are not probed (options_interval 0) are never reported, nor are trunks that a
// reload takes away.
func (s *Server) Watch(changed func(trunk string, up bool)) { s.changed = changed }

// Why a target does not answer, where no transport or timer says it.
var (
	errUnavailable = errors.New("OPTIONS answered 503")
	errUnresolved  = errors.New("none of its names could be resolved")
)

// Trouble returns why a target, one of Targets, did not answer its last OPTIONS,
// nil if it did or was not asked. A *TLSError is in it where the certificates
// were the reason.
func (s *Server) Trouble(trunk, target string) error {
	if t := s.trunk(trunk); t != nil {
		return t.trouble(target)
	}
	return nil
}

// heard notes what an OPTIONS to a trunk's target found, nil that it answers.
// The trunk may have been replaced by a reload meanwhile.
func (s *Server) heard(name string, to endpoint, trouble error, sent time.Time) {
	t := s.trunk(name)
	if t == nil || t.cfg.OptionsInterval <= 0 {
		return
	}
	dead := time.Time{}
	if trouble != nil {
		dead = time.Now().Add(s.tm.dead)
	}
	t.probed(to, trouble, dead, sent)
	s.verdict(t)
}

// verdict publishes whether the trunk is up, and tells of a change once.
func (s *Server) verdict(t *trunk) {
	name := t.cfg.Name
	s.metrics.trunkUp(name, t.up())
	s.verdictMu.Lock()
	defer s.verdictMu.Unlock()
	up, known := t.verdict()
	if was, said := s.verdicts[name]; !known || (said && was == up) {
		return
	}
	s.verdicts[name] = up
	if up {
		s.log.Info("trunk up", slog.String("trunk", name))
	} else {
		why := t.trouble("")
		if why == nil {
			why = errUnresolved
		}
		s.log.Warn("trunk down", slog.String("trunk", name), slog.Any("error", why))
	}
	if s.changed != nil {
		s.changed(name, up)
	}
}

// forgetVerdicts of trunks that are gone: one of that name that comes back
// later is new.
func (s *Server) forgetVerdicts(trunks []*trunk) {
	s.verdictMu.Lock()
	defer s.verdictMu.Unlock()
	maps.DeleteFunc(s.verdicts, func(name string, _ bool) bool {
		return !slices.ContainsFunc(trunks, func(t *trunk) bool { return t.cfg.Name == name && t.cfg.OptionsInterval > 0 })
	})
}

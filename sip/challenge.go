package sip

import (
	"log/slog"
	"slices"
	"sync/atomic"
	"time"
)

const (
	maxCredentials = 4 // of one INVITE that are looked at
	defaultRealm   = "wagate"
)

// realm names our user base to phones: it does not change while the gateway's
// name does not.
func (s *Server) realm() string {
	if s.publicHost != "" {
		return s.publicHost
	}
	return defaultRealm
}

// authenticate lets an INVITE pass whose trunk has nothing to prove, or which
// brings the right credentials with a nonce that is still good. Everything else
// gets one and the same answer, a fresh challenge (RFC 3261 section 22), but
// that right credentials with a nonce that has had its time are told so. Of an
// INVITE that does not pass nothing is remembered but its trace, for a moment.
func (s *Server) authenticate(t *trunk, m *message, fl flow, now time.Time) *fault {
	want := t.cfg.Challenge
	if want.User == "" {
		return nil
	}
	label, stale := "unauthenticated", false // every call begins so
	for i, value := range m.all("authorization") {
		if i == maxCredentials {
			break
		}
		label = "credentials"
		c, ok := parseCredentials(value)
		if !ok {
			continue
		}
		count, right := c.prove(m.method, m.uri, want.User, s.realm(), want.Password.Reveal())
		right = right && slices.Contains(want.Algorithms, c.algorithm)
		if right && s.nonces.spend(c.nonce, t.cfg.Name, count, now) {
			return nil
		}
		stale = stale || right
	}
	if stale {
		label = "nonce"
	}
	if label == "credentials" && s.wrongPassword.due(now) {
		s.log.Warn("call with wrong credentials refused", slog.String("trunk", t.cfg.Name), slog.String("source", fl.remote.String()))
	}
	return s.challenge(t, label, stale, now)
}

// challenge asks for credentials, once for each algorithm (RFC 8760 section 2.4).
func (s *Server) challenge(t *trunk, label string, stale bool, now time.Time) *fault {
	common := `Digest realm=` + quote(s.realm()) + `, nonce="` + s.nonces.issue(t.cfg.Name, now) + `", qop="auth", algorithm=`
	tail := ""
	if stale {
		tail = ", stale=true"
	}
	var ask []field
	for _, algorithm := range t.cfg.Challenge.Algorithms {
		ask = append(ask, field{"WWW-Authenticate", common + algorithm + tail})
	}
	return &fault{401, label, "Unauthorized", append(ask, Reason{Q850: 21, Text: "credentials wanted", WAError: "not_allowed"}.fields()...)}
}

// seldom keeps what others can cause at will from filling the log.
type seldom struct{ last atomic.Int64 }

const logPause = 10 * time.Second

// due tells whether enough time has gone by since it last was.
func (q *seldom) due(now time.Time) bool {
	last := q.last.Load()
	return now.UnixNano()-last >= int64(logPause) && q.last.CompareAndSwap(last, now.UnixNano())
}

package sip

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"time"
)

// loopHeader marks every INVITE that we send. A PBX that routes a call back to
// us keeps it, and a proxy must; Max-Forwards alone would let such a call ring
// another customer first (RFC 7332 section 2).
const loopHeader = "X-WA-Loop"

const (
	markHead = 9  // bytes of chance: every call looks different
	markSize = 21 // with the seal
)

// loopMark makes the marks and knows its own. Its key lives as long as the
// process: a loop comes back within seconds.
type loopMark struct{ key [32]byte }

func newLoopMark() *loopMark {
	var l loopMark
	_, _ = rand.Read(l.key[:]) // never fails since Go 1.24
	return &l
}

func (l *loopMark) make() string {
	var raw [markSize]byte
	_, _ = rand.Read(raw[:markHead])
	copy(raw[markHead:], l.seal(raw[:markHead]))
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func (l *loopMark) seal(head []byte) []byte {
	h := hmac.New(sha256.New, l.key[:])
	h.Write(head)
	return h.Sum(nil)[:markSize-markHead]
}

// on tells whether a request carries one of our marks.
func (l *loopMark) on(m *message) bool {
	for _, value := range m.all("x-wa-loop") {
		raw, err := base64.RawURLEncoding.DecodeString(value)
		if err == nil && len(raw) == markSize && hmac.Equal(raw[markHead:], l.seal(raw[:markHead])) {
			return true
		}
	}
	return false
}

// looped refuses a call of ours that a trunk sends back.
func (s *Server) looped(t *trunk, now time.Time) *fault {
	if s.loopSeen.due(now) {
		s.log.Warn("trunk sends our own call back to us; correct its dial plan", slog.String("trunk", t.cfg.Name))
	}
	return &fault{482, "loop", "Loop Detected", Reason{Q850: 25, Text: "loop", WAError: "no_route"}.fields()}
}

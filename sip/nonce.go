package sip

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

const (
	nonceLife = time.Minute // long enough for the slowest phone, and for a few calls of a busy one
	maxNonces = 16384       // that were used and may be used again
	nonceSize = 8 + 9 + 16  // age, chance, seal
)

// nonces makes the nonces of our challenges and says which of them still hold.
// A nonce carries its age and a seal, so that a challenge costs no memory and
// nobody can fill ours by asking. Only what came back with the right password
// is remembered, for its count, and not longer than a nonce lives.
type nonces struct {
	key   [32]byte
	start time.Time

	mu    sync.Mutex
	used  map[string]usedNonce
	floor time.Duration // older ones are not taken any more
}

// usedNonce is a nonce that let an INVITE in.
type usedNonce struct {
	issued time.Duration
	count  uint32 // the highest nc
}

func newNonces(now time.Time) *nonces {
	n := &nonces{start: now, used: map[string]usedNonce{}, floor: -1}
	_, _ = rand.Read(n.key[:]) // never fails since Go 1.24
	return n
}

// issue makes a nonce for a trunk.
func (n *nonces) issue(trunk string, now time.Time) string {
	var raw [nonceSize]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.Sub(n.start).Milliseconds())) //nolint:gosec // since the start
	_, _ = rand.Read(raw[8:17])
	copy(raw[17:], n.seal(raw[:17], trunk))
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func (n *nonces) seal(head []byte, trunk string) []byte {
	h := hmac.New(sha256.New, n.key[:])
	h.Write(head)
	h.Write([]byte(trunk))
	return h.Sum(nil)[:nonceSize-17]
}

// spend takes one use of a nonce, whose count must be higher than at every use
// before (RFC 7616 section 3.4). It refuses what we did not issue to the trunk,
// or too long ago.
func (n *nonces) spend(nonce, trunk string, count uint32, now time.Time) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != nonceSize || !hmac.Equal(raw[17:], n.seal(raw[:17], trunk)) {
		return false
	}
	issued := time.Duration(binary.BigEndian.Uint64(raw[:8])) * time.Millisecond //nolint:gosec // sealed by us
	age := now.Sub(n.start) - issued
	n.mu.Lock()
	defer n.mu.Unlock()
	if age > nonceLife || issued <= n.floor || count <= n.used[nonce].count {
		return false
	}
	if len(n.used) >= maxNonces {
		n.sweepLocked(now)
	}
	if len(n.used) >= maxNonces { // forget them all, and with them all that was issued so far
		clear(n.used)
		n.floor = now.Sub(n.start)
		return false
	}
	n.used[nonce] = usedNonce{issued, count}
	return true
}

// sweep forgets the nonces that are too old to be taken.
func (n *nonces) sweep(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sweepLocked(now)
}

func (n *nonces) sweepLocked(now time.Time) {
	for nonce, u := range n.used {
		if now.Sub(n.start)-u.issued > nonceLife {
			delete(n.used, nonce)
		}
	}
}

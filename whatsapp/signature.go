package whatsapp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
)

const (
	signatureHeader = "X-Hub-Signature-256"
	signaturePrefix = "sha256="
)

// readSignature returns what the one signature header says: the prefix and 64
// lower-case hexadecimal digits. Anything else is not from Meta.
func readSignature(h http.Header) (sum [sha256.Size]byte, ok bool) {
	values := h.Values(signatureHeader)
	if len(values) != 1 {
		return sum, false
	}
	digits, ok := strings.CutPrefix(values[0], signaturePrefix)
	if !ok || len(digits) != hex.EncodedLen(len(sum)) || strings.ToLower(digits) != digits {
		return sum, false
	}
	_, err := hex.Decode(sum[:], []byte(digits))
	return sum, err == nil
}

// signed says whether any of the secrets made the signature of the raw body.
// Every secret is tried, so the time does not tell which one it was.
func signed(body []byte, sum [sha256.Size]byte, secrets [][]byte) bool {
	match := 0
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		match |= subtle.ConstantTimeCompare(mac.Sum(nil), sum[:])
	}
	return match == 1
}

// sameToken compares in a time that tells neither content nor length.
func sameToken(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1
}

package sip

import (
	"crypto/rand"
	"encoding/base32"
	"strconv"
	"strings"
)

// idBytes of chance are in every tag, branch and Call-ID: nobody guesses them.
const idBytes = 15

func newID() string {
	var b [idBytes]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

func newTag() string { return newID() }

func newBranch() string { return "z9hG4bK" + newID() }

// firstSeq is where our CSeq starts: anywhere low enough never to overflow.
func firstSeq() uint32 {
	var b [2]byte
	_, _ = rand.Read(b[:])
	return uint32(b[0])<<8 | uint32(b[1]) + 1
}

func utoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

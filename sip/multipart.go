package sip

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

// maxParts is how many parts of a body are looked at.
const maxParts = 8

// unpack puts the session description of a multipart/mixed body in the place of
// the body (RFC 5621): calls from the telephone network bring their signalling
// along. It returns false for a body that has none, or a part that must be
// understood and is not.
func (m *message) unpack() bool {
	kind, ps, err := mime.ParseMediaType(m.get("Content-Type"))
	if err != nil || kind != "multipart/mixed" || ps["boundary"] == "" {
		return false
	}
	parts := multipart.NewReader(bytes.NewReader(m.body), ps["boundary"])
	var sdp []byte
	for range maxParts {
		part, err := parts.NextRawPart()
		if err != nil {
			break
		}
		kind, _, _ := strings.Cut(part.Header.Get("Content-Type"), ";")
		disposition, handling, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		switch {
		case strings.EqualFold(strings.TrimSpace(kind), contentSDP) && sdp == nil && (disposition == "" || disposition == "session"):
			if sdp, err = io.ReadAll(part); err != nil {
				return false
			}
		case strings.EqualFold(handling["handling"], "required"):
			return false
		}
	}
	if len(sdp) == 0 {
		return false
	}
	m.body = sdp
	m.set("Content-Type", contentSDP)
	return true
}

// isMultipart tells whether a body has parts.
func (m *message) isMultipart() bool {
	kind := strings.TrimLeft(m.get("Content-Type"), " \t")
	return len(kind) > 10 && strings.EqualFold(kind[:10], "multipart/")
}

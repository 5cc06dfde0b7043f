package sip

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Key presses as the body of an INFO. No RFC describes them; PBXs agree on two
// forms: the bare key, and lines of "Signal=" and "Duration=".
const (
	contentKey   = "application/dtmf"
	contentRelay = "application/dtmf-relay"

	shortestKey = 40 * time.Millisecond
	usualKey    = 160 * time.Millisecond
	longestKey  = 5 * time.Second

	maxKeyBody = 256 // bytes
	maxKeys    = 64  // that wait for the answer to the one before
)

// keys are the keys of a telephone by their event code (RFC 4733 section 3.2).
const keys = "0123456789*#ABCD"

// key is a key press.
type key struct {
	name     byte // of keys
	duration time.Duration
}

// parseKey reads the body of an INFO. ok is false for what is no key.
func parseKey(kind string, body []byte) (k key, ok bool) {
	k.duration = usualKey
	if len(body) > maxKeyBody {
		return k, false
	}
	if kind == contentKey {
		k.name, ok = keyNamed(string(bytes.TrimSpace(body)))
		return k, ok
	}
	for line := range strings.Lines(string(body)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.TrimSpace(value)
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "signal":
			k.name, ok = keyNamed(value)
		case "duration":
			if ms, good := digits(value, 1<<30); good {
				k.duration = min(max(time.Duration(ms)*time.Millisecond, shortestKey), longestKey)
			}
		}
	}
	return k, ok
}

// keyNamed reads a key by its name, or by its code where that has two digits.
func keyNamed(s string) (byte, bool) {
	if len(s) == 2 {
		if code, ok := digits(s, len(keys)-1); ok && code >= 10 {
			return keys[code], true
		}
	}
	if len(s) != 1 {
		return 0, false
	}
	i := strings.IndexByte(keys, strings.ToUpper(s)[0])
	if i < 0 {
		return 0, false
	}
	return keys[i], true
}

// peerInfo takes key presses, and accepts an empty INFO, which asks whether we
// are there.
func (c *Session) peerInfo(in gotRequest) {
	kind, _, _ := strings.Cut(in.m.get("Content-Type"), ";")
	kind = strings.ToLower(strings.Trim(kind, " \t"))
	switch {
	case len(in.m.body) == 0 && (kind == "" || kind == contentKey || kind == contentRelay):
		in.tx.answer(200)
		return
	case kind != contentKey && kind != contentRelay:
		in.tx.answer(415, field{"Accept", contentRelay + ", " + contentKey})
		return
	}
	k, ok := parseKey(kind, in.m.body)
	if !ok {
		c.s.metrics.reject("content")
		in.tx.answer(400)
		return
	}
	in.tx.answer(200)
	if c.pressed != nil && (c.phase == phaseUp || c.phase == phaseUnacked) {
		c.pressed(k.name, k.duration)
	}
}

// Press sends a key press to the far end by INFO: one of 0-9, *, #, A-D. Each
// waits for the answer to the one before. It does nothing for a call that is not
// up, and for any other key.
func (c *Session) Press(name byte, duration time.Duration) {
	if strings.IndexByte(keys, name) >= 0 {
		c.do(doPress{key{name, min(max(duration, shortestKey), longestKey)}})
	}
}

func (c *Session) press(k key) {
	if c.phase != phaseUp || len(c.keys) >= maxKeys {
		return
	}
	c.keys = append(c.keys, k)
	if len(c.keys) == 1 {
		c.sendKey()
	}
}

func (c *Session) sendKey() {
	k := c.keys[0]
	c.ask(&ask{
		dialog: c.dialog, method: "INFO", fields: []field{{"Content-Type", contentRelay}},
		body: []byte("Signal=" + string(k.name) + "\r\nDuration=" + strconv.FormatInt(k.duration.Milliseconds(), 10) + "\r\n"),
		done: c.keySent,
	})
}

// keySent goes on with the next key. A far end that does not know the call, or
// says nothing, has lost it (RFC 3261 section 12.2.1.2).
func (c *Session) keySent(m *message, err error) {
	if c.phase != phaseUp {
		return
	}
	c.keys = c.keys[1:]
	switch {
	case err != nil && !errors.Is(err, ErrTransport), err == nil && (m.status == 408 || m.status == 481):
		c.expired()
	case len(c.keys) > 0:
		c.sendKey()
	}
}

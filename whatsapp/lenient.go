package whatsapp

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
)

// text is a string that Meta also writes as a number, or alone in a list. What
// is none of these is empty.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(b []byte) error {
	*t = ""
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '[' {
		var list []json.RawMessage
		if err := json.Unmarshal(b, &list); err != nil || len(list) == 0 {
			return err
		}
		b = bytes.TrimSpace(list[0])
	}
	switch {
	case len(b) == 0:
	case b[0] == '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*t = text(s)
	case b[0] == '-' || b[0] >= '0' && b[0] <= '9':
		*t = text(b)
	}
	return nil
}

// number is a whole number that Meta also writes as a string. What is neither
// is 0: a call must end also when its duration cannot be read.
type number int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *number) UnmarshalJSON(b []byte) error {
	*n = 0
	b = bytes.Trim(bytes.TrimSpace(b), `"`)
	if len(b) == 0 || string(b) == "null" {
		return nil
	}
	if whole, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		*n = number(whole)
		return nil
	}
	if f, err := strconv.ParseFloat(string(b), 64); err == nil && math.Abs(f) < 1<<53 {
		*n = number(f)
	}
	return nil
}

// millisFrom is the first number that cannot be Unix seconds of our time.
const millisFrom = 100_000_000_000

// time returns a Unix time; zero for none, or for one that cannot be.
func (n number) time() time.Time {
	switch {
	case n <= 0:
		return time.Time{}
	case n < millisFrom:
		return time.Unix(int64(n), 0).UTC()
	case n < millisFrom*1000:
		return time.UnixMilli(int64(n)).UTC()
	}
	return time.Time{}
}

// maxDepth is how deep a delivery may be nested.
const maxDepth = 32

var errDepth = errors.New("nested too deeply")

// checkDepth looks at the nesting before a parser follows it.
func checkDepth(b []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errDepth
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// truth is a boolean that Meta might also write as a string.
type truth bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *truth) UnmarshalJSON(b []byte) error {
	*f = truth(bytes.EqualFold(bytes.Trim(bytes.TrimSpace(b), `"`), []byte("true")))
	return nil
}

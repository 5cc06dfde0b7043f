package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// badValueError is a value that cannot be read, with what to write instead.
type badValueError struct{ what, hint string }

func (e *badValueError) Error() string { return e.what }

func badValue(hint, format string, args ...any) error {
	return &badValueError{what: fmt.Sprintf(format, args...), hint: hint}
}

func asBadValue(err error, bad **badValueError) bool { return errors.As(err, bad) }

// UnmarshalText reads "20000-29999".
func (r *PortRange) UnmarshalText(text []byte) error {
	first, last, found := strings.Cut(string(text), "-")
	a, errA := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	b, errB := strconv.ParseUint(strings.TrimSpace(last), 10, 16)
	if !found || errA != nil || errB != nil {
		return badValue("write it like 20000-29999", "%s is not a range of ports", quoted(string(text)))
	}
	*r = PortRange{First: uint16(a), Last: uint16(b)}
	return nil
}

// String is the range as it is written in the file.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.First, r.Last) }

// UnmarshalText reads auto or a number from 0 to 10.
func (c *Complexity) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*c = ComplexityAuto
		return nil
	}
	n, err := strconv.Atoi(string(text))
	if err != nil || n < 0 || n > 10 {
		return badValue("write auto or 0 to 10", "%s is not an Opus complexity", quoted(string(text)))
	}
	*c = Complexity(n)
	return nil
}

// UnmarshalText reads auto, on or off, or a boolean.
func (s *Switch) UnmarshalText(text []byte) error {
	switch string(text) {
	case "auto":
		*s = Auto
	case "on", "true":
		*s = On
	case "off", "false":
		*s = Off
	default:
		return badValue("write auto, on or off", "%s is not a switch", quoted(string(text)))
	}
	return nil
}

// UnmarshalText reads a duration or "meta".
func (w *Window) UnmarshalText(text []byte) error {
	if string(text) == "meta" {
		*w = 0
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return badValue(`write it like 72h, or "meta" for Meta's own expiry`, "%s is not a call window", quoted(string(text)))
	}
	*w = Window(d)
	return nil
}

package config

// Hours is a weekly schedule in a time zone; the zero value is always open.
type Hours struct{ text string }

// String returns the schedule as it was written.
func (h Hours) String() string { return h.text }

package config

import (
	"testing"
	"time"
)

func parseHours(t *testing.T, text string) Hours {
	t.Helper()
	var h Hours
	if err := h.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return h
}

func TestHours(t *testing.T) {
	tests := []struct {
		hours, at string
		open      bool
	}{
		{"", "2026-11-22T03:00:00Z", true},
		{"Mon-Fri 09:00-18:00 Europe/Lisbon", "2026-11-20T09:00:00Z", true},  // Friday, first minute
		{"Mon-Fri 09:00-18:00 Europe/Lisbon", "2026-11-20T17:59:59Z", true},  // last second
		{"Mon-Fri 09:00-18:00 Europe/Lisbon", "2026-11-20T18:00:00Z", false}, // the end is outside
		{"Mon-Fri 09:00-18:00 Europe/Lisbon", "2026-11-21T10:00:00Z", false}, // Saturday
		{"Mon-Fri 09:00-18:00 Europe/Lisbon", "2026-07-03T08:00:00Z", true},  // summer time: 09:00 there
		{"Mon-Fri 09:00-18:00 Europe/Lisbon", "2026-07-03T17:30:00Z", false},
		{"Mon-Fri 09:00-13:00,14:00-18:00 UTC", "2026-11-20T13:30:00Z", false},
		{"Mon-Fri 09:00-13:00 14:00-18:00 UTC", "2026-11-20T14:30:00Z", true},
		{"Mon-Fri 09:00-18:00; Sat,Sun 10:00-12:00 UTC", "2026-11-22T11:00:00Z", true},
		{"Fri-Mon 00:00-24:00 UTC", "2026-11-22T23:59:00Z", true},
		{"Fri-Mon 00:00-24:00 UTC", "2026-11-24T00:00:00Z", false},
		{"Fri 22:00-06:00 UTC", "2026-11-20T23:00:00Z", true},
		{"Fri 22:00-06:00 UTC", "2026-11-21T05:59:00Z", true}, // Friday's night reaches into Saturday
		{"Fri 22:00-06:00 UTC", "2026-11-20T05:00:00Z", false},
		{"Monday-friday 9:00-10:00 Asia/Kathmandu", "2026-11-20T03:20:00Z", true}, // +05:45
	}
	for _, tt := range tests {
		now, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := parseHours(t, tt.hours).Open(now); got != tt.open {
			t.Errorf("%q at %s: open %v, want %v", tt.hours, tt.at, got, tt.open)
		}
	}
}

func TestExceptClosesTheDayOfTheZone(t *testing.T) {
	m := Match{Hours: parseHours(t, "Mon-Sun 00:00-24:00 Asia/Tokyo"), Except: []string{"2026-12-25"}}
	for at, open := range map[string]bool{
		"2026-12-24T14:59:59Z": true,
		"2026-12-24T15:00:00Z": false, // midnight in Tokyo
		"2026-12-25T14:59:59Z": false,
		"2026-12-25T15:00:00Z": true,
	} {
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Open(now); got != open {
			t.Errorf("at %s: open %v, want %v", at, got, open)
		}
	}
}

func TestBadHours(t *testing.T) {
	for _, text := range []string{
		"Mon-Fri", "Mon-Fri 09:00-18:00", "09:00-18:00 UTC", "Mun 09:00-18:00 UTC", "Mon 25:00-26:00 UTC",
		"Mon 24:00-06:00 UTC", "Mon 09:00-09:00 UTC", "Mon 9-18 UTC", "Mon 09:00-18:00 Europe/Nowhere",
		"Mon 09:00-18:00 Local", "; UTC", "UTC", "Mon 09:00-18:00; UTC", "Mon +9:00-18:00 UTC",
	} {
		var h Hours
		if err := h.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken as hours", text)
		}
	}
}

func TestPatterns(t *testing.T) {
	tests := []struct {
		pattern, s string
		fits       bool
	}{
		{"", "anything", true},
		{"*", "", true},
		{"+34*", "+34600111222", true},
		{"+34*", "+351600111222", false},
		{"*99", "60099", true},
		{"*17*", "order-17-b", true},
		{"**", "x", true},
		{"600", "600", true},
		{"600", "6000", false},
	}
	for _, tt := range tests {
		if got := MatchPattern(tt.pattern, tt.s); got != tt.fits {
			t.Errorf("%q fits %q: %v, want %v", tt.pattern, tt.s, got, tt.fits)
		}
	}
}

func FuzzHours(f *testing.F) {
	f.Add("Mon-Fri 09:00-13:00,14:00-18:00; Sat 10:00-14:00 Europe/Lisbon")
	f.Add("Fri 22:00-06:00 UTC")
	now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	f.Fuzz(func(_ *testing.T, text string) {
		var h Hours
		if h.UnmarshalText([]byte(text)) == nil {
			h.Open(now)
		}
	})
}

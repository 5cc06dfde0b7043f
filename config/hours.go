package config

import (
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // opening hours must not depend on the host's files
)

// Hours is a weekly schedule in a time zone; the zero value is always open.
type Hours struct {
	text  string
	zone  *time.Location
	spans []span
}

// span is one opening on the days it starts, in minutes from midnight. An end
// that is not after its start is on the next day.
type span struct {
	days       [7]bool // by time.Weekday
	start, end int
}

const minutesPerDay = 24 * 60

const hoursHint = `write it like "Mon-Fri 09:00-13:00,14:00-18:00; Sat 10:00-14:00 Europe/Lisbon"`

// String returns the schedule as it was written.
func (h Hours) String() string { return h.text }

// UnmarshalText reads groups of days and times, separated by semicolons, and
// the zone at the end.
func (h *Hours) UnmarshalText(text []byte) error {
	words := strings.Fields(string(text))
	if len(words) == 0 {
		*h = Hours{}
		return nil
	}
	zoneName := words[len(words)-1]
	zone, err := time.LoadLocation(zoneName)
	if err != nil || zoneName == "Local" || strings.Contains(zoneName, ":") {
		return badValue(hoursHint, "%s is not a time zone", quoted(zoneName))
	}
	parsed := Hours{text: string(text), zone: zone}
	for group := range strings.SplitSeq(strings.Join(words[:len(words)-1], " "), ";") {
		spans, err := parseGroup(group)
		if err != nil {
			return err
		}
		parsed.spans = append(parsed.spans, spans...)
	}
	*h = parsed
	return nil
}

// parseGroup reads "Mon-Fri 09:00-13:00,14:00-18:00"; spaces may stand for the
// commas between times.
func parseGroup(group string) ([]span, error) {
	words := strings.Fields(group)
	if len(words) < 2 {
		return nil, badValue(hoursHint, "%s needs days and times", quoted(strings.TrimSpace(group)))
	}
	days, ok := parseDays(words[0])
	if !ok {
		return nil, badValue(hoursHint, "%s are not days of the week", quoted(words[0]))
	}
	var spans []span
	for text := range strings.SplitSeq(strings.Join(words[1:], ","), ",") {
		if text == "" {
			continue
		}
		from, to, found := strings.Cut(text, "-")
		start, okStart := parseClock(from)
		end, okEnd := parseClock(to)
		if !found || !okStart || !okEnd || start == minutesPerDay || start == end {
			return nil, badValue(hoursHint, "%s is not a time of day", quoted(text))
		}
		spans = append(spans, span{days: days, start: start, end: end})
	}
	return spans, nil
}

// parseDays reads "Mon-Fri", "Sat,Sun" and mixtures; a range may go over the
// week's end.
func parseDays(text string) (days [7]bool, ok bool) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, okFrom := parseDay(first)
		to, okTo := parseDay(last)
		if !okFrom || !okTo {
			return days, false
		}
		for day := from; ; day = (day + 1) % 7 {
			days[day] = true
			if day == to {
				break
			}
		}
	}
	return days, true
}

func parseDay(text string) (time.Weekday, bool) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if strings.EqualFold(text, day.String()[:3]) || strings.EqualFold(text, day.String()) {
			return day, true
		}
	}
	return 0, false
}

// parseClock reads 00:00 to 24:00 as minutes from midnight.
func parseClock(text string) (int, bool) {
	h, m, found := strings.Cut(text, ":")
	hour, errH := strconv.ParseUint(h, 10, 8)
	minute, errM := strconv.ParseUint(m, 10, 8)
	total := int(hour)*60 + int(minute)
	ok := found && errH == nil && errM == nil && len(m) == 2 && len(h) <= 2 && minute < 60 && total <= minutesPerDay
	return total, ok
}

// Open says whether now lies within the schedule. A time before midnight that
// reaches past it belongs to the day it started on.
func (h Hours) Open(now time.Time) bool {
	if h.zone == nil {
		return true
	}
	local := now.In(h.zone)
	minute := local.Hour()*60 + local.Minute()
	today := local.Weekday()
	yesterday := (today + 6) % 7
	return slices.ContainsFunc(h.spans, func(s span) bool {
		if s.start < s.end {
			return s.days[today] && s.start <= minute && minute < s.end
		}
		return s.days[today] && minute >= s.start || s.days[yesterday] && minute < s.end
	})
}

// Open says whether the route's hours allow a call now. On a date of Except,
// counted in the zone of Hours, the whole day is closed.
func (m Match) Open(now time.Time) bool {
	if m.Hours.zone != nil && slices.Contains(m.Except, now.In(m.Hours.zone).Format(time.DateOnly)) {
		return false
	}
	return m.Hours.Open(now)
}

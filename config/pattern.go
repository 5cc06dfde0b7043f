package config

import "strings"

// MatchPattern says whether s fits a pattern of a route: a text with * at its
// beginning, at its end or alone, which stands for anything. The empty
// pattern fits everything.
func MatchPattern(pattern, s string) bool {
	if pattern == "" || pattern == "*" {
		return true
	}
	rest, open := strings.CutPrefix(pattern, "*")
	middle, openEnd := strings.CutSuffix(rest, "*")
	switch {
	case open && openEnd:
		return strings.Contains(s, middle)
	case open:
		return strings.HasSuffix(s, middle)
	case openEnd:
		return strings.HasPrefix(s, middle)
	default:
		return s == middle
	}
}

// isPattern says whether the stars of a pattern are where they may be.
func isPattern(p string) bool {
	return !strings.Contains(strings.TrimSuffix(strings.TrimPrefix(p, "*"), "*"), "*")
}

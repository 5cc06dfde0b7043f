package main

import (
	"slices"
	"strings"
	"time"
)

// rung is one line of a ladder.
type rung struct {
	at   time.Time
	text string
}

const (
	ladderArm   = 34 // width of one side of a ladder
	ladderBlank = ladderArm + 4
)

// ladder prints what passed on both sides of the gateway, in the order of the
// times.
func (t terminal) ladder(rungs []rung) {
	slices.SortStableFunc(rungs, func(a, b rung) int { return a.at.Compare(b.at) })
	t.say("%9s  %-40s%s", "", "Meta                           gateway", "                      PBX")
	for _, line := range rungs {
		t.say("%7.0fms  %s", float64(line.at.Sub(rungs[0].at))/float64(time.Millisecond), line.text)
	}
}

// arrow draws a message on one side, to the right or to the left.
func arrow(text string, right bool) string {
	line := strings.Repeat("─", max(ladderArm-len([]rune(text))-3, 1))
	if right {
		return "─ " + text + " " + line + "▶"
	}
	return "◀─ " + text + " " + line
}

// pbxArrow is an arrow on the side of the PBX.
func pbxArrow(text string, right bool) string {
	return strings.Repeat(" ", ladderBlank) + arrow(text, right)
}

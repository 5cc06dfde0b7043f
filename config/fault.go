package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Path string // trunks[0].codecs[1]; empty: the file as a whole
	Line int    // 0: not known, or not from a file
	What string
	Hint string // what to do about it
}

// String is the fault on one line: path (line N): what; hint.
func (f Fault) String() string {
	var b strings.Builder
	switch {
	case f.Path != "" && f.Line > 0:
		fmt.Fprintf(&b, "%s (line %d): ", f.Path, f.Line)
	case f.Path != "":
		fmt.Fprintf(&b, "%s: ", f.Path)
	case f.Line > 0:
		fmt.Fprintf(&b, "line %d: ", f.Line)
	}
	b.WriteString(f.What)
	if f.Hint != "" {
		b.WriteString("; ")
		b.WriteString(f.Hint)
	}
	return b.String()
}

// Faults is everything that is wrong with a configuration, in the order of
// the file; what is missing comes last.
type Faults []Fault

// Error has one fault per line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// maxFaults bounds the work that a hopeless file makes.
const maxFaults = 500

// faultLog collects faults and knows on which line each path was written.
type faultLog struct {
	faults Faults
	lines  map[string]int
}

func (l *faultLog) add(path, hint, format string, args ...any) {
	l.addAt(path, l.line(path), hint, format, args...)
}

func (l *faultLog) addAt(path string, line int, hint, format string, args ...any) {
	if len(l.faults) == maxFaults {
		return
	}
	l.faults = append(l.faults, Fault{Path: path, Line: line, What: fmt.Sprintf(format, args...), Hint: hint})
}

// line is where path was written, or the nearest thing that contains it.
func (l *faultLog) line(path string) int {
	for {
		if n, ok := l.lines[path]; ok {
			return n
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return 0
		}
		path = path[:cut]
	}
}

// written says whether the file has a value at path.
func (l *faultLog) written(path string) bool {
	_, ok := l.lines[path]
	return ok
}

// faulty says whether path has a fault already, so that a check of what the
// value means does not repeat a complaint about how it is written.
func (l *faultLog) faulty(path string) bool {
	return slices.ContainsFunc(l.faults, func(f Fault) bool {
		rest, ok := strings.CutPrefix(f.Path, path)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// err is nil or everything found, in the order of the file.
func (l *faultLog) err() error {
	if len(l.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(l.faults, func(a, b Fault) int {
		// What has no line is missing from the file: it comes last.
		return cmp.Or(cmp.Compare(min(1, b.Line), min(1, a.Line)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Path, b.Path))
	})
	return l.faults
}

// quoted keeps a value from the file readable and short in a message.
func quoted(s string) string {
	const limit = 60
	if r := []rune(s); len(r) > limit {
		s = string(r[:limit]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

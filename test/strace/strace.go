// Package strace reads what strace(1) has seen of a program, and tells whether it
// wrote down what it was going to do before it did it.
//
// The program runs under
//
//	strace -f -yy -s 16384 -e trace=fsync,fdatasync,write,pwrite64,sendto -o FILE
//
// where every line is the begin of a system call, its end, or both.
package strace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Call is a system call of one thread.
type Call struct {
	Thread string
	Name   string
	On     string // what its file descriptor stands for: a path, or an address pair
	Data   string // what was written, in strace's escapes
	Began  int    // line
	Ended  int    // line; 0: it did not return
}

// longest is more than a line with the longest datum has.
const longest = 1 << 20

// Parse reads a trace. Lines about anything else, like signals, are left out.
func Parse(trace io.Reader) ([]Call, error) {
	var calls []Call
	open := map[string]int{} // index of the call in which a thread is
	lines := bufio.NewScanner(trace)
	lines.Buffer(nil, longest)
	for n := 1; lines.Scan(); n++ {
		thread, text, _ := strings.Cut(lines.Text(), " ")
		text = strings.TrimLeft(text, " ")
		if back, ok := strings.CutPrefix(text, "<... "); ok {
			name, _, _ := strings.Cut(back, " ")
			if i, ok := open[thread]; ok && calls[i].Name == name { // else it began before the trace did
				calls[i].Ended = n
				delete(open, thread)
			}
			continue
		}
		c, ok := parseBegin(text)
		if !ok {
			continue
		}
		c.Thread, c.Began, c.Ended = thread, n, n
		if strings.HasSuffix(text, "<unfinished ...>") {
			c.Ended = 0
			open[thread] = len(calls)
		}
		calls = append(calls, c)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read trace: %w", err)
	}
	if len(calls) == 0 {
		return nil, errors.New("read trace: it has no system call")
	}
	return calls, nil
}

// parseBegin reads name(7<place>, "data" and leaves the rest.
func parseBegin(text string) (c Call, ok bool) {
	name, rest, ok := strings.Cut(text, "(")
	if !ok {
		return Call{}, false
	}
	rest = strings.TrimLeft(rest, "0123456789")
	if !strings.HasPrefix(rest, "<") {
		return Call{}, false
	}
	end := -1 // of the place, in which > may be too
	for _, mark := range []string{">, ", ">)", "> <unfinished"} {
		if i := strings.Index(rest, mark); i >= 0 && (end < 0 || i < end) {
			end = i
		}
	}
	if end < 0 {
		return Call{}, false
	}
	c = Call{Name: name, On: rest[1:end]}
	quoted, isData := strings.CutPrefix(rest[end:], `>, "`)
	for i := 0; isData && i < len(quoted); i++ {
		switch quoted[i] {
		case '\\':
			i++
		case '"':
			c.Data, isData = quoted[:i], false
		}
	}
	return c, true
}

// Match says which calls are meant.
type Match func(c Call) bool

// Has matches what is written to a place whose name contains on, and contains
// each of the texts.
func Has(on string, texts ...string) Match {
	return func(c Call) bool {
		if !strings.Contains(c.On, on) || c.Name == "fsync" || c.Name == "fdatasync" {
			return false
		}
		for _, t := range texts {
			if !strings.Contains(c.Data, escaped(t)) {
				return false
			}
		}
		return true
	}
}

func escaped(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", `\r`, "\n", `\n`).Replace(text)
}

// First returns the first call that matches.
func First(calls []Call, m Match) (Call, bool) {
	for _, c := range calls {
		if m(c) {
			return c, true
		}
	}
	return Call{}, false
}

// Durable says whether a note was on disk before a deed: it was written to the
// file, and after that a sync of the file began and returned, all before the
// deed began. The error says what was missing.
func Durable(calls []Call, file string, note, deed Match) error {
	done, ok := First(calls, deed)
	if !ok {
		return errors.New("it was never done")
	}
	written := false
	for _, w := range calls {
		if !strings.Contains(w.On, file) || !note(w) || w.Ended == 0 || w.Ended >= done.Began {
			continue
		}
		written = true
		for _, s := range calls {
			sync := s.Name == "fsync" || s.Name == "fdatasync"
			if sync && strings.Contains(s.On, file) && s.Began > w.Ended && s.Ended > 0 && s.Ended < done.Began {
				return nil
			}
		}
	}
	if !written {
		return fmt.Errorf("it was done at line %d and not written to %s before", done.Began, file)
	}
	return fmt.Errorf("it was done at line %d and written to %s before, and no sync came between", done.Began, file)
}

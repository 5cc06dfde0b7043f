package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzLoad wants an answer in bounded time whatever the file is, and a
// configuration that is valid where there is one.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("a: &a [*a, *a]\nb: *a"))
	f.Add([]byte("<<: &x {<<: *x}\n"))
	f.Add([]byte("trunks: !!binary x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		start := time.Now()
		c, err := Parse(text, "testdata")
		if (c == nil) == (err == nil) {
			t.Fatalf("neither a configuration nor an error, or both: %v, %v", c, err)
		}
		if c != nil {
			if err := c.Validate(); err != nil {
				t.Fatalf("loaded but not valid: %v", err)
			}
		}
		if d := time.Since(start); d > time.Minute {
			t.Fatalf("%d bytes took %v", len(text), d)
		}
	})
}

func TestHostileFilesAreRefusedQuickly(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":   strings.Repeat("[", maxFile),
		"braces":     strings.Repeat("{a: ", 60000),
		"dashes":     strings.Repeat("- ", maxFile/2),
		"questions":  strings.Repeat("? ", maxFile/2),
		"tags":       "node: " + strings.Repeat("!!str ", 40000) + "x",
		"anchors":    "node: " + strings.Repeat("&a ", 80000) + "x",
		"colons":     strings.Repeat("a: ", 80000),
		"quotes":     "node: " + strings.Repeat(`"`, maxFile-10),
		"indent":     deepIndent(700),
		"bomb":       bomb(),
		"merge bomb": mergeBomb(),
		"loop":       "trunks: &a\n  - *a\n",
		"faults":     strings.Repeat("- x: 1\n", 30000),
		"routes":     "routes:\n" + strings.Repeat("- {}\n", 50000),
		"oversize":   strings.Repeat("#\n", maxFile),
		"nul":        "node: \x00\x00",
		"two files":  "node: a\n---\nnode: b\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if _, err := Parse([]byte(text), ""); err == nil {
				t.Error("taken as a configuration")
			} else if len(err.Error()) > 1<<20 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			if d := time.Since(start); d > time.Minute { // far from what a quadratic reader would take; the figure is the machine's
				t.Errorf("took %v", d)
			}
		})
	}
}

func deepIndent(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// bomb is the "billion laughs": lists of aliases of lists of aliases.
func bomb() string {
	var b strings.Builder
	b.WriteString("routes:\n- &a0 {name: x}\n")
	for _, level := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		prev := string(level[0] - 1)
		b.WriteString("- &a" + level + " {overflow: [" + strings.TrimSuffix(strings.Repeat("*a"+prev+", ", 10), ", ") + "]}\n")
	}
	return b.String()
}

func mergeBomb() string {
	var b strings.Builder
	b.WriteString("routes:\n- &a0 {name: x}\n")
	for _, level := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		prev := string(level[0] - 1)
		b.WriteString("- &a" + level + " {<<: [" + strings.TrimSuffix(strings.Repeat("*a"+prev+", ", 10), ", ") + "]}\n")
	}
	return b.String()
}

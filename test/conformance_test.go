package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestConformanceIsShown: every test that docs/conformance.md names exists, and
// every row of a standard says what shows it, what is open or why it is not done.
func TestConformanceIsShown(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/conformance.md")
	must(t, err)
	known := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, pattern := range []string{"../*/*_test.go", "../*/*/*_test.go"} {
		files, err := filepath.Glob(pattern)
		must(t, err)
		for _, file := range files {
			text, err := os.ReadFile(file)
			must(t, err)
			for _, m := range function.FindAllStringSubmatch(string(text), -1) {
				known[filepath.Base(filepath.Dir(file))+"."+m[1]] = true
			}
		}
	}
	name := regexp.MustCompile("`([a-z]+\\.(?:Test|Fuzz)\\w+)`")
	named := 0
	for line := range strings.Lines(string(doc)) {
		names := name.FindAllStringSubmatch(line, -1)
		for _, m := range names {
			if named++; !known[m[1]] {
				t.Errorf("there is no %s", m[1])
			}
		}
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		standard := regexp.MustCompile(`^\d{4}`).MatchString(cells[0])
		if standard && len(names) == 0 && !regexp.MustCompile(`(?i)\b(open|not done):`).MatchString(line) {
			t.Errorf("nothing shows %q", cells[0])
		}
	}
	if named < 100 {
		t.Errorf("only %d tests are named: the names are not found", named)
	}
}

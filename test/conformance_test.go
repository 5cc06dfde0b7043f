package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testsThatExist are all test functions, by package and name.
func testsThatExist(t *testing.T) map[string]bool {
	t.Helper()
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
	return known
}

// wantShown asserts that every test that a document names exists, and that every
// row of the kind that is asked about names one, or says what is open or why it
// is not done. It returns how many such rows there are.
func wantShown(t *testing.T, doc, row string, least int) (rows int) {
	t.Helper()
	text, err := os.ReadFile(doc)
	must(t, err)
	known := testsThatExist(t)
	name := regexp.MustCompile("`([a-z]+\\.(?:Test|Fuzz)\\w+)`")
	named := 0
	for line := range strings.Lines(string(text)) {
		names := name.FindAllStringSubmatch(line, -1)
		for _, m := range names {
			if named++; !known[m[1]] {
				t.Errorf("%s: there is no %s", doc, m[1])
			}
		}
		first, _, _ := strings.Cut(strings.Trim(line, "| \n"), " | ")
		if !regexp.MustCompile(row).MatchString(first) {
			continue
		}
		if rows++; len(names) == 0 && !regexp.MustCompile(`(?i)\b(open|not done):`).MatchString(line) {
			t.Errorf("%s: nothing shows %q", doc, first)
		}
	}
	if named < least {
		t.Errorf("%s: only %d tests are named: the names are not found", doc, named)
	}
	return rows
}

// TestConformanceIsShown: what the standards ask.
func TestConformanceIsShown(t *testing.T) {
	t.Parallel()
	wantShown(t, "../docs/conformance.md", `^\d{4}`, 100)
}

// TestReliabilityIsShown: what is promised, and what holds at each border.
func TestReliabilityIsShown(t *testing.T) {
	t.Parallel()
	if rows := wantShown(t, "../docs/reliability.md", `^R\d\d$`, 100); rows != 36 {
		t.Errorf("%d requirements, want R01 to R36", rows)
	}
	wantShown(t, "../SECURITY.md", `^(webhook|Graph|SIP|dial plan|RTP|WhatsApp|admin|store|host|supply)`, 30)
}

package peers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The addresses that the guides in docs/pbx write.
const (
	guidePBX     = "192.0.2.10"
	guideGateway = "192.0.2.20"
	guideProxy   = "192.0.2.40"
)

// Files are configuration files by name.
type Files map[string]string

// Replace changes a text in a file, which must be there.
func (f Files) Replace(tb testing.TB, name, old, now string) {
	tb.Helper()
	if !strings.Contains(f[name], old) {
		tb.Fatalf("%s has no %q", name, old)
	}
	f[name] = strings.ReplaceAll(f[name], old, now)
}

// block is a code block of a guide: a file, or a part of one. Its labels say
// what it is for; without one it is always meant.
type block struct {
	file, text string
	labels     []string
}

// readGuide returns the configuration that a guide in docs/pbx tells its reader
// to write, so that the tests run what it says.
func readGuide(tb testing.TB, name string) []block {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(root(tb), "docs", "pbx", name))
	if err != nil {
		tb.Fatal(err)
	}
	var blocks []block
	open := false
	for line := range strings.Lines(string(text)) {
		info, fence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch f := strings.Fields(info); {
		case fence && open:
			open = false
		case fence && len(f) > 1:
			blocks = append(blocks, block{file: f[1], labels: f[2:]})
			open = true
		case open:
			blocks[len(blocks)-1].text += line
		}
	}
	if len(blocks) == 0 {
		tb.Fatalf("%s has no configuration", name)
	}
	return blocks
}

// files joins the blocks that have one of the labels, "" for those without.
func files(tb testing.TB, blocks []block, labels ...string) Files {
	tb.Helper()
	out := Files{}
	for _, l := range labels {
		found := false
		for _, b := range blocks {
			if slices.Contains(b.labels, l) || l == "" && len(b.labels) == 0 {
				out[b.file] += b.text + "\n"
				found = true
			}
		}
		if !found {
			tb.Fatalf("the guide has no block %q", l)
		}
	}
	return out
}

// root is the folder of the module.
func root(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			tb.Fatal("no go.mod above this folder")
		}
		dir = up
	}
}

// needPBX returns the path of a program that test/tools/pbx.sh has unpacked.
func needPBX(tb testing.TB, program string) string {
	tb.Helper()
	path := filepath.Join(root(tb), ".cache", "pbx", "bin", program)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("find %s: %v: run make setup", program, err)
	}
	return path
}

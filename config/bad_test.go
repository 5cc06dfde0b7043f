package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite testdata/bad-*.txt from what the files give")

// TestBadFiles compares everything that is wrong with each bad file, word for
// word, with the text beside it.
func TestBadFiles(t *testing.T) {
	setSecrets(t)
	files, err := filepath.Glob("testdata/bad-*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	abs, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			c, err := Load(name)
			var faults Faults
			if c != nil || !errors.As(err, &faults) {
				t.Fatalf("loaded, or not told why not: %v", err)
			}
			got := strings.ReplaceAll(faults.Error(), abs, "DIR") + "\n"
			golden := strings.TrimSuffix(name, ".yml") + ".txt"
			if *update {
				write(t, golden, got, 0o644)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			for _, f := range faults {
				if f.Hint == "" {
					t.Errorf("no hint: %s", f)
				}
			}
		})
	}
}

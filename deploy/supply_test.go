package deploy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floor is the oldest version of a module without a fault that is known.
type floor struct{ module, least string }

func floors(t *testing.T) (all []floor) {
	t.Helper()
	text, err := os.ReadFile("floors.txt")
	must(t, err)
	fault := regexp.MustCompile(`^GO-\d{4}-\d{4}$`)
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if len(f) < 3 || slices.ContainsFunc(f[2:], func(s string) bool { return !fault.MatchString(s) }) {
			t.Fatalf("floors.txt: %q", line)
		}
		all = append(all, floor{f[0], f[1]})
	}
	return all
}

// older compares versions like 1.26.6; what follows a dash is not looked at.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	return slices.Compare(x, y) < 0
}

func numbers(version string) (ns []int) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	for part := range strings.SplitSeq(version, ".") {
		n, _ := strconv.Atoi(part)
		ns = append(ns, n)
	}
	return ns
}

// TestVersionFloors: what go.mod asks for, and the Go that runs this, have none
// of the faults that floors.txt knows. It needs no network.
func TestVersionFloors(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", "../go.mod").Output()
	must(t, err)
	var mod struct {
		Go      string
		Require []struct{ Path, Version string }
	}
	must(t, json.NewDecoder(bytes.NewReader(out)).Decode(&mod))
	has := map[string]string{"go": mod.Go}
	for _, r := range mod.Require {
		has[r.Path] = r.Version
	}
	for _, f := range floors(t) {
		version, used := has[f.module]
		switch {
		case f.least == "none" && used:
			t.Errorf("%s may not be used", f.module)
		case f.least != "none" && !used:
			t.Errorf("%s is not used any more: take it out of floors.txt", f.module)
		case used && older(version, f.least):
			t.Errorf("%s is %s, and has known faults below %s", f.module, version, f.least)
		}
		if running := strings.TrimPrefix(runtime.Version(), "go"); f.module == "go" && older(running, f.least) {
			t.Errorf("this is Go %s, and has known faults below %s", running, f.least)
		}
	}
	for _, row := range []struct {
		a, b string
		want bool
	}{{"v3.1.8", "3.1.4", false}, {"v3.0.11", "3.1.4", true}, {"1.26.10", "1.26.6", false}, {"v0.1.38", "0.1.39", true}, {"v4.0.0-rc.1", "4.0.0", false}} {
		if older(row.a, row.b) != row.want {
			t.Errorf("%s older than %s: want %v", row.a, row.b, row.want)
		}
	}
}

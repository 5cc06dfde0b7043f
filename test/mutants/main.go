// Command mutants breaks one rule of the call machine or of its legs at a time
// and shows that the exhaustive model notices. It ends with 1 if a mistake goes
// unnoticed that should not.
//
// The files under test are pure, so they are copied out of the package and
// built alone.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// modelLimit ends a run whose mistake made the walk endless.
const modelLimit = 5 * time.Minute

// files are all that the model is made of.
var files = []string{
	"phase.go", "event.go", "plan.go", "cause.go", "machine.go", "leg.go", "leg_graph.go", "leg_sip.go", "handover.go",
	"model_test.go", "model_runner_test.go", "model_actions_test.go", "model_quiet_test.go", "model_explore_test.go",
	"model_world_test.go", "model_cloud_test.go", "model_moves_test.go", "race_on_test.go", "race_off_test.go",
}

func main() {
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// verdict is what the model said about one mutant.
type verdict struct {
	violation string // "" if it found nothing
	err       error
}

func run(ctx context.Context, out io.Writer) error {
	source, err := readSource()
	if err != nil {
		return err
	}
	verdicts := make([]verdict, len(mutants))
	var wg sync.WaitGroup
	two := make(chan struct{}, 2) // the walk needs a core and a good part of the memory each
	for i, m := range mutants {
		wg.Go(func() {
			two <- struct{}{}
			defer func() { <-two }()
			verdicts[i] = try(ctx, source, m)
		})
	}
	wg.Wait()

	noticed, faults := 0, 0
	var table strings.Builder
	for i, m := range mutants {
		v := verdicts[i]
		said := v.violation
		switch {
		case v.err != nil:
			said = "FAULT: " + v.err.Error()
			faults++
		case said == "" && m.harmless != "":
			said = "not noticed, as expected: " + m.harmless
		case said == "":
			said = "NOT NOTICED"
			faults++
		case m.harmless != "":
			said = "NOTICED, though expected to be harmless: " + said
			faults++
		default:
			noticed++
		}
		fmt.Fprintf(&table, "%-66s %s\n", m.name, said)
	}
	fmt.Fprintf(&table, "%d of %d mutants noticed\n", noticed, len(mutants))
	if _, err := io.WriteString(out, table.String()); err != nil {
		return err
	}
	if faults > 0 {
		return fmt.Errorf("%d mutants need a look", faults)
	}
	return nil
}

// readSource reads the files of the model, from the root of the repository or
// from anywhere below.
func readSource() (map[string]string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for !exists(filepath.Join(dir, "go.mod")) {
		up := filepath.Dir(dir)
		if up == dir {
			return nil, fmt.Errorf("no go.mod above the working directory; run it inside the repository")
		}
		dir = up
	}
	source := map[string]string{"go.mod": "module model\n\ngo 1.26\n"}
	for _, f := range files {
		text, err := os.ReadFile(filepath.Join(dir, "gateway", f))
		if err != nil {
			return nil, err
		}
		source[f] = string(text)
	}
	return source, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// try makes the mistake in a copy and runs the model there: the small worlds
// first, all of them if those saw nothing.
func try(ctx context.Context, source map[string]string, m mutant) (v verdict) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return verdict{err: err}
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil && v.err == nil {
			v.err = err
		}
	}()
	for f, text := range source {
		if f == m.file {
			for _, e := range m.edits {
				if !strings.Contains(text, e.old) {
					return verdict{err: fmt.Errorf("%s has no %q", f, e.old)}
				}
				text = strings.ReplaceAll(text, e.old, e.new)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o600); err != nil {
			return verdict{err: err}
		}
	}
	v = model(ctx, dir, "-short")
	if v.violation == "" && v.err == nil {
		v = model(ctx, dir, "-v")
	}
	return v
}

var violation = regexp.MustCompile(`VIOLATION: (.*)`)

func model(ctx context.Context, dir, flag string) verdict {
	ctx, cancel := context.WithTimeout(ctx, modelLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-count=1", "-run", "^TestModel$", flag, ".")
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(os.Environ()), "GOFLAGS=", "GOWORK=off")
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	if found := violation.FindSubmatch(text.Bytes()); found != nil {
		return verdict{violation: string(found[1])}
	}
	if err != nil {
		return verdict{err: fmt.Errorf("the model did not run: %w\n%s", err, text.Bytes())}
	}
	return verdict{}
}

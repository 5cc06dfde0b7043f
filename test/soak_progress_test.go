//go:build soak

package test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// soakLimit is how long one step of a long run may take. The next `make soak`
// goes on where it ended; `make clean` forgets.
const soakLimit = 9 * time.Minute

// progress is how far a long run has come, over several steps.
type progress struct {
	file string

	Runs         int     `json:"runs"`
	Calls        int     `json:"calls"`
	WorstS       float64 `json:"worst_s"`
	WorstDialogS float64 `json:"worst_dialog_s"`
}

// goOn reads how far the long run of that name has come.
func goOn(t *testing.T, name string) *progress {
	t.Helper()
	p := &progress{file: filepath.Join("..", ".cache", "soak", name+".json")}
	must(t, os.MkdirAll(filepath.Dir(p.file), 0o750))
	text, err := os.ReadFile(p.file)
	if os.IsNotExist(err) {
		return p
	}
	must(t, err)
	must(t, json.Unmarshal(text, p))
	return p
}

func (p *progress) save(t *testing.T) {
	t.Helper()
	text, err := json.Marshal(p)
	must(t, err)
	must(t, os.WriteFile(p.file, append(text, '\n'), 0o600))
}

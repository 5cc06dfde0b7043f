package main

import (
	"cmp"
	"encoding/json"
	"runtime"
	"strings"

	"wagate/gateway"
)

type versionCmd struct {
	JSON bool `help:"Print JSON."`
}

type versions struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	Opus    string `json:"libopus"`
}

// Run shows what is running.
func (c *versionCmd) Run(term terminal) error {
	v := versions{
		Version: gateway.Version(),
		Commit:  cmp.Or(gateway.Commit(), "unknown"),
		Go:      runtime.Version(),
		Opus:    strings.TrimPrefix(gateway.OpusVersion(), "libopus "),
	}
	if c.JSON {
		return writeJSON(term.out, v)
	}
	term.say("wagate   %s\ncommit   %s\ngo       %s\nlibopus  %s", v.Version, v.Commit, v.Go, v.Opus)
	return nil
}

func writeJSON(w interface{ Write([]byte) (int, error) }, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

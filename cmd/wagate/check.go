package main

import (
	"context"
	"errors"
	"fmt"

	"wagate/config"
	"wagate/gateway"
)

type checkCmd struct {
	Config string `short:"c" default:"wagate.yaml" env:"WAGATE_CONFIG" placeholder:"FILE" help:"Configuration file (${default})."`
	Live   bool   `help:"Also prove the way: names, TLS, the Graph API with each number's token, each trunk by OPTIONS, ports, clock."`
	JSON   bool   `help:"Print JSON."`
}

// checkResult is what --json prints.
type checkResult struct {
	Faults []checkFault      `json:"faults"`
	Live   []gateway.Finding `json:"live"`
}

type checkFault struct {
	Path string `json:"path"`
	Line int    `json:"line"`
	What string `json:"what"`
	Hint string `json:"hint"`
}

// Run checks the file, and with --live what it names.
func (c *checkCmd) Run(ctx context.Context, term terminal) error {
	cfg, err := load(c.Config)
	if err != nil && c.JSON {
		result := checkResult{Faults: faultsOf(err), Live: []gateway.Finding{}}
		return errors.Join(usageError{errSaid}, writeJSON(term.out, result))
	} else if err != nil {
		return badConfig(c.Config, err)
	}
	result := checkResult{Faults: []checkFault{}, Live: []gateway.Finding{}}
	if !c.JSON {
		term.say("%s is good: %s, %s, %s", c.Config, count(len(cfg.WhatsApp.Numbers), "number"),
			count(len(cfg.Trunks), "trunk"), count(len(cfg.Routes), "route"))
	}
	bad := 0
	if c.Live {
		gateway.CheckLive(ctx, cfg, func(f gateway.Finding) {
			result.Live = append(result.Live, f)
			if f.Verdict == gateway.VerdictFailed {
				bad++
			}
			if !c.JSON {
				printFinding(term, f)
			}
		})
	}
	if c.JSON {
		if err := writeJSON(term.out, result); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case bad > 0 && !c.JSON:
		return fmt.Errorf("%s failed", count(bad, "check"))
	case bad > 0:
		return errSaid
	}
	return nil
}

func printFinding(term terminal, f gateway.Finding) {
	line := fmt.Sprintf("%-7s  %s: %s", f.Verdict, clean(f.What), clean(f.Detail))
	if f.Hint != "" {
		line += "; " + clean(f.Hint)
	}
	term.say("%s", line)
}

// faultsOf takes a loading error apart. A file that cannot be read at all is
// one fault.
func faultsOf(err error) []checkFault {
	var faults config.Faults
	if !errors.As(err, &faults) {
		return []checkFault{{What: err.Error()}}
	}
	out := make([]checkFault, len(faults))
	for i, f := range faults {
		out[i] = checkFault(f)
	}
	return out
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

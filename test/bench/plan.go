package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// plan is what to measure.
type plan struct {
	parts                  string
	calls, against, passed string
	complexities           string
	rounds                 int
	offered, limit         int
}

func (p *plan) flags() {
	flag.StringVar(&p.parts, "run", "calls,overload,passthrough,rtpengine", "the parts: "+strings.Join(partNames(), ", "))
	flag.StringVar(&p.calls, "calls", "1,25,50,100,150,200", "calls at once that are transcoded")
	flag.StringVar(&p.passed, "passed", "500,1000,1500", "calls at once that are passed through")
	flag.StringVar(&p.against, "against", "25", "calls at once of the comparison with rtpengine")
	flag.StringVar(&p.complexities, "complexity", "1,5,10", "Opus complexities of the comparison")
	flag.IntVar(&p.offered, "offered", 300, "calls offered before the measurement of the overload")
	flag.IntVar(&p.limit, "limit", 75, "limits.cpu of the overload")
	flag.IntVar(&p.rounds, "rounds", 2, "how often everything is compared")
}

// part is one table.
type part struct {
	name string
	run  func(p *plan, ctx context.Context, b *bench) error
}

func parts() []part {
	return []part{
		{"calls", (*plan).transcoded},
		{"overload", (*plan).overloaded},
		{"passthrough", (*plan).passedThrough},
		{"rtpengine", (*plan).compared},
	}
}

func partNames() (list []string) {
	for _, p := range parts() {
		list = append(list, p.name)
	}
	return list
}

func (p *plan) run(ctx context.Context, b *bench) error {
	for name := range strings.SplitSeq(p.parts, ",") {
		i := slices.IndexFunc(parts(), func(p part) bool { return p.name == name })
		if i < 0 {
			return fmt.Errorf("there is no part %q, only %s", name, strings.Join(partNames(), ", "))
		}
		if err := parts()[i].run(p, ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// transcoded is the whole gateway with its defaults.
func (p *plan) transcoded(ctx context.Context, b *bench) error {
	return p.alone(ctx, b, "whole gateway, Opus <-> PCMA, settings as they are by default", pcmaCodec, p.calls)
}

// passedThrough is the whole gateway where both sides have one codec.
func (p *plan) passedThrough(ctx context.Context, b *bench) error {
	return p.alone(ctx, b, "whole gateway, Opus <-> Opus, passed through", opusCodec, p.passed)
}

func (p *plan) alone(ctx context.Context, b *bench, title string, phone codec, numbers string) error {
	list, err := listOf(numbers)
	if err != nil {
		return err
	}
	t := b.newTable(title)
	for _, n := range list {
		r, err := b.once(ctx, b.wagate(n, phone, ""), phone, n)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // the machine is too slow for so many
			b.say("%d calls: %v", n, err)
			return nil
		}
		t.row(r)
	}
	return nil
}

// compared is the gateway and both rtpengines in turn, doing the same: beside 26
// with the system's Opus library, and with the newer one that 26 has.
func (p *plan) compared(ctx context.Context, b *bench) error {
	for _, version := range []string{"26", "10.5"} {
		if _, err := os.Stat(b.rtpengineProgram(version)); err != nil {
			b.say("\nno comparison with rtpengine: %v; test/tools/rtpengine.sh fetches it", err)
			return nil
		}
	}
	numbers, err := listOf(p.against)
	if err != nil {
		return err
	}
	complexities, err := listOf(p.complexities)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		t := b.newTable(fmt.Sprintf("%d calls, Opus <-> PCMA, beside rtpengine; cx is the Opus complexity", n))
		for range p.rounds {
			for _, cx := range complexities {
				opus := fmt.Sprintf("complexity: %d, fec: off", cx)
				ours, level := b.wagate(n, pcmaCodec, opus), b.wagate(n, pcmaCodec, opus)
				ours.label = fmt.Sprintf("wagate cx %d", cx)
				level.label, level.libraries = ours.label+" its opus", filepath.Join(b.rtpengines, "opus")
				theirs := b.rtpengine("26", cx)
				theirs.lite = true
				if err := t.beside(ctx, b, n, theirs, ours, level); err != nil {
					return err
				}
			}
			ours := b.wagate(n, pcmaCodec, "")
			ours.label = "wagate default"
			theirs := b.rtpengine("10.5", 0)
			if err := t.beside(ctx, b, n, theirs, ours); err != nil {
				return err
			}
		}
		t.ratios()
	}
	return nil
}

// beside measures rtpengine between forms of ours.
func (t *table) beside(ctx context.Context, b *bench, n int, theirs subject, ours ...subject) error {
	for _, s := range slices.Insert(slices.Clone(ours), 1, theirs) {
		r, err := b.once(ctx, s, pcmaCodec, n)
		if err != nil {
			return err
		}
		t.row(r)
	}
	for _, s := range ours {
		t.pairs = append(t.pairs, [2]string{s.name(), theirs.name()})
	}
	return nil
}

func (b *bench) wagate(n int, phone codec, opus string) *wagate {
	return &wagate{label: "wagate", program: b.program, core: b.core, opus: opus, phone: phone, capacity: n + 10}
}

func (b *bench) rtpengineProgram(version string) string {
	return filepath.Join(b.rtpengines, "bin", "rtpengine-"+version)
}

// rtpengine is one of its versions; 10.5 has libavcodec encode, at its
// complexity: the highest.
func (b *bench) rtpengine(version string, complexity int) *rtpengine {
	label := "rtpengine " + version
	if complexity > 0 {
		label += fmt.Sprintf(" cx %d", complexity)
	}
	return &rtpengine{label: label, program: b.rtpengineProgram(version), core: b.core, complexity: complexity}
}

func listOf(s string) ([]int, error) {
	var list []int
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no list of numbers from 1", s)
		}
		list = append(list, n)
	}
	return list, nil
}

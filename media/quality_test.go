package media

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wagate/test/impair"
)

func TestEstimatedQuality(t *testing.T) {
	clean := estimateMOS(PCMA, receptionQuality{})
	if clean < 4.2 || clean > 4.5 {
		t.Errorf("clean A-law is %.2f", clean)
	}
	last := clean
	for _, loss := range []float64{0.01, 0.05, 0.1, 0.3, 1} {
		got := estimateMOS(PCMA, receptionQuality{lost: loss})
		if got >= last || got < 1 {
			t.Errorf("loss %v gives %.2f after %.2f", loss, got, last)
		}
		last = got
	}
	plain := estimateMOS(Opus, receptionQuality{})
	for what, q := range map[string]receptionQuality{
		"delay":            {delay: pbxDelayMax},
		"what is repaired": {repaired: 0.1},
	} {
		if got := estimateMOS(Opus, q); got >= plain {
			t.Errorf("%s costs nothing", what)
		}
	}
	if even, rows := estimateMOS(Opus, receptionQuality{lost: 0.05, burst: 1}), estimateMOS(Opus, receptionQuality{lost: 0.05, burst: 4}); rows >= even {
		t.Errorf("loss in bursts is %.2f, at random %.2f", rows, even)
	}
}

// speech is a syllable, twice in a second, without end.
type speech struct {
	syllable []int16
	at       int
}

func newSpeech() *speech {
	s := &speech{syllable: make([]int16, narrowRate/2)}
	voice(s.syllable, 0)
	return s
}

// Read fills pcm.
func (s *speech) Read(pcm []int16) {
	for i := range pcm {
		pcm[i] = s.syllable[s.at%len(s.syllable)]
		s.at++
	}
}

// TestEstimateAgreesWithTheTable: for each row of measured quality, the estimate
// of a stream that lost so much is within 0.3 of it, and of what a script that
// knows only the table and the packets' fates makes of them.
func TestEstimateAgreesWithTheTable(t *testing.T) {
	if raceDetector {
		t.Skip("plays eight minutes of speech; run without the race detector too")
	}
	const within = 0.3
	const asInTheTable = 7 // a seed that loses what it should in so short a time
	table := filepath.Join("testdata", "mos.csv")
	raw, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(raw)) {
		var loss, burst, measured float64
		var redundant int
		if _, err := fmt.Sscanf(line, "%g,%g,%d,%g", &loss, &burst, &redundant, &measured); err != nil {
			continue
		}
		rows++
		var got *roughResult
		synctest.Test(t, func(t *testing.T) {
			c := rough{
				from: Opus, to: PCMA, plain: redundant == 0, sound: newSpeech(), seed: asInTheTable,
				net: impair.Network{Loss: loss / 100, Burst: burst}, rough: 40 * time.Second,
			}
			got = c.play(t)
		})
		script := scriptedMOS(t, table, redundant, got)
		if math.Abs(got.stats.MOS-measured) > within || math.Abs(got.stats.MOS-script) > within {
			t.Errorf("%s: estimated %.2f, measured %.2f, by the script %.2f", strings.TrimSpace(line), got.stats.MOS, measured, script)
		}
		t.Logf("%g %% in bursts of %g, redundancy %d: estimated %.2f, measured %.2f, by the script %.2f", loss, burst, redundant, got.stats.MOS, measured, script)
	}
	if rows < 12 {
		t.Errorf("%d rows in the table", rows)
	}
}

// scriptedMOS gives the fates of the packets to the script.
func scriptedMOS(t *testing.T, table string, redundant int, got *roughResult) float64 {
	t.Helper()
	var trace strings.Builder
	fmt.Fprintf(&trace, "redundancy %d\n", redundant)
	for _, f := range got.fates {
		if f.Copies == 0 {
			trace.WriteString("lost\n")
		} else {
			trace.WriteString("here\n")
		}
	}
	path := filepath.Join(t.TempDir(), "trace")
	if err := os.WriteFile(path, []byte(trace.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "awk", "-f", filepath.Join("..", "test", "tools", "mos.awk"), table, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mos, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		t.Fatal(err)
	}
	return mos
}

package test

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/test/rig"
)

var update = flag.Bool("update", false, "rewrite what the documentation says of the metrics")

const metricsDoc = "../docs/metrics.md"

// TestMetricsAreDocumented holds docs/metrics.md to what a gateway registers:
// a renamed metric, label or help text is seen in review.
func TestMetricsAreDocumented(t *testing.T) {
	r, _ := rigged(t, rig.Options{})
	doc, err := os.ReadFile(metricsDoc)
	must(t, err)
	head, _, found := strings.Cut(string(doc), "| metric |")
	if !found {
		t.Fatalf("%s has no table", metricsDoc)
	}
	want := head + table(r.Registry)
	if *update {
		must(t, os.WriteFile(metricsDoc, []byte(want), 0o644))
		return
	}
	if string(doc) != want {
		t.Errorf("%s does not say what the gateway registers; run go test ./test -run TestMetricsAreDocumented -update and read the change", metricsDoc)
	}
}

var descText = regexp.MustCompile(`^Desc\{fqName: "([^"]*)", help: "(.*?)", unit: .*variableLabels: \{([^}]*)\}\}$`)

// table lists everything registered, by name.
func table(reg *prometheus.Registry) string {
	descs := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(descs)
		close(descs)
	}()
	var rows []string
	for d := range descs {
		if m := descText.FindStringSubmatch(d.String()); m != nil {
			labels := strings.ReplaceAll(m[3], ",", ", ")
			rows = append(rows, "| `"+m[1]+"` | "+labels+" | "+m[2]+" |")
		}
	}
	slices.Sort(rows)
	return "| metric | labels | meaning |\n| --- | --- | --- |\n" + strings.Join(slices.Compact(rows), "\n") + "\n"
}

// TestMetricNamesKeepToTheRules of Prometheus, so that dashboards need no
// dictionary.
func TestMetricNamesKeepToTheRules(t *testing.T) {
	r, _ := rigged(t, rig.Options{})
	families, err := r.Registry.Gather()
	must(t, err)
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "wagate_") {
			t.Errorf("%s has not our prefix", f.GetName())
		}
		if strings.HasSuffix(f.GetName(), "_total") != (f.GetType().String() == "COUNTER") {
			t.Errorf("%s is a %s", f.GetName(), f.GetType())
		}
	}
}

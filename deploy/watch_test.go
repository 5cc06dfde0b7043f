package deploy_test

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

func alerts(t *testing.T) []alert {
	t.Helper()
	text, err := os.ReadFile("prometheus/alerts.yml")
	must(t, err)
	var file struct{ Groups []struct{ Rules []alert } }
	must(t, yaml.Unmarshal(text, &file))
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// TestAlerts: promtool takes the rules, and each fires when it has to and not
// before; each says how bad it is, what is the matter and what to do.
func TestAlerts(t *testing.T) {
	t.Parallel()
	if out, err := run(t, "promtool", "check", "rules", "--lint-fatal", "prometheus/alerts.yml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run(t, "promtool", "test", "rules", "prometheus/alerts_test.yml"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	tests, err := os.ReadFile("prometheus/alerts_test.yml")
	must(t, err)
	all := alerts(t)
	for _, a := range all {
		if a.For == "" || !slices.Contains([]string{"critical", "warning"}, a.Labels["severity"]) ||
			a.Annotations["summary"] == "" || len(a.Annotations["runbook"]) < 40 {
			t.Errorf("%s: for %q, severity %q, annotations %v", a.Alert, a.For, a.Labels["severity"], a.Annotations)
		}
		if !strings.Contains(string(tests), `ALERTS{alertname="`+a.Alert+`", alertstate="firing"`) {
			t.Errorf("no test lets %s fire", a.Alert)
		}
	}
	if len(all) < 20 {
		t.Errorf("only %d alerts are found", len(all))
	}
}

// dashboard returns the queries of the dashboard by the panel that shows them.
func dashboard(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("grafana/wagate.json")
	must(t, err)
	var board struct {
		Annotations struct{ List []struct{ Name, Expr string } }
		Panels      []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal(text, &board))
	queries := map[string][]string{}
	taken := map[[2]int]string{}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			queries[p.Title] = append(queries[p.Title], target.Expr)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %s shows nothing", p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, full := taken[at]; full {
					t.Errorf("panels %s and %s overlap", p.Title, other)
				}
				taken[at] = p.Title
			}
		}
	}
	for _, a := range board.Annotations.List {
		queries["annotation "+a.Name] = append(queries["annotation "+a.Name], a.Expr)
	}
	return queries
}

// filled puts in what Grafana would.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(expr)
}

// TestWhatIsWatchedExists runs every query of the dashboard on a real Prometheus
// that has scraped a gateway with calls, where each has to show something, and
// looks there for every series and label that an alert is about.
func TestWhatIsWatchedExists(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	w := watch(ctx, t)

	queries := dashboard(t)
	if len(queries) < 30 {
		t.Errorf("only %d panels are found", len(queries))
	}
	for _, title := range slices.Sorted(maps.Keys(queries)) {
		for _, expr := range queries[title] {
			result, err := w.query(ctx, filled(expr))
			empty := len(result) == 0 && !strings.HasPrefix(title, "annotation ")
			if err != nil || empty {
				t.Errorf("panel %q shows %d series of %s: %v", title, len(result), expr, err)
			}
			w.wantLabels(ctx, expr)
		}
	}
	for _, a := range alerts(t) {
		for _, s := range selector.FindAllString(a.Expr, -1) {
			if result, err := w.query(ctx, s); err != nil || len(result) == 0 {
				t.Errorf("%s is about %s, and the gateway has %d of it: %v", a.Alert, s, len(result), err)
			}
		}
		w.wantLabels(ctx, a.Expr)
		for _, text := range a.Annotations {
			for _, m := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(text, -1) {
				if !w.hasLabel(ctx, a.Expr, m[1]) {
					t.Errorf("%s names the label %s, which its series do not have", a.Alert, m[1])
				}
			}
		}
	}
}

// selector is a series of ours, or of the process, in a query.
var selector = regexp.MustCompile(`\b(?:wagate_[a-z_]+|process_[a-z_]+|go_[a-z_]+|up)\b(?:\{[^}]*\})?`)

// grouped are the labels that a query groups or matches by.
var grouped = regexp.MustCompile(`\b(?:by|on) \(([^)]*)\)`)

// wantLabels asserts that some series of the query has each label that the query
// groups by: PromQL itself takes a label that there is not for an empty one.
func (w *watched) wantLabels(ctx context.Context, expr string) {
	w.t.Helper()
	for _, m := range grouped.FindAllStringSubmatch(expr, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			if name = strings.TrimSpace(name); !w.hasLabel(ctx, expr, name) {
				w.t.Errorf("no series of %s has the label %s", expr, name)
			}
		}
	}
}

func (w *watched) hasLabel(ctx context.Context, expr, label string) bool {
	w.t.Helper()
	for _, s := range selector.FindAllString(expr, -1) {
		result, err := w.query(ctx, filled(s))
		must(w.t, err)
		for _, series := range result {
			if series.Metric[label] != "" {
				return true
			}
		}
	}
	return false
}

// TestDocumentedMetricsAreWatched: of what docs/metrics.md lists, whatever tells
// of trouble is in an alert or on the dashboard.
func TestDocumentedMetricsAreWatched(t *testing.T) {
	t.Parallel()
	var seen strings.Builder
	for _, a := range alerts(t) {
		seen.WriteString(a.Expr + "\n")
	}
	for _, exprs := range dashboard(t) {
		seen.WriteString(strings.Join(exprs, "\n") + "\n")
	}
	doc, err := os.ReadFile(filepath.Join("..", "docs", "metrics.md"))
	must(t, err)
	trouble := regexp.MustCompile("(?m)^\\| `(wagate_\\w*(?:failures|panics|expired|refused|silent|late|lost|denials|rejected|oldest_age|recovered|errors|breaker)\\w*)`")
	names := trouble.FindAllStringSubmatch(string(doc), -1)
	for _, m := range names {
		if !strings.Contains(seen.String(), m[1]) {
			t.Errorf("nobody looks at %s", m[1])
		}
	}
	if len(names) < 12 {
		t.Errorf("only %d names are found", len(names))
	}
}

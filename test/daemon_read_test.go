//go:build system || soak

package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"wagate/store"
)

// read asks the operators' API.
func (d *daemon) read(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+path, http.NoBody)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	return json.NewDecoder(res.Body).Decode(into)
}

// records waits until there are so many.
func (d *daemon) records(ctx context.Context, want int) []store.Record {
	d.t.Helper()
	var all []store.Record
	eventually(ctx, d.t, fmt.Sprintf("%d records", want), func() bool {
		all = nil
		for cursor := ""; ; {
			var page struct {
				Records []store.Record
				Next    string
			}
			must(d.t, d.read(ctx, "/api/v1/records?limit=1000&cursor="+url.QueryEscape(cursor), &page))
			all = append(all, page.Records...)
			if cursor = page.Next; cursor == "" {
				return len(all) >= want
			}
		}
	})
	return all
}

// liveCall is a call that the daemon says is up.
type liveCall struct{ ID, Direction, User, WACID, Phase string }

func (d *daemon) calls(ctx context.Context) []liveCall {
	d.t.Helper()
	var page struct{ Calls []liveCall }
	must(d.t, d.read(ctx, "/api/v1/calls", &page))
	return page.Calls
}

// phase is that of the only call.
func (d *daemon) phase(ctx context.Context) string {
	d.t.Helper()
	if calls := d.calls(ctx); len(calls) > 0 {
		return calls[0].Phase
	}
	return ""
}

// metric adds up a metric over the labels that are given, as name="value".
func (d *daemon) metric(ctx context.Context, name string, labels ...string) float64 {
	d.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+"/metrics", http.NoBody)
	must(d.t, err)
	res, err := http.DefaultClient.Do(req)
	must(d.t, err)
	defer res.Body.Close()
	sum, err := addUp(res.Body, name, labels)
	must(d.t, err)
	return sum
}

func addUp(text io.Reader, name string, labels []string) (sum float64, err error) {
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if at < 0 {
			continue
		}
		series, value := lines.Text()[:at], lines.Text()[at+1:]
		is, rest, _ := strings.Cut(series, "{")
		if is != name || slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, lines.Err()
}

// wantAtRest asserts what the metrics say when there is no call.
func (d *daemon) wantAtRest(ctx context.Context) {
	d.t.Helper()
	for _, name := range callMetrics(0) {
		eventually(ctx, d.t, "the end of "+name, func() bool { return d.metric(ctx, name) == 0 })
	}
	eventually(ctx, d.t, "as many calls that ended as started", func() bool {
		return d.metric(ctx, "wagate_calls_started_total") == d.metric(ctx, "wagate_calls_ended_total")
	})
	if n := d.metric(ctx, "wagate_call_panics_total"); n != 0 {
		d.t.Errorf("%v panics", n)
	}
}

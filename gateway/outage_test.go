package gateway

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/whatsapp"
)

// TestNumberRefused: somebody is called once when Meta takes no call of a number
// any more, and the gauge says so until it takes one again.
func TestNumberRefused(t *testing.T) {
	var log strings.Builder
	reg := prometheus.NewRegistry()
	o := newOutages(newMetrics(reg, "test"), slog.New(slog.NewTextHandler(&log, nil)))
	paused, badToken := &whatsapp.APIError{Status: 400, Code: 138014}, &whatsapp.APIError{Status: 401, Code: 190}
	for _, step := range []struct {
		look  bool // not a call, but another request
		err   error
		gauge float64
		lines int
	}{
		{err: nil},
		{err: paused, gauge: 1, lines: 1},
		{err: paused, gauge: 1, lines: 1},
		{err: errors.Join(errors.New("connect call"), paused), gauge: 1, lines: 1},
		{err: &whatsapp.APIError{Status: 400, Code: 138003}, gauge: 1, lines: 1}, // of one call: no news
		{look: true, err: nil, gauge: 1, lines: 1},                               // which says nothing of calls
		{err: badToken, gauge: 1, lines: 2},
		{err: whatsapp.ErrUnknown, gauge: 1, lines: 2},
		{err: nil, lines: 3},
		{err: &whatsapp.APIError{Status: 403, Code: 250}, gauge: 1, lines: 4},
		{err: nil, lines: 5},
		{look: true, err: paused, lines: 5},
		{look: true, err: badToken, gauge: 1, lines: 6},
		{look: true, err: nil, lines: 7},
	} {
		o.note("support", !step.look, step.err)
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := 0.0
		for _, f := range families {
			if f.GetName() == "wagate_number_refused" {
				got = f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		if lines := strings.Count(log.String(), "\n"); got != step.gauge || lines != step.lines {
			t.Errorf("after %v: gauge %v, %d lines; want %v, %d", step.err, got, lines, step.gauge, step.lines)
		}
	}
	o.note("support", true, paused)
	o.forget("support")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "wagate_number_refused" {
			t.Error("a number that is no longer ours is refused")
		}
	}
}

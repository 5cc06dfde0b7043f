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
	paused := &whatsapp.APIError{Status: 400, Code: 138014}
	for _, step := range []struct {
		err   error
		gauge float64
		lines int
	}{
		{nil, 0, 0},
		{paused, 1, 1},
		{paused, 1, 1},
		{errors.Join(errors.New("connect call"), paused), 1, 1},
		{&whatsapp.APIError{Status: 400, Code: 138003}, 1, 1}, // of one call: no news
		{&whatsapp.APIError{Status: 401, Code: 190}, 1, 2},
		{whatsapp.ErrUnknown, 1, 2},
		{nil, 0, 3},
		{&whatsapp.APIError{Status: 403, Code: 250}, 1, 4},
	} {
		o.note("support", step.err)
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
}

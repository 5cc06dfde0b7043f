package store

import "github.com/prometheus/client_golang/prometheus"

// op is what a write is for: the label of its metrics.
type op uint8

const (
	opBegin op = iota
	opDialog
	opProgress
	opEnd
	opTrace
	opDebt
	opStray
	opJournal
	opDone
	opPermission
	opCallback
	opPurge
	opErase
	opPing
	opCheckpoint
	ops
)

var opNames = [ops]string{
	opBegin:      "begin",
	opDialog:     "dialog",
	opProgress:   "progress",
	opEnd:        "end",
	opTrace:      "trace",
	opDebt:       "debt",
	opStray:      "stray",
	opJournal:    "journal",
	opDone:       "done",
	opPermission: "permission",
	opCallback:   "callback",
	opPurge:      "purge",
	opErase:      "erase",
	opPing:       "ping",
	opCheckpoint: "checkpoint",
}

func (o op) String() string { return opNames[o] }

// metrics has one resolved series per op.
type metrics struct {
	seconds  [ops]prometheus.Observer
	failures [ops]prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "wagate_store_write_seconds",
		Help:    "Time from asking for a write until it is on disk.",
		Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5},
	}, []string{"op"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_store_failures_total",
		Help: "Writes that did not reach the disk.",
	}, []string{"op"})
	reg.MustRegister(seconds, failures)
	m := &metrics{}
	for o := range ops {
		m.seconds[o] = seconds.WithLabelValues(o.String())
		m.failures[o] = failures.WithLabelValues(o.String())
	}
	return m
}

package gateway

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
)

// metrics are what an operator watches. Every label is a closed set or a name
// from the configuration; docs/metrics.md lists them all and a test compares
// that list with a scrape.
type metrics struct {
	buildInfo     *prometheus.GaugeVec
	node          *prometheus.GaugeVec
	ready         prometheus.Gauge
	draining      prometheus.Gauge
	reloadOK      prometheus.Gauge
	reloadTime    prometheus.Gauge
	started       *prometheus.CounterVec
	ended         *prometheus.CounterVec
	calls         *prometheus.GaugeVec
	abandoned     *prometheus.CounterVec
	setup         *prometheus.HistogramVec
	answer        *prometheus.HistogramVec
	duration      *prometheus.HistogramVec
	panics        prometheus.Counter
	mailboxDepth  prometheus.Gauge
	recovered     prometheus.Counter
	debts         *prometheus.GaugeVec
	debtsPaid     *prometheus.CounterVec
	debtsExpired  *prometheus.CounterVec
	debtOldest    prometheus.Gauge
	recordFailure prometheus.Counter
	callbacks     *prometheus.CounterVec
	refused       *prometheus.GaugeVec
	transfers     *prometheus.CounterVec
	certificates  *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer, version string) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	byCall := []string{"direction", "number", "trunk"}
	m := &metrics{
		buildInfo: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wagate_build_info", Help: "What is running; always 1.",
		}, []string{"version", "goversion"}),
		node: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wagate_node_info", Help: "The name of this gateway; always 1.",
		}, []string{"node"}),
		ready: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_ready", Help: "1 while new calls are taken.",
		}),
		draining: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_draining", Help: "1 while running calls are waited for before the end.",
		}),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_config_last_reload_successful", Help: "1 if the last reload of the configuration was taken.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_config_last_reload_success_timestamp_seconds", Help: "When a configuration was last taken.",
		}),
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_calls_started_total", Help: "Calls that were let in.",
		}, byCall),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_calls_ended_total", Help: "Calls that are over, by cause.",
		}, append([]string{"cause"}, byCall...)),
		calls: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wagate_calls", Help: "Calls alive, by phase.",
		}, []string{"direction", "phase"}),
		abandoned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_calls_abandoned_total", Help: "Legs that did not confirm their end in time and were left to the reaper.",
		}, []string{"leg"}),
		setup: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wagate_call_setup_seconds", Help: "From the first sign of a call to both legs up.",
			Buckets: []float64{.1, .25, .5, 1, 2, 3, 5, 8, 12, 20, 30, 45, 60},
		}, byCall),
		answer: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wagate_call_answer_seconds", Help: "From the callee's answer to the caller connected: where words get lost.",
			Buckets: []float64{.05, .1, .2, .3, .5, .75, 1, 2, 3, 5},
		}, byCall),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "wagate_call_duration_seconds", Help: "How long answered calls talked.",
			Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 3600, 7200, 14400},
		}, byCall),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wagate_call_panics_total", Help: "Calls ended by a fault of ours.",
		}),
		mailboxDepth: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_mailbox_depth_max", Help: "The most events that ever waited for one call.",
		}),
		recovered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wagate_calls_recovered_total", Help: "Calls of an earlier run that were found at start and ended.",
		}),
		debts: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wagate_debts", Help: "Ends of calls that the far end has not confirmed yet.",
		}, []string{"kind"}),
		debtsPaid: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_debts_paid_total", Help: "Owed ends that the far end confirmed.",
		}, []string{"kind"}),
		debtsExpired: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_debts_expired_total", Help: "Owed ends given up after their time; somebody should look.",
		}, []string{"kind"}),
		debtOldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_debt_oldest_age_seconds", Help: "How long the oldest owed end waits for its confirmation.",
		}),
		callbacks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_callbacks_total", Help: "Calls back to agents after a grant, by what became of them.",
		}, []string{"outcome"}),
		recordFailure: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wagate_record_failures_total", Help: "Call records that could not be written at the end of a call.",
		}),
		refused: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wagate_number_refused",
			Help: "1 while Meta refuses every call of a number for a fault of its set-up: somebody should look.",
		}, []string{"number"}),
		transfers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_sip_transfers_total", Help: "Transfers that a PBX asked for, by what became of them.",
		}, []string{"trunk", "outcome"}),
		certificates: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wagate_certificate_expiry_timestamp_seconds", Help: "Until when a certificate that we show is good.",
		}, []string{"use"}),
	}
	reg.MustRegister(m.callbacks, m.buildInfo, m.node, m.ready, m.draining, m.reloadOK, m.reloadTime, m.started, m.ended, m.calls,
		m.abandoned, m.setup, m.answer, m.duration, m.panics, m.mailboxDepth, m.recovered, m.debts, m.debtsPaid,
		m.debtsExpired, m.debtOldest, m.recordFailure, m.refused, m.transfers, m.certificates)
	m.buildInfo.WithLabelValues(version, runtime.Version()).Set(1)
	for _, side := range []string{sideWhatsApp, sideSIP} {
		m.abandoned.WithLabelValues(side)
	}
	for _, outcome := range []string{callbackKept, callbackCalled, callbackDropped} {
		m.callbacks.WithLabelValues(outcome)
	}
	for _, kind := range []string{debtTerminate, debtReject, debtDialog} {
		m.debts.WithLabelValues(kind)
		m.debtsPaid.WithLabelValues(kind)
		m.debtsExpired.WithLabelValues(kind)
	}
	return m
}

// expect creates the figures of a configuration's numbers and trunks, so that
// they are 0 before the first call and not absent.
func (m *metrics) expect(cfg *config.Config) {
	for _, t := range cfg.Trunks {
		for _, outcome := range transferOutcomes {
			m.transfers.WithLabelValues(t.Name, outcome)
		}
	}
	for _, direction := range []string{inbound, outbound} {
		for p := range Ended {
			m.calls.WithLabelValues(direction, p.String())
		}
		for _, n := range cfg.WhatsApp.Numbers {
			m.refused.WithLabelValues(n.Name)
			for _, t := range cfg.Trunks {
				m.started.WithLabelValues(direction, n.Name, t.Name)
				m.ended.WithLabelValues(Hangup.String(), direction, n.Name, t.Name)
			}
		}
	}
}

func (m *metrics) transfer(trunk, outcome string) { m.transfers.WithLabelValues(trunk, outcome).Inc() }

// The two sides of a call, as labels and in records.
const (
	sideWhatsApp = "whatsapp"
	sideSIP      = "sip"
)

// The kinds of owed ends, as the store and the metrics name them.
const (
	debtTerminate = "terminate" // end the WhatsApp call, by terminate first
	debtReject    = "reject"    // end the WhatsApp call, by reject first
	debtDialog    = "dialog"    // end the SIP dialog: CANCEL, or ACK and BYE
)

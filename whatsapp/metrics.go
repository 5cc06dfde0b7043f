package whatsapp

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Outcome is what became of a webhook event.
type Outcome string

// The outcomes. Duplicate, unknown and malformed are counted here, the others
// by whoever takes the events.
const (
	OutcomeDelivered  Outcome = "delivered"
	OutcomeDuplicate  Outcome = "duplicate"
	OutcomeStale      Outcome = "stale"      // too old to act on
	OutcomeTombstoned Outcome = "tombstoned" // its call was over before
	OutcomeUnknown    Outcome = "unknown"    // another number's, or of a kind that we do not know
	OutcomeMalformed  Outcome = "malformed"
)

type action uint8

const (
	actConnect action = iota
	actPreAccept
	actAccept
	actReject
	actTerminate
	actNumber
	actAsk
	actPermissions
	actions
)

var actionNames = [actions]string{
	actConnect:     "connect",
	actPreAccept:   "pre_accept",
	actAccept:      "accept",
	actReject:      "reject",
	actTerminate:   "terminate",
	actNumber:      "phone_number",
	actAsk:         "request_permission",
	actPermissions: "call_permissions",
}

func (a action) String() string { return actionNames[a] }

// tells says that the words of a good answer are needed, and not only that it
// is good.
func (a action) tells() bool { return a == actConnect || a == actAsk || a == actPermissions }

// result is the outcome label of a request.
type result uint8

const (
	resOK result = iota
	resGone
	resRefused
	resUnknown
	resNotSent
	results
)

var resultNames = [results]string{
	resOK:      "ok",
	resGone:    "gone",
	resRefused: "refused",
	resUnknown: "unknown",
	resNotSent: "not_sent",
}

// Metrics are shared by all clients and the webhook of a process.
type Metrics struct {
	requests   map[int]prometheus.Counter // by HTTP code; 0: any other
	events     map[Kind]map[Outcome]prometheus.Counter
	delay      prometheus.Histogram
	handle     prometheus.Histogram
	signatures prometheus.Counter
	ahead      prometheus.Counter
	graph      [actions][results]prometheus.Counter
	seconds    [actions]prometheus.Observer
	errors     map[int]prometheus.Counter // by Meta's code; 0: any other
	breakers   *prometheus.GaugeVec
	barred     *prometheus.CounterVec
	repeats    *prometheus.CounterVec
	clock      clock
}

// answerCodes are the statuses that the webhook answers with.
var answerCodes = []int{200, 400, 401, 403, 405, 413, 500}

// NewMetrics registers the metrics. A nil registerer is a private registry.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_webhook_requests_total",
		Help: "Requests to the webhook by the status that they were answered with.",
	}, []string{"code"})
	events := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_webhook_events_total",
		Help: "Webhook events by what became of them.",
	}, []string{"kind", "outcome"})
	graph := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_graph_requests_total",
		Help: "Requests to the Graph API by what is known of their effect.",
	}, []string{"action", "outcome"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "wagate_graph_request_seconds",
		Help:    "Time until a request to the Graph API was answered or given up.",
		Buckets: []float64{0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5},
	}, []string{"action"})
	failures := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_meta_errors_total",
		Help: "Errors by Meta's code, in answers and in webhooks.",
	}, []string{"code"})
	m := &Metrics{
		requests: map[int]prometheus.Counter{0: requests.WithLabelValues("other")},
		events:   map[Kind]map[Outcome]prometheus.Counter{},
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wagate_webhook_delay_seconds",
			Help:    "Time from the event, by Meta's clock, until it was here.",
			Buckets: []float64{0.5, 1, 2, 3, 5, 10, 20, 60, 300, 3600},
		}),
		handle: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "wagate_webhook_handle_seconds",
			Help:    "Time until a delivery was on disk and answered.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5},
		}),
		signatures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wagate_webhook_signature_failures_total",
			Help: "Deliveries without a valid signature.",
		}),
		ahead: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wagate_webhook_events_ahead_total",
			Help: "Webhook events that Meta dates into our future; they count from their receipt.",
		}),
		errors: map[int]prometheus.Counter{0: failures.WithLabelValues("other")},
		breakers: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "wagate_graph_breaker_state",
			Help: "Requests to the Graph API by class: 0 they are made, 1 one is made to see whether it works, 2 none is made because they fail.",
		}, []string{"number", "class"}),
		barred: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_graph_requests_barred_total",
			Help: "Requests to the Graph API that were not made, and why.",
		}, []string{"number", "class", "reason"}),
		repeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "wagate_graph_repeats_total",
			Help: "Requests to the Graph API that repeated one that failed; ends of calls are not among them.",
		}, []string{"number"}),
	}
	m.clock.gauge = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "wagate_clock_offset_seconds",
		Help: "How far this machine's clock is ahead of Meta's at least, by the date of its last answer; negative: behind.",
	})
	for _, code := range answerCodes {
		m.requests[code] = requests.WithLabelValues(strconv.Itoa(code))
	}
	for _, kind := range kinds {
		m.events[kind] = map[Outcome]prometheus.Counter{}
		for _, o := range []Outcome{
			OutcomeDelivered, OutcomeDuplicate, OutcomeStale, OutcomeTombstoned, OutcomeUnknown, OutcomeMalformed,
		} {
			m.events[kind][o] = events.WithLabelValues(string(kind), string(o))
		}
	}
	for a := range actions {
		m.seconds[a] = seconds.WithLabelValues(a.String())
		for r := range results {
			m.graph[a][r] = graph.WithLabelValues(a.String(), resultNames[r])
		}
	}
	for _, code := range knownCodes {
		m.errors[code] = failures.WithLabelValues(strconv.Itoa(code))
	}
	reg.MustRegister(requests, events, graph, seconds, failures, m.delay, m.handle, m.signatures, m.ahead,
		m.breakers, m.barred, m.repeats, m.clock.gauge)
	return m
}

// Forget drops what the gauges say of a number that is no longer ours.
func (m *Metrics) Forget(number string) {
	m.breakers.DeletePartialMatch(prometheus.Labels{"number": number})
}

// Outcome counts what became of an event.
func (m *Metrics) Outcome(kind Kind, o Outcome) {
	if c := m.events[kind][o]; c != nil {
		c.Inc()
	}
}

func (m *Metrics) answered(code int, took time.Duration) {
	c := m.requests[code]
	if c == nil {
		c = m.requests[0]
	}
	c.Inc()
	m.handle.Observe(took.Seconds())
}

func (m *Metrics) metaError(code int) {
	c := m.errors[code]
	if c == nil {
		c = m.errors[0]
	}
	c.Inc()
}

// late counts an event's way here. A clock that is ahead of ours counts as no
// delay.
func (m *Metrics) late(at, now time.Time) {
	if !at.IsZero() {
		m.delay.Observe(max(now.Sub(at), 0).Seconds())
	}
}

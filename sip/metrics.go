package sip

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Directions as the whole gateway uses them: inbound is a customer's call, so
// an INVITE of ours.
const (
	inbound  = "inbound"
	outbound = "outbound"
)

// reasons is the closed set of why something was not taken.
var reasons = []string{
	"source", "rate", "connections", "handshake", "plain", "read", "size", "malformed", "version", "method", "scheme", "hops", "require",
	"content", "merged", "dialog", "cseq", "stray", "starting", "draining", "overload", "panic",
	"unauthenticated", "credentials", "nonce", "loop", "interval",
}

// classes of final answers; timeout is none at all.
var classes = []string{"2xx", "3xx", "4xx", "5xx", "6xx", "timeout"}

// metrics has every counter resolved at construction, trunks at reload.
type metrics struct {
	rejected map[string]prometheus.Counter
	glares   map[string]prometheus.Counter
	invites  *prometheus.CounterVec
	up       *prometheus.GaugeVec
	probes   *prometheus.HistogramVec
	bindings *prometheus.GaugeVec

	mu     sync.RWMutex
	trunks map[string]trunkMetrics
}

type trunkMetrics struct {
	invites map[string]prometheus.Counter // direction + class
	up      prometheus.Gauge
	probe   prometheus.Observer
}

// newMetrics registers them. held tells how many dialogs and transactions there
// are.
func newMetrics(reg prometheus.Registerer, held func() (dialogs, transactions int)) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	m := &metrics{rejected: map[string]prometheus.Counter{}, glares: map[string]prometheus.Counter{}, trunks: map[string]trunkMetrics{}}
	rejected := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_sip_requests_rejected_total", Help: "SIP messages and connections that were refused or dropped.",
	}, []string{"reason"})
	glares := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_sip_glare_total", Help: "SIP requests that crossed on the wire.",
	}, []string{"kind"})
	m.invites = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_sip_invites_total", Help: "Calls on SIP trunks by the class of their final answer.",
	}, []string{"direction", "trunk", "class"})
	m.up = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "wagate_sip_trunk_up", Help: "Whether a target of the trunk answers OPTIONS.",
	}, []string{"trunk"})
	m.probes = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wagate_sip_trunk_probe_seconds", Help: "Time until a target answered OPTIONS.",
		Buckets: []float64{0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4},
	}, []string{"trunk"})
	m.bindings = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "wagate_sip_registered", Help: "Whether the trunk's registrar has a registration of ours.",
	}, []string{"trunk"})
	dialogs := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wagate_sip_dialogs", Help: "Dialogs on trunks, with those that are about to be or to end.",
	}, func() float64 { n, _ := held(); return float64(n) })
	transactions := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "wagate_sip_transactions", Help: "SIP requests of both sides that wait for an answer, or for repeats for 32 s after it.",
	}, func() float64 { _, n := held(); return float64(n) })
	reg.MustRegister(rejected, glares, m.invites, m.up, m.probes, m.bindings, dialogs, transactions)
	for _, r := range reasons {
		m.rejected[r] = rejected.WithLabelValues(r)
	}
	for _, k := range []string{"answer_cancel", "bye_bye", "offer_offer"} {
		m.glares[k] = glares.WithLabelValues(k)
	}
	return m
}

// setTrunks resolves the labels of the configured trunks; those of trunks that
// are gone stay, as counters must.
func (m *metrics) setTrunks(trunks []*trunk) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range trunks {
		name := t.cfg.Name
		if _, known := m.trunks[name]; known {
			continue
		}
		tm := trunkMetrics{invites: map[string]prometheus.Counter{}, up: m.up.WithLabelValues(name), probe: m.probes.WithLabelValues(name)}
		for _, direction := range []string{inbound, outbound} {
			for _, class := range classes {
				tm.invites[direction+class] = m.invites.WithLabelValues(direction, name, class)
			}
		}
		tm.up.Set(float64(btoi(t.up())))
		m.trunks[name] = tm
	}
}

func (m *metrics) of(trunk string) trunkMetrics {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.trunks[trunk]
}

func (m *metrics) reject(reason string) { m.rejected[reason].Inc() }

func (m *metrics) glare(kind string) { m.glares[kind].Inc() }

// invite counts a call's final answer; status zero is none.
func (m *metrics) invite(direction, trunk string, status int) {
	class := "timeout"
	if status > 0 {
		class = strconv.Itoa(status/100) + "xx"
	}
	if c := m.of(trunk).invites[direction+class]; c != nil {
		c.Inc()
	}
}

func (m *metrics) trunkUp(trunk string, up bool) {
	if g := m.of(trunk).up; g != nil {
		g.Set(float64(btoi(up)))
	}
}

// registered says of a trunk that registers whether it is registered.
func (m *metrics) registered(trunk string, is bool) {
	m.bindings.WithLabelValues(trunk).Set(float64(btoi(is)))
}

// unregister forgets a trunk that registers no more.
func (m *metrics) unregister(trunk string) { m.bindings.DeleteLabelValues(trunk) }

func (m *metrics) probed(trunk string, took time.Duration) {
	if h := m.of(trunk).probe; h != nil {
		h.Observe(took.Seconds())
	}
}

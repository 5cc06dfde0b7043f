package media

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// side is the label that tells the legs apart.
type side string

// The two sides.
const (
	whatsappSide side = "whatsapp"
	sipSide      side = "sip"
)

// metrics of the package. Everything with a label is resolved when the engine
// is built, so that counting on the frame path is one atomic add.
type metrics struct {
	whatsapp, sip *sideMetrics

	lateTicks  prometheus.Counter
	lateness   prometheus.Gauge
	cpu        prometheus.Gauge
	economy    prometheus.Gauge
	overloaded prometheus.Gauge
	ports      prometheus.Gauge
	portsInUse prometheus.Gauge
	ice, dtls  prometheus.Histogram
}

// sideMetrics are those of one side of all calls.
type sideMetrics struct {
	in, out   prometheus.Counter
	lost      prometheus.Counter
	late      prometheus.Counter
	concealed prometheus.Counter
	silent    prometheus.Counter // calls that were answered and never heard
	first     prometheus.Observer
	jitter    prometheus.Observer
	buffer    prometheus.Observer
	trip      prometheus.Observer
	mos       prometheus.Observer
	dropped   drops
}

// drops are packets and frames that went no further, by reason.
type drops struct {
	stranger    prometheus.Counter // not from the address that was agreed on
	forged      prometheus.Counter // not made with the agreed SRTP key, or a repetition
	malformed   prometheus.Counter // not RTP, or not what its payload type says
	payloadType prometheus.Counter // not negotiated
	undecodable prometheus.Counter // the codec refused it
	duplicate   prometheus.Counter
	source      prometheus.Counter // an SSRC that is not trusted yet
	surplus     prometheus.Counter // more audio than time: a burst, or a fast clock
	unsent      prometheus.Counter // the network refused it
	overflow    prometheus.Counter // came faster than the call could take them
	closed      prometheus.Counter // came before the gate opened or after it closed
}

// ended notes the round trip of a leg that is over; zero: nobody knows it.
func (m *sideMetrics) ended(trip time.Duration) {
	if trip > 0 {
		m.trip.Observe(trip.Seconds())
	}
}

// newMetrics registers the metrics of media; a nil registerer keeps them to
// itself.
func newMetrics(reg prometheus.Registerer) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	packets := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_media_packets_total", Help: "RTP packets.",
	}, []string{"side", "way"})
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_media_packets_lost_total", Help: "RTP packets that never came.",
	}, []string{"side"})
	late := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_media_packets_late_total", Help: "RTP packets that came after their place was concealed.",
	}, []string{"side"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_media_packets_dropped_total", Help: "Packets and frames that went no further.",
	}, []string{"side", "reason"})
	concealed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_media_frames_concealed_total", Help: "Frames of 20 ms made up for lost packets.",
	}, []string{"side"})
	silent := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_media_silent_calls_total", Help: "Legs that were open and never heard.",
	}, []string{"side"})
	first := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wagate_media_first_packet_seconds", Help: "From the opening of a leg to its first audio.",
		Buckets: []float64{0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10},
	}, []string{"side"})
	jitter := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wagate_media_jitter_seconds", Help: "Interarrival jitter of a leg at its end.",
		Buckets: []float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16},
	}, []string{"side"})
	trip := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wagate_media_round_trip_seconds", Help: "Round trip of a leg at its end, by RTCP, else by ICE.",
		Buckets: []float64{0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1},
	}, []string{"side"})
	mos := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wagate_media_mos", Help: "Estimated listening quality of a leg, by the E-model.",
		Buckets: []float64{1.5, 2, 2.5, 3, 3.3, 3.6, 3.8, 4, 4.2, 4.4},
	}, []string{"side"})
	buffer := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "wagate_media_buffer_seconds", Help: "Longest delay that the jitter buffer of a leg had.",
		Buckets: []float64{0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2},
	}, []string{"side"})
	setup := prometheus.ExponentialBuckets(0.01, 2, 12)
	m := &metrics{
		lateTicks: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "wagate_media_late_ticks_total", Help: "Frames that missed their time by 20 ms or more: the CPU is short.",
		}),
		lateness: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_media_lateness_seconds", Help: "How late the clock of the media runs, on average over the last second or so.",
		}),
		cpu: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_media_cpu_ratio", Help: "Share of the CPUs that the gateway takes, as admission sees it.",
		}),
		economy: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_media_economy", Help: "What encoders save because the CPU is short: 0 nothing, 1 complexity of wideband, 2 FEC too.",
		}),
		overloaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_media_overloaded", Help: "1 while new calls are refused because of the load.",
		}),
		ports: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_rtp_ports", Help: "Port pairs of the configured range.",
		}),
		portsInUse: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "wagate_rtp_ports_in_use", Help: "Port pairs taken by calls or in quarantine after one.",
		}),
		ice: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wagate_ice_seconds", Help: "From our session description to a working path.", Buckets: setup,
		}),
		dtls: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "wagate_dtls_seconds", Help: "Of the DTLS handshake.", Buckets: setup,
		}),
	}
	reg.MustRegister(packets, lost, late, dropped, concealed, silent, first, jitter, buffer, trip, mos,
		m.lateTicks, m.lateness, m.cpu, m.economy, m.overloaded, m.ports, m.portsInUse, m.ice, m.dtls)
	resolve := func(s side) *sideMetrics {
		name := string(s)
		reason := func(why string) prometheus.Counter { return dropped.WithLabelValues(name, why) }
		return &sideMetrics{
			in:        packets.WithLabelValues(name, "in"),
			out:       packets.WithLabelValues(name, "out"),
			lost:      lost.WithLabelValues(name),
			late:      late.WithLabelValues(name),
			concealed: concealed.WithLabelValues(name),
			buffer:    buffer.WithLabelValues(name),
			silent:    silent.WithLabelValues(name),
			first:     first.WithLabelValues(name),
			jitter:    jitter.WithLabelValues(name),
			trip:      trip.WithLabelValues(name),
			mos:       mos.WithLabelValues(name),
			dropped: drops{
				stranger:    reason("stranger"),
				forged:      reason("forged"),
				malformed:   reason("malformed"),
				payloadType: reason("payload_type"),
				undecodable: reason("undecodable"),
				duplicate:   reason("duplicate"),
				source:      reason("source"),
				surplus:     reason("surplus"),
				unsent:      reason("unsent"),
				overflow:    reason("overflow"),
				closed:      reason("closed"),
			},
		}
	}
	m.whatsapp, m.sip = resolve(whatsappSide), resolve(sipSide)
	return m
}

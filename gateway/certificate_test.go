package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/sip"
)

// TestCertificatesTellTheirEnd: the one of now, and none where there is none.
func TestCertificatesTellTheirEnd(t *testing.T) {
	server, err := sip.New(config.SIP{Listen: []string{"udp://127.0.0.1:0"}}, nil, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	reg := prometheus.NewRegistry()
	g := &Gateway{sip: server, metrics: newMetrics(reg, "test")}
	ends := func() (all []float64) {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "wagate_certificate_expiry_timestamp_seconds" {
				for _, m := range f.GetMetric() {
					all = append(all, m.GetGauge().GetValue())
				}
			}
		}
		return all
	}
	for _, at := range []int64{1_800_000_000, 1_900_000_000} {
		g.showCertificate(&tls.Certificate{Leaf: &x509.Certificate{NotAfter: time.Unix(at, 0)}})
		if got := ends(); len(got) != 1 || got[0] != float64(at) {
			t.Errorf("ends %v, want %d", got, at)
		}
	}
	if g.showCertificate(nil); len(ends()) != 0 {
		t.Errorf("ends %v without a certificate", ends())
	}
}

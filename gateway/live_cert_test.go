package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// selfSigned writes a certificate with its key and returns their files.
func selfSigned(t *testing.T, c x509.Certificate) config.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = big.NewInt(1)
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return config.TLS{Cert: write("cert", "CERTIFICATE", der), Key: write("key", "PRIVATE KEY", private)}
}

// TestLiveCertificates: what a PBX would refuse is found before it calls.
func TestLiveCertificates(t *testing.T) {
	now := time.Now()
	const year = 365 * 24 * time.Hour
	good := x509.Certificate{
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(year), DNSNames: []string{"sip.example.com"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 20)},
	}
	with := func(change func(*x509.Certificate)) x509.Certificate {
		c := good
		change(&c)
		return c
	}
	for _, row := range []struct {
		name         string
		cert         x509.Certificate
		host, listen string
		want         Verdict
		says         string
	}{
		{"name", good, "sip.example.com:5061", "0.0.0.0", VerdictOK, "good until"},
		{"address", good, "192.0.2.20", "0.0.0.0", VerdictOK, "good until"},
		{"another name", good, "pbx.example.com", "0.0.0.0", VerdictFailed, "sip.example.com"},
		{"another address", good, "[2001:db8::1]:5061", "[::]", VerdictFailed, "2001:db8::1"},
		{"not known", good, "", "0.0.0.0", VerdictOK, "good until"},
		{"listener", good, "", "192.0.2.20", VerdictOK, "good until"},
		{"another listener", good, "", "192.0.2.21", VerdictWarning, "192.0.2.21"},
		{"soon", with(func(c *x509.Certificate) { c.NotAfter = now.Add(13 * 24 * time.Hour) }), "", "0.0.0.0", VerdictWarning, "ends on"},
		{"over", with(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), "", "0.0.0.0", VerdictFailed, "ended on"},
		{"to come", with(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) }), "", "0.0.0.0", VerdictFailed, "begins on"},
		{"clients", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "", "0.0.0.0", VerdictFailed, "not for servers"},
	} {
		c := config.Default()
		c.SIP.Listen = []string{"tls://" + row.listen + ":5061", "udp://192.0.2.99:5060"}
		c.SIP.PublicHost, c.SIP.TLS = row.host, selfSigned(t, row.cert)
		var got []Finding
		l := &live{cfg: c, report: func(f Finding) { got = append(got, f) }}
		l.sipCertificates()
		if len(got) != 1 || got[0].What != "sip certificate" || got[0].Verdict != row.want || !strings.Contains(got[0].Detail, row.says) ||
			(got[0].Hint == "") != (row.want == VerdictOK) {
			t.Errorf("%s: %+v", row.name, got)
		}
	}

	// A trunk's own certificate is shown to the PBX alone: it has no name to keep.
	c := config.Default()
	pair := selfSigned(t, with(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }))
	other := selfSigned(t, good)
	for name, tls := range map[string]config.TLS{"old": pair, "mixed": {Cert: pair.Cert, Key: other.Key}, "good": other, "none": {}} {
		trunk := config.DefaultTrunk()
		trunk.Name, trunk.TLS = name, tls
		c.Trunks = append(c.Trunks, trunk)
	}
	got := map[string]Verdict{}
	(&live{cfg: c, report: func(f Finding) { got[f.What] = f.Verdict }}).sipCertificates()
	if len(got) != 3 || got["trunk old certificate"] != VerdictFailed || got["trunk mixed certificate"] != VerdictFailed || got["trunk good certificate"] != VerdictOK {
		t.Errorf("of the trunks' certificates it says %v", got)
	}
}

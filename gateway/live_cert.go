package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"wagate/config"
)

// certWarning is how long before its end a certificate is to be renewed.
const certWarning = 14 * 24 * time.Hour

// webhookCertificate looks at what the webhook would show to Meta.
func (l *live) webhookCertificate() {
	const what = "webhook certificate"
	files := l.cfg.HTTP.Webhook.TLS
	if files.Cert == "" {
		l.report(fine(what, "none: a proxy ends TLS"))
		return
	}
	pair := l.pair(what, "http.webhook.tls", files.Cert, files.Key)
	if pair == nil {
		return
	}
	rest := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			rest.AddCert(c)
		}
	}
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Intermediates: rest}); err != nil {
		l.report(failed(what, err.Error(), "use one of a public authority, with the intermediate certificates in the file: Meta takes no other"))
		return
	}
	l.lasts(what, pair.Leaf)
}

// sipCertificates looks at what PBXs get to see: who connects by TLS checks the
// name that it connected to, and whom we connect to may ask for one of ours.
// Which authorities a PBX believes is not known here.
func (l *live) sipCertificates() {
	if t := l.cfg.SIP.TLS; t.Cert != "" {
		if pair := l.pair("sip certificate", "sip.tls", t.Cert, t.Key); pair != nil && l.serves(pair.Leaf) {
			l.lasts("sip certificate", pair.Leaf)
		}
	}
	for i, t := range l.cfg.Trunks {
		if t.TLS.Cert == "" {
			continue
		}
		what := "trunk " + t.Name + " certificate"
		if pair := l.pair(what, fmt.Sprintf("trunks[%d].tls", i), t.TLS.Cert, t.TLS.Key); pair != nil {
			l.lasts(what, pair.Leaf)
		}
	}
}

// pair reads a certificate and its key; nil: that is reported.
func (l *live) pair(what, setting, cert, key string) *tls.Certificate {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		l.report(failed(what, err.Error(), "correct "+setting))
		return nil
	}
	now := time.Now()
	switch {
	case now.After(pair.Leaf.NotAfter):
		l.report(failed(what, "ended on "+day(pair.Leaf.NotAfter), "renew it"))
	case now.Before(pair.Leaf.NotBefore):
		l.report(failed(what, "begins on "+day(pair.Leaf.NotBefore), "wait for that, or see that this machine's clock is right"))
	default:
		return &pair
	}
	return nil
}

// lasts reports a certificate that is good, for now.
func (l *live) lasts(what string, c *x509.Certificate) {
	if time.Until(c.NotAfter) < certWarning {
		l.report(doubtful(what, "ends on "+day(c.NotAfter), "renew it"))
		return
	}
	l.report(fine(what, "good until "+day(c.NotAfter)))
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// serves tells whether a PBX that connects to us may take the certificate; if
// not, that is reported.
func (l *live) serves(c *x509.Certificate) bool {
	const what = "sip certificate"
	if use := c.ExtKeyUsage; len(use) > 0 && !slices.Contains(use, x509.ExtKeyUsageServerAuth) && !slices.Contains(use, x509.ExtKeyUsageAny) {
		l.report(failed(what, "is not for servers", "use one whose extended key usage has serverAuth"))
		return false
	}
	if host := hostAlone(l.cfg.SIP.PublicHost); host != "" {
		if err := c.VerifyHostname(host); err != nil {
			l.report(failed(what, err.Error(), "use one that names sip.public_host as a subject alternative name: a PBX that checks it hangs up"))
			return false
		}
		return true
	}
	for _, host := range boundTo(l.cfg.SIP) {
		if err := c.VerifyHostname(host); err != nil {
			l.report(doubtful(what, err.Error(), "write the name that the PBX connects to as sip.public_host; a PBX that checks it hangs up where the certificate has another"))
			return false
		}
	}
	return true
}

// hostAlone leaves a port out.
func hostAlone(hostport string) string {
	u := url.URL{Host: hostport}
	return u.Hostname()
}

// boundTo returns the addresses of the TLS listeners that are one address, not
// all of the machine's.
func boundTo(s config.SIP) (hosts []string) {
	for _, text := range s.Listen {
		u, err := url.Parse(text)
		if err != nil || !strings.EqualFold(u.Scheme, "tls") {
			continue
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && !a.IsUnspecified() {
			hosts = append(hosts, a.String())
		}
	}
	return hosts
}

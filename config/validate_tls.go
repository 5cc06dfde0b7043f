package config

import (
	"slices"
	"strings"
)

// isTLS says whether a SIP URI is reached over TLS.
func isTLS(uri string) bool { return Target{URI: uri}.TLS() }

// checkTLS looks at what TLS needs on both sides: a certificate where others
// connect to us, and a listener where a trunk has to find us again.
func (c *Config) checkTLS(l *faultLog) {
	listens := false
	for i, text := range c.SIP.Listen {
		if !strings.HasPrefix(strings.ToLower(text), "tls://") {
			continue
		}
		listens = true
		if c.SIP.TLS.Cert == "" && !l.faulty("sip.tls") {
			l.add(at("sip.listen", i), "name the certificate and the key in sip.tls", "needs a certificate to show")
		}
	}
	if t := c.SIP.TLS; t.CA != "" && t.Cert == "" && !l.faulty("sip.tls") {
		l.add("sip.tls.ca", "name cert and key too", "has no meaning without a certificate")
	}
	for i, t := range c.Trunks {
		path := at("trunks", i)
		uris := t.uris()
		first := slices.IndexFunc(uris, isTLS)
		switch {
		case first < 0 && t.TLS != TLS{} && !l.faulty(path+".tls"):
			l.add(path+".tls", "write transport=tls into its targets, or leave it out", "has no meaning without a target that has TLS")
		case first >= 0 && !listens:
			l.add(path+".targets", `add "tls://0.0.0.0:5061" to sip.listen`, "%s needs a tls:// listener, where the PBX finds the gateway during a call", quoted(uris[first]))
		}
		t.checkProxy(l, path)
	}
}

// uris are everywhere that requests of the trunk may be sent.
func (t Trunk) uris() []string {
	var all []string
	for _, target := range t.Targets {
		all = append(all, target.URI)
	}
	if t.OutboundProxy != "" {
		all = append(all, t.OutboundProxy)
	}
	if t.Register.Enabled && t.Register.Registrar != "" {
		all = append(all, t.Register.Registrar)
	}
	return all
}

// checkProxy keeps a sips target from being reached in the clear.
func (t Trunk) checkProxy(l *faultLog, path string) {
	if t.OutboundProxy == "" || isTLS(t.OutboundProxy) || l.faulty(path+".outbound_proxy") {
		return
	}
	for _, target := range t.Targets {
		if strings.HasPrefix(strings.ToLower(target.URI), "sips:") {
			l.add(path+".outbound_proxy", "write transport=tls into it", "would carry %s in the clear", quoted(target.URI))
			return
		}
	}
}

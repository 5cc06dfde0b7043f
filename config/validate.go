package config

import (
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
)

// Validate checks a configuration that was not read from a file. The error is
// Faults with all that is wrong.
func (c *Config) Validate() error {
	var log faultLog
	c.check(&log)
	return log.err()
}

// check adds everything that is wrong with the values to the log.
func (c *Config) check(l *faultLog) {
	l.name("node", c.Node)
	l.required("data_dir", c.DataDir, "name a folder of the gateway's own")
	l.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	l.oneOf("log.format", c.Log.Format, "json", "text")
	c.HTTP.check(l)
	c.WhatsApp.check(l)
	c.Media.check(l)
	c.SIP.check(l)
	c.checkTrunks(l)
	c.checkTLS(l)
	c.checkNAT(l)
	c.checkRoutes(l)
	c.Permissions.check(l)
	l.atLeast("limits.calls", c.Limits.Calls, 1)
	if cpu := c.Limits.CPU; cpu < 0 || cpu > 100 {
		l.add("limits.cpu", "give per cent of all CPUs, or 0 to refuse no call because of the load", "%d is not from 0 to 100", cpu)
	}
	l.between("limits.max_duration", c.Limits.MaxDuration, shortest, 24*time.Hour)
	l.between("limits.drain_timeout", c.Limits.DrainTimeout, 0, 24*time.Hour)
	l.between("limits.answer_window", c.Limits.AnswerWindow, shortest, time.Minute)
	l.between("retention.journal", c.Retention.Journal, time.Second, 0)
	l.between("retention.records", c.Retention.Records, time.Second, 0)
}

func (h HTTP) check(l *faultLog) {
	l.hostPort("http.webhook.listen", h.Webhook.Listen)
	if p := h.Webhook.Path; !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "?#{}% ") || !cleanPath(p) {
		l.add("http.webhook.path", "write it like /whatsapp/webhook", "%s is not a path", quoted(p))
	}
	l.keyPair("http.webhook.tls", h.Webhook.TLS.Cert, h.Webhook.TLS.Key)
	l.hostPort("http.admin.listen", h.Admin.Listen)
	if h.Admin.Token == "" && !loopback(h.Admin.Listen) && !l.faulty("http.admin") {
		l.add("http.admin.token", secretHint+", or listen on 127.0.0.1", "required because http.admin.listen is not a loopback address")
	}
	if h.Webhook.Listen == h.Admin.Listen && !strings.HasSuffix(h.Admin.Listen, ":0") {
		l.add("http.admin.listen", "give it a port of its own", "is the address of http.webhook.listen too")
	}
}

// cleanPath says whether a request for the path reaches it as it is written.
func cleanPath(p string) bool {
	bare := strings.TrimSuffix(p, "/")
	return bare == "" || bare != "/" && path.Clean(bare) == bare
}

var (
	graphVersion = regexp.MustCompile(`^v[0-9]{1,3}\.[0-9]{1,2}$`)
	numberID     = regexp.MustCompile(`^[0-9]{1,32}$`)
	e164         = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	namePattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
)

func (w WhatsApp) check(l *faultLog) {
	checkGraphURL(l, w.GraphURL)
	if !graphVersion.MatchString(w.GraphVersion) {
		l.add("whatsapp.graph_version", "write it like v26.0", "%s is not a version", quoted(w.GraphVersion))
	}
	if len(w.AppSecrets) == 0 {
		l.missing("whatsapp.app_secrets", "list the app secret of your Meta app: [{env: WAGATE_APP_SECRET}]")
	}
	for i, s := range w.AppSecrets {
		l.secret(at("whatsapp.app_secrets", i), s)
	}
	l.secret("whatsapp.verify_token", w.VerifyToken)
	if len(w.Numbers) == 0 {
		l.missing("whatsapp.numbers", "list at least one business number")
	}
	names, ids, numbers := make(map[string]int), make(map[string]int), make(map[string]int)
	for i, n := range w.Numbers {
		path := at("whatsapp.numbers", i)
		l.name(path+".name", n.Name)
		l.unique(path+".name", n.Name, i, names)
		switch {
		case n.PhoneNumberID == "":
			l.missing(path+".phone_number_id", "Meta shows it beside the number")
		case !numberID.MatchString(n.PhoneNumberID):
			l.add(path+".phone_number_id", "Meta shows it beside the number, digits only", "%s is not a phone number id", quoted(n.PhoneNumberID))
		}
		l.unique(path+".phone_number_id", n.PhoneNumberID, i, ids)
		switch {
		case n.Number == "":
			l.missing(path+".number", "write it like +351210000321")
		case !e164.MatchString(n.Number):
			l.add(path+".number", "write it like +351210000321", "%s is not an E.164 number", quoted(n.Number))
		}
		l.unique(path+".number", n.Number, i, numbers)
		l.secret(path+".access_token", n.AccessToken)
		l.codecs(path+".codecs", n.Codecs, []string{"opus", "PCMA", "PCMU"})
	}
}

// checkGraphURL refuses to send tokens in the clear over a network.
func checkGraphURL(l *faultLog, text string) {
	const path = "whatsapp.graph_url"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		l.add(path, "write it like https://graph.facebook.com", "%s is not a base URL", quoted(text))
	case u.Scheme == "https" || u.Scheme == "http" && nearby(u.Hostname()):
	default:
		l.add(path, "write https://", "%s would send access tokens in the clear", quoted(text))
	}
}

// nearby says whether a host is this machine or in a private network.
func nearby(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast()
	}
	return !strings.Contains(host, ".")
}

func loopback(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"
)

var (
	hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\.?$`)
	userPattern = regexp.MustCompile(`^[A-Za-z0-9._+-]{1,64}$`)
	// An account is part of a quoted string, and of what is hashed with colons.
	accountPattern = regexp.MustCompile(`^[A-Za-z0-9._+@!*~-]{1,64}$`)
	callerPattern  = regexp.MustCompile(`^(e164|plain|00|national:([1-9][0-9]{0,2}|[A-Z]{2}))$`)
)

func (s SIP) check(l *faultLog) {
	const path = "sip.listen"
	if len(s.Listen) == 0 {
		l.missing(path, "write it like [\"udp://0.0.0.0:5060\"]")
	}
	seen := make(map[string]int)
	for i, text := range s.Listen {
		if !l.faulty(at(path, i)) {
			checkSIPListener(l, at(path, i), text)
			l.unique(at(path, i), text, i, seen)
		}
	}
	if h := s.PublicHost; h != "" && !isHostPort(h) {
		l.add("sip.public_host", "write a name or an address, with a port if it differs", "%s is not a host", quoted(h))
	}
	s.TLS.check(l, "sip.tls")
}

func checkSIPListener(l *faultLog, path, text string) {
	const hint = "write it like udp://0.0.0.0:5060, tcp://[::]:5060 or tls://0.0.0.0:5061"
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		l.add(path, hint, "%s is not a SIP listener", quoted(text))
		return
	}
	_, errAddr := netip.ParseAddr(u.Hostname())
	_, errPort := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "udp" && u.Scheme != "tcp" && u.Scheme != "tls":
		l.add(path, hint, "%s is not a transport", quoted(u.Scheme))
	case errAddr != nil || errPort != nil:
		l.add(path, hint, "%s is not an address with a port", quoted(u.Host))
	}
}

func (t TLS) check(l *faultLog, path string) {
	l.keyPair(path, t.Cert, t.Key)
	l.ca(path+".ca", t.CA)
}

func (c *Config) checkTrunks(l *faultLog) {
	if len(c.Trunks) == 0 {
		l.missing("trunks", "list your PBX: [{name: pbx, targets: [\"sip:10.0.0.5:5060\"]}]")
	}
	names := make(map[string]int)
	for i, t := range c.Trunks {
		path := at("trunks", i)
		l.name(path+".name", t.Name)
		l.unique(path+".name", t.Name, i, names)
		t.check(l, path)
	}
	for i, text := range c.SIP.Listen {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "udp" {
			continue
		}
		if a, err := netip.ParseAddrPort(u.Host); err == nil && c.Media.RTP.covers(a) {
			l.add(at("sip.listen", i), "choose a port outside the range", "port %d lies in media.rtp.ports %s", a.Port(), c.Media.RTP.Ports)
		} else if err == nil && a.Port() != 0 && a.Port() == c.Media.WebRTC.Listen.Port() {
			l.add(at("sip.listen", i), "give each its own", "port %d is that of media.webrtc.listen too", a.Port())
		}
	}
}

func (t Trunk) check(l *faultLog, path string) {
	t.checkTargets(l, path)
	t.checkIdentity(l, path)
	t.TLS.check(l, path+".tls")
	l.codecs(path+".codecs", t.Codecs, []string{"PCMA", "PCMU", "G722", "opus"})
	l.oneOf(path+".dtmf", t.DTMF, "rfc4733", "info")
	t.checkSRTP(l, path+".srtp")
	if t.OptionsInterval != 0 {
		l.between(path+".options_interval", t.OptionsInterval, shortest, time.Hour)
	}
	if t.SessionExpires != 0 {
		l.between(path+".session_expires", t.SessionExpires, 90*time.Second, 24*time.Hour) // RFC 4028 section 4
	}
	l.atLeast(path+".max_calls", t.MaxCalls, 1)
	l.atLeast(path+".max_cps", t.MaxCPS, 1)
	for i, p := range t.TransferTargets {
		l.pattern(at(path+".transfer_targets", i), p)
	}
}

// checkSRTP wants signalling that nobody can read: the keys are in it.
func (t Trunk) checkSRTP(l *faultLog, path string) {
	uris := t.uris()
	open := slices.IndexFunc(uris, func(uri string) bool { return !isTLS(uri) })
	switch {
	case t.SRTP != "optional" && t.SRTP != "required":
		l.oneOf(path, t.SRTP, "off", "optional", "required")
	case open >= 0:
		l.add(path, "write transport=tls into every target, or use off", "%s, but the keys would travel in the clear to %s", t.SRTP, quoted(uris[open]))
	}
}

func (t Trunk) checkTargets(l *faultLog, path string) {
	if len(t.Targets) == 0 {
		l.missing(path+".targets", "list the PBX: [\"sip:10.0.0.5:5060\"]")
	}
	l.atMost(path+".targets", len(t.Targets), maxTargets)
	seen := make(map[string]int)
	for i, target := range t.Targets {
		at := at(path+".targets", i)
		if l.faulty(at) {
			continue
		}
		checkSIPURI(l, at, target.URI)
		l.unique(at, target.URI, i, seen)
		if target.Weight < 0 {
			l.add(at+".weight", "write 0 or more", "%d is not a weight", target.Weight)
		}
	}
	if t.OutboundProxy != "" {
		checkSIPURI(l, path+".outbound_proxy", t.OutboundProxy)
	}
	if r := t.Register; r.Registrar != "" {
		checkSIPURI(l, path+".register.registrar", r.Registrar)
	}
	if t.Register.Enabled && t.Auth.User == "" {
		l.add(path+".register.enabled", "set auth.user and auth.password", "needs the account that is registered")
	}
	l.between(path+".register.expires", t.Register.Expires, time.Minute, 24*time.Hour)
}

func (t Trunk) checkIdentity(l *faultLog, path string) {
	switch {
	case t.FromUser == "account" && t.Auth.User == "":
		l.add(path+".from_user", "set auth.user, or write caller", "account needs auth.user")
	case !userPattern.MatchString(t.FromUser) && !l.faulty(path+".from_user"):
		l.add(path+".from_user", "write caller, account or a number", "%s is not a user", quoted(t.FromUser))
	}
	if h := t.FromHost; h != "" && !isHost(h) {
		l.add(path+".from_host", "write a name or an address, without port", "%s is not a host", quoted(h))
	}
	switch country, national := strings.CutPrefix(t.CallerFormat, "national:"); {
	case l.faulty(path + ".caller_format"):
	case !callerPattern.MatchString(t.CallerFormat), national && country >= "A" && phonenumbers.GetCountryCodeForRegion(country) == 0:
		l.add(path+".caller_format", "write e164, plain, 00 or national:CC with a calling code or a country like 34 or ES", "%s is not a format", quoted(t.CallerFormat))
	}
	if t.Auth.User != "" {
		l.secret(path+".auth.password", t.Auth.Password)
	}
	t.Challenge.check(l, path+".challenge")
}

func (c Challenge) check(l *faultLog, path string) {
	seen := make(map[string]int)
	for i, a := range c.Algorithms {
		l.oneOf(at(path+".algorithms", i), a, "SHA-256", "MD5")
		l.unique(at(path+".algorithms", i), a, i, seen)
	}
	if len(c.Algorithms) == 0 {
		l.missing(path+".algorithms", "write SHA-256, MD5")
	}
	if c.User == "" {
		return
	}
	l.secret(path+".password", c.Password)
	if !accountPattern.MatchString(c.User) && !l.faulty(path+".user") {
		l.add(path+".user", "write the account that the PBX logs in with: no spaces, quotes, colons", "%s is not a user", quoted(c.User))
	}
}

// checkSIPURI checks where requests are sent: sip:host[:port][;transport=…].
func checkSIPURI(l *faultLog, path, text string) {
	const hint = "write it like sip:10.0.0.5:5060;transport=udp"
	scheme, rest, _ := strings.Cut(text, ":")
	hostPort, params, _ := strings.Cut(rest, ";")
	switch {
	case text == "":
		l.missing(path, hint)
		return
	case scheme != "sip" && scheme != "sips" || !isHostPort(hostPort):
		l.add(path, hint, "%s is not a SIP URI of a host", quoted(text))
		return
	case params == "":
		return
	}
	for param := range strings.SplitSeq(params, ";") {
		switch p := strings.ToLower(param); {
		case scheme == "sips" && p == "transport=udp":
			l.add(path, "leave transport out", "sips goes over TLS, not over udp")
		case p == "transport=udp", p == "transport=tcp", p == "transport=tls", p == "lr":
		default:
			l.add(path, hint, "parameter %s is not known here", quoted(param))
		}
	}
}

// isHostPort says whether s is a host with or without a port, an IPv6 address
// in brackets.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, bracketed := strings.CutPrefix(s, "[")
		host, closed := strings.CutSuffix(host, "]")
		return bracketed == closed && isHost(host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && isHost(host)
}

// isHost says whether s is a name or an address without port and brackets.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return len(s) <= 253 && hostPattern.MatchString(s)
}

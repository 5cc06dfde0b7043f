package config

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// checkNAT refuses addresses that cannot all be true: what the PBX is told for
// signalling, what it is told for audio, and what is listened on.
func (c *Config) checkNAT(l *faultLog) {
	listens := c.listenAddrs()
	if len(listens) == 0 || l.faulty("sip.public_host") || l.faulty("media.rtp") {
		return
	}
	inside := func(a netip.Addr) bool { return a.IsLoopback() }
	public, rtp := c.SIP.publicAddr(), c.Media.RTP
	switch {
	case !public.IsValid():
	case public.IsUnspecified() || public.IsMulticast():
		l.add("sip.public_host", "write the name or address that the PBX can reach, or leave it out", "%s is no one's address", public)
	case !inside(public) && !slices.ContainsFunc(listens, func(a netip.Addr) bool { return !inside(a) }):
		l.add("sip.public_host", "listen on 0.0.0.0, or leave it out", "nobody reaches %s, because sip.listen has loopback addresses only", public)
	case !slices.ContainsFunc(listens, func(a netip.Addr) bool { return a.Is4() == public.Is4() || a == netip.IPv6Unspecified() }):
		l.add("sip.public_host", "listen on an address of the same family", "%s is of another family than sip.listen", public)
	case public.IsGlobalUnicast() && !public.IsPrivate() && !rtp.PublicIP.IsValid() && rtp.Bind != public:
		l.add("sip.public_host", "write media.rtp.public_ip too, the same address as a rule", "%s takes the calls, but the PBX is not told where their audio goes", public)
	}
	switch ip := rtp.PublicIP; {
	case !ip.IsValid():
	case !inside(ip) && rtp.Bind.IsValid() && inside(rtp.Bind):
		l.add("media.rtp.public_ip", "bind 0.0.0.0, or leave it out", "nobody reaches %s, because media.rtp.bind is a loopback address", ip)
	case c.SIP.PublicHost == "" && ip.IsGlobalUnicast() && !ip.IsPrivate() && !slices.Contains(listens, ip):
		l.add("media.rtp.public_ip", "write sip.public_host too, the same address as a rule", "%s takes the audio, but the PBX is not told where the calls are taken", ip)
	}
}

// listenAddrs are the addresses of the SIP listeners, as far as they can be read.
func (c *Config) listenAddrs() []netip.Addr {
	var all []netip.Addr
	for _, text := range c.SIP.Listen {
		if u, err := url.Parse(text); err == nil {
			if a, err := netip.ParseAddr(u.Hostname()); err == nil {
				all = append(all, a.Unmap())
			}
		}
	}
	return all
}

// publicAddr is public_host where it is an address; a name may be any.
func (s SIP) publicAddr() netip.Addr {
	host := s.PublicHost
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap()
}

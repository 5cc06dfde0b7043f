package config

import (
	"net/netip"
	"time"
)

// Bounds of the Opus encoder, RFC 6716 section 2.1.1.
const (
	opusLeast = 6_000
	opusMost  = 510_000
)

func (m Media) check(l *faultLog) {
	l.between("media.timeout", m.Timeout, shortest, time.Hour)
	l.between("media.ice_timeout", m.ICETimeout, shortest, time.Hour)
	l.between("media.setup_timeout", m.SetupTimeout, shortest, time.Minute)
	if b := m.Opus.Bitrate; (b < opusLeast || b > opusMost) && !l.faulty("media.opus.bitrate") {
		l.add("media.opus.bitrate", "write 6000 to 510000 bit/s; 20000 is plenty for telephone sound", "%d is not an Opus bitrate", b)
	}
	m.WebRTC.check(l)
	m.RTP.check(l)
	if p := m.WebRTC.Listen; m.RTP.covers(p) {
		l.add("media.webrtc.listen", "choose a port outside the range", "port %d lies in media.rtp.ports %s", p.Port(), m.RTP.Ports)
	}
}

func (w WebRTC) check(l *faultLog) {
	const path = "media.webrtc.listen"
	if !w.Listen.IsValid() {
		l.missing(path, "write it like 0.0.0.0:40000")
		return
	}
	for i, ip := range w.PublicIPs {
		at := at("media.webrtc.public_ips", i)
		switch {
		case l.faulty(at):
		case !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast():
			l.add(at, "write the address that Meta's servers can reach", "%s is no one's address", quoted(ip.String()))
		case ip.Is6() && w.Listen.Addr().Is4() || ip.Is4() && w.Listen.Addr().Is6() && !w.Listen.Addr().IsUnspecified():
			l.add(at, "listen on [::] for both families", "%s is of another family than %s", ip, path)
		}
	}
}

func (r RTP) check(l *faultLog) {
	if !r.Bind.IsValid() {
		l.missing("media.rtp.bind", "write 0.0.0.0 or an address of this machine")
	}
	if ip := r.PublicIP; ip.IsValid() && (ip.IsUnspecified() || ip.IsMulticast()) {
		l.add("media.rtp.public_ip", "write the address that the PBX can reach, or leave it out", "%s is no one's address", ip)
	} else if ip.IsValid() && r.Bind.IsValid() && ip.Is4() != r.Bind.Is4() && r.Bind != netip.IPv6Unspecified() {
		l.add("media.rtp.public_ip", "bind an address of the same family", "%s is of another family than media.rtp.bind", ip)
	}
	if p := r.Ports; (p.First == 0 || p.Last <= p.First) && !l.faulty("media.rtp.ports") {
		l.add("media.rtp.ports", "write it like 20000-29999; a call takes two", "%s is not a range of ports", p)
	}
}

// covers says whether a socket on addr would take a port of the range.
func (r RTP) covers(addr netip.AddrPort) bool {
	sameHost := addr.Addr().IsUnspecified() || r.Bind.IsUnspecified() || addr.Addr() == r.Bind
	return sameHost && r.Ports.First > 0 && r.Ports.First <= addr.Port() && addr.Port() <= r.Ports.Last
}

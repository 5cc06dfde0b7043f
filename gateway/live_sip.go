package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/config"
	"wagate/sip"
)

const (
	optionsLimit = 5 * time.Second
	optionsPoll  = 50 * time.Millisecond
)

// trunks asks every trunk by OPTIONS from ports of its own, because those of
// the configuration may be taken by the running gateway.
func (l *live) trunks(ctx context.Context) {
	listeners, trunks := l.cfg.SIP, slices.Clone(l.cfg.Trunks)
	listeners.Listen = nil
	for _, text := range l.cfg.SIP.Listen {
		if u, err := url.Parse(text); err == nil {
			u.Host = net.JoinHostPort(u.Hostname(), "0")
			listeners.Listen = append(listeners.Listen, u.String())
		}
	}
	for i := range trunks {
		trunks[i].OptionsInterval = time.Hour // once is enough
		trunks[i].Register.Enabled = false    // it would take the running gateway's place
	}
	reg := prometheus.NewRegistry()
	server, err := sip.New(listeners, trunks, l.log, reg)
	if err != nil {
		l.report(failed("sip", err.Error(), "correct sip.listen and trunks"))
		return
	}
	ctx, cancel := context.WithTimeout(ctx, optionsLimit)
	defer cancel()
	stopped := make(chan error, 1) // its only value is the end
	go func() { stopped <- server.Serve(ctx, refuseAll) }()
	tick := time.NewTicker(optionsPoll)
	defer tick.Stop()
	waiting := trunks
	for len(waiting) > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		waiting = slices.DeleteFunc(slices.Clone(waiting), func(t config.Trunk) bool {
			answered := probes(reg, t.Name) > 0
			if answered {
				l.report(fine("trunk "+t.Name, "answers OPTIONS"))
			}
			return answered
		})
	}
	silent := func(t config.Trunk) bool {
		return slices.ContainsFunc(waiting, func(w config.Trunk) bool { return w.Name == t.Name })
	}
	for _, t := range trunks {
		if told := l.certificates(t, server); !told && silent(t) {
			l.silentTrunk(t, server.Targets(t.Name))
		}
	}
	cancel()
	if err := errors.Join(<-stopped, server.Close()); err != nil {
		l.report(doubtful("sip", err.Error(), "try again"))
	}
}

func (l *live) silentTrunk(t config.Trunk, targets []string) {
	what := "trunk " + t.Name
	if len(targets) == 0 {
		l.report(failed(what, "none of its names could be resolved", "check targets and this machine's DNS servers"))
		return
	}
	l.report(failed(what, "does not answer OPTIONS at "+strings.Join(targets, ", "),
		"check the address, the PBX's trunk settings for this machine, and the firewall between them"))
}

// certificates tells of the targets to which no TLS connection can be made, also
// where another target of the trunk answers.
func (l *live) certificates(t config.Trunk, server *sip.Server) (told bool) {
	for _, target := range server.Targets(t.Name) {
		var fault *sip.TLSError
		if errors.As(server.Trouble(t.Name, target), &fault) {
			l.report(failed("trunk "+t.Name+" "+target, fault.What, fault.Hint))
			told = true
		}
	}
	return told
}

func refuseAll(s *sip.Session, _ sip.Incoming) {
	s.Bind(sip.Handling{Notify: func(sip.Event) {}})
	s.Refuse(503, sip.Reason{}, 0)
}

// probes counts the OPTIONS that a trunk has answered.
func probes(reg prometheus.Gatherer, trunk string) (answered uint64) {
	families, err := reg.Gather()
	if err != nil {
		return 0
	}
	for _, family := range families {
		if family.GetName() != "wagate_sip_trunk_probe_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "trunk" && label.GetValue() == trunk {
					answered += m.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return answered
}

// ports binds what the gateway will bind, for a moment.
func (l *live) ports(ctx context.Context) {
	m := l.cfg.Media
	l.udp(ctx, "media.webrtc.listen", m.WebRTC.Listen)
	l.tcp(ctx, "http.webhook.listen", l.cfg.HTTP.Webhook.Listen)
	l.tcp(ctx, "http.admin.listen", l.cfg.HTTP.Admin.Listen)
	for _, text := range l.cfg.SIP.Listen {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		if addr, err := netip.ParseAddrPort(u.Host); err == nil && u.Scheme == "udp" {
			l.udp(ctx, "sip.listen "+text, addr)
		} else {
			l.tcp(ctx, "sip.listen "+text, u.Host)
		}
	}
	l.rtp(ctx)
}

// rtp tries some ports of the range: all of it would take long.
func (l *live) rtp(ctx context.Context) {
	const tries = 16
	r := l.cfg.Media.RTP
	step := max(1, int(r.Ports.Last-r.Ports.First)/tries)
	free, asked := 0, 0
	var last error
	for port := int(r.Ports.First); port <= int(r.Ports.Last); port += step {
		asked++
		if err := bindUDP(ctx, netip.AddrPortFrom(r.Bind, uint16(port))); err != nil { //nolint:gosec // inside a range of uint16
			last = err
			continue
		}
		free++
	}
	detail := fmt.Sprintf("%d of %d tried ports are free", free, asked)
	switch {
	case free == 0:
		l.report(failed("media.rtp.ports", last.Error(), "check media.rtp.bind, or choose another range"))
	case free < asked/2:
		l.report(doubtful("media.rtp.ports", detail, "another program uses the range; choose another"))
	default:
		l.report(fine("media.rtp.ports", detail))
	}
}

func (l *live) udp(ctx context.Context, what string, addr netip.AddrPort) {
	l.bound(what, addr.String(), bindUDP(ctx, addr))
}

func bindUDP(ctx context.Context, addr netip.AddrPort) error {
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, "udp", addr.String())
	if err != nil {
		return err
	}
	return c.Close()
}

func (l *live) tcp(ctx context.Context, what, addr string) {
	var lc net.ListenConfig
	c, err := lc.Listen(ctx, "tcp", addr)
	if err == nil {
		err = c.Close()
	}
	l.bound(what, addr, err)
}

func (l *live) bound(what, addr string, err error) {
	switch {
	case err == nil:
		l.report(fine(what, addr+" is free"))
	case errors.Is(err, syscall.EADDRINUSE):
		l.report(doubtful(what, addr+" is in use", "fine when the gateway is running; else stop the other program (ss -tulpn)"))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		l.report(failed(what, addr+" is not an address of this machine", "write one of its own (ip addr), or 0.0.0.0"))
	case errors.Is(err, syscall.EACCES):
		l.report(failed(what, addr+" may not be bound by this user", "choose a port above 1023, or grant CAP_NET_BIND_SERVICE"))
	default:
		l.report(failed(what, err.Error(), "correct the address"))
	}
}

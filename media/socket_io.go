package media

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"time"

	"github.com/pion/rtp"
)

// maxReadFaults is how many reads in a row may fail before the port is given up.
const maxReadFaults = 1000

// errUnreadable ends a leg whose socket the system has taken away.
var errUnreadable = errors.New("RTP port cannot be read")

// errNowhere counts packets that were sent before the far end's address is known.
var errNowhere = errors.New("no address of the PBX yet")

// errPanicked ends a leg whose reader hit a fault of ours.
var errPanicked = errors.New("internal fault")

// readRTP reads until Close. Nothing that comes in ends it.
func (s *Socket) readRTP() {
	defer s.guard()
	var (
		in     [maxDatagram]byte
		packet rtp.Packet
	)
	s.readAll(s.pair.rtp, in[:], func(data []byte, from netip.AddrPort) {
		now := time.Now()
		if !s.early.keep(data, from, now, s) {
			s.take(data, from, now, &packet)
		}
	})
}

// take handles a packet of the RTP port. packet is room to work in.
func (s *Socket) take(data []byte, from netip.AddrPort, at time.Time, packet *rtp.Packet) {
	p := s.path.Load()
	if p == nil || !s.expects(p, p.rtp, from) {
		s.stranger()
		return
	}
	if p.mux && len(data) > 1 && data[1] >= 192 && data[1] <= 223 { // RFC 5761 section 4
		s.takeReport(p, data)
		return
	}
	if p.open != nil {
		var err error
		if data, err = p.open.packet(data, &packet.Header); err != nil {
			s.forged()
			return
		}
	}
	if len(data) == 0 || data[0]>>6 != 2 || packet.Unmarshal(data) != nil {
		s.engine.metrics.sip.dropped.malformed.Inc()
		s.strangers.Add(1)
		return
	}
	if p.learn && s.receiver.knows(packet.PayloadType) {
		s.learn(p, from)
	}
	s.touch(at)
	s.receiver.receive(&packet.Header, packet.Payload, at)
}

// readRTCP reads reports on the odd port until Close.
func (s *Socket) readRTCP() {
	defer s.guard()
	var in [maxDatagram]byte
	s.readAll(s.pair.rtcp, in[:], func(data []byte, from netip.AddrPort) {
		p := s.path.Load()
		if p == nil || p.mux || !s.expects(p, p.rtcp, from) {
			s.stranger()
			return
		}
		s.takeReport(p, data)
	})
}

func (s *Socket) readAll(conn *net.UDPConn, in []byte, take func([]byte, netip.AddrPort)) {
	for faults := 0; faults < maxReadFaults; {
		n, from, err := conn.ReadFromUDPAddrPort(in)
		switch {
		case err == nil:
			faults = 0
			take(in[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return
		default: // an ICMP answer to what we sent
			faults++
		}
	}
	s.fail(errUnreadable)
}

// expects says whether a packet may come from there: only from the address that
// was agreed on, or while that is to be learned, from the trunk's networks.
func (s *Socket) expects(p *path, agreed, from netip.AddrPort) bool {
	return from == agreed || p.learn && s.trusted(from.Addr())
}

// trusted says whether an address belongs to the trunk.
func (s *Socket) trusted(addr netip.Addr) bool {
	addr = addr.Unmap()
	if s.opt.Remote.IsValid() && addr == s.opt.Remote.Unmap() {
		return true
	}
	if addr.IsLoopback() && !s.opt.Remote.IsLoopback() {
		return false // a wide prefix does not mean our own host
	}
	for _, p := range s.opt.Sources {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// learn makes the source of the first packet the far end's address, for good.
func (s *Socket) learn(p *path, from netip.AddrPort) {
	next := *p
	next.rtp, next.learn = from, false
	if p.mux {
		next.rtcp = from
	} else {
		next.rtcp = netip.AddrPortFrom(from.Addr(), from.Port()+1)
	}
	s.path.CompareAndSwap(p, &next) // a new agreement wins
}

func (s *Socket) takeReport(p *path, data []byte) {
	if p.open != nil {
		var err error
		if data, err = p.open.report(data); err != nil {
			s.forged()
			return
		}
	}
	now := time.Now()
	if !s.reporter.read(data, now) {
		s.engine.metrics.sip.dropped.malformed.Inc()
		return
	}
	s.sender.heed(s.reporter.farEnd(), now)
	s.touch(now)
}

func (s *Socket) stranger() {
	s.strangers.Add(1)
	s.engine.metrics.sip.dropped.stranger.Inc()
}

// forged counts a packet that was not made with the agreed key, or not for the
// first time. Nothing else comes of it: anybody can send those.
func (s *Socket) forged() {
	s.strangers.Add(1)
	s.engine.metrics.sip.dropped.forged.Inc()
}

// write is the sender's way out.
func (s *Socket) write(h *rtp.Header, payload []byte) error {
	p := s.path.Load()
	if p == nil || !p.rtp.IsValid() {
		return errNowhere
	}
	s.out = s.out[:cap(s.out)]
	n, err := h.MarshalTo(s.out)
	if err != nil {
		return err
	}
	s.out = append(s.out[:n], payload...)
	data := s.out
	if p.seal != nil {
		if data, err = p.seal.packet(s.out); err != nil {
			return err
		}
	}
	_, err = s.pair.rtp.WriteToUDPAddrPort(data, p.rtp)
	return err
}

// report sends RTCP: what we sent and what we heard, and at the end goodbye.
func (s *Socket) report(now time.Time, bye bool) {
	p := s.path.Load()
	if p == nil || !p.rtcp.IsValid() {
		return
	}
	packet := s.reporter.compose(make([]byte, 0, 128), now, s.sender.stats(now), s.receiver.reception())
	if bye {
		packet = s.reporter.goodbye(packet)
	}
	if p.seal != nil {
		var err error
		if packet, err = p.seal.report(packet); err != nil {
			return // the next one makes up for it
		}
	}
	conn := s.pair.rtcp
	if p.mux {
		conn = s.pair.rtp
	}
	_, _ = conn.WriteToUDPAddrPort(packet, p.rtcp) // as lossy as the network
}

// guard keeps a panic inside the call it belongs to.
func (s *Socket) guard() {
	if r := recover(); r != nil {
		s.log.Error("media reader panicked", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		s.fail(errPanicked)
	}
}

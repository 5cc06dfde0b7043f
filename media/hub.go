package media

import (
	"context"
	"errors"
	"net"
	"net/netip"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
)

// socketBuffer is asked of the kernel for the socket that calls share, so that
// a pause of some milliseconds loses nothing.
const socketBuffer = 4 << 20

// maxLocalAddrs bounds the candidates of a host with very many addresses.
const maxLocalAddrs = 8

// hub is a UDP socket that calls share: packets find their call by the ufrag of
// its first STUN request, then by the far end's address.
type hub struct {
	conn  *hubConn
	mux   *ice.UDPMuxDefault
	bound netip.AddrPort
}

// openHub binds listen; [::] takes both families, 0.0.0.0 and single addresses
// take their own.
func openHub(ctx context.Context, listen netip.AddrPort) (*hub, error) {
	network := "udp4"
	if listen.Addr().Is6() {
		network = "udp6"
		if listen.Addr().IsUnspecified() {
			network = "udp"
		}
	}
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(ctx, network, listen.String())
	if err != nil {
		return nil, err
	}
	udp, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, errors.New("not a UDP socket")
	}
	_ = udp.SetReadBuffer(socketBuffer) // the kernel may give less; that is no fault
	bound := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	conn := newHubConn(udp)
	return &hub{
		conn:  conn,
		mux:   ice.NewUDPMuxDefault(ice.UDPMuxParams{UDPConn: conn, Logger: quiet().NewLogger("")}),
		bound: netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port()),
	}, nil
}

func (h *hub) close() error { return h.mux.Close() }

// addresses are those we offer: the public ones of the families we are bound
// to, else the one we are bound to, else those of the host. Loopback is offered
// only when we are bound to it.
func (h *hub) addresses(public []netip.Addr) ([]netip.AddrPort, error) {
	list := make([]netip.Addr, 0, len(public))
	for _, addr := range public {
		if h.speaks(addr) {
			list = append(list, addr)
		}
	}
	if len(list) == 0 && !h.bound.Addr().IsUnspecified() {
		list = []netip.Addr{h.bound.Addr()}
	}
	if len(list) == 0 {
		var err error
		if list, err = hostAddresses(h.bound.Addr().Is6()); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, errors.New("no address to offer; set media.webrtc.public_ips")
	}
	out := make([]netip.AddrPort, 0, len(list))
	for _, addr := range list {
		out = append(out, netip.AddrPortFrom(addr.Unmap(), h.bound.Port()))
	}
	return out, nil
}

// speaks says whether the socket can send to an address of that family.
func (h *hub) speaks(addr netip.Addr) bool {
	own := h.bound.Addr()
	if addr.Unmap().Is4() {
		return own.Is4() || own.IsUnspecified()
	}
	return own.Is6()
}

// hostAddresses lists the host's own addresses, IPv4 first.
func hostAddresses(six bool) ([]netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var v4, v6 []netip.Addr
	for _, a := range addrs {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil || !allowed(prefix.Addr(), false) {
			continue
		}
		if addr := prefix.Addr().Unmap(); addr.Is4() {
			v4 = append(v4, addr)
		} else if six {
			v6 = append(v6, addr)
		}
	}
	list := append(v4, v6...)
	return list[:min(len(list), maxLocalAddrs)], nil
}

// face shows a hub to one ICE agent as one local address per family. The agent
// never puts that address into a packet, and two would double its checks.
type face struct {
	*ice.UDPMuxDefault
	bound net.Addr
	addrs []net.Addr
}

func (h *hub) face(offered []netip.AddrPort) *face {
	f := &face{UDPMuxDefault: h.mux, bound: h.mux.LocalAddr()}
	var four, six bool
	for _, a := range offered {
		if seen := map[bool]*bool{true: &four, false: &six}[a.Addr().Is4()]; !*seen {
			*seen = true
			f.addrs = append(f.addrs, net.UDPAddrFromAddrPort(a))
		}
	}
	return f
}

// GetListenAddresses is asked when the agent gathers its candidates.
func (f *face) GetListenAddresses() []net.Addr { return f.addrs }

// GetConn gives the agent its share of the socket.
func (f *face) GetConn(ufrag string, addr net.Addr) (net.PacketConn, error) {
	if udp, ok := f.bound.(*net.UDPAddr); ok && !udp.IP.IsUnspecified() {
		addr = f.bound
	}
	return f.UDPMuxDefault.GetConn(ufrag, addr)
}

// allowed keeps hostile candidates from pointing us at addresses that no relay
// can have. Loopback is for gateways that are bound to it, demo and tests.
func allowed(addr netip.Addr, loopback bool) bool {
	addr = addr.Unmap()
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr.IsLinkLocalUnicast() ||
		addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return false
	}
	return loopback || !addr.IsLoopback()
}

// hasRoute asks the kernel; connecting a UDP socket sends nothing.
func hasRoute(ctx context.Context, to netip.AddrPort) bool {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// quiet drops the libraries' own log: at debug it has ICE passwords in it, above
// that a line for each stray packet. What matters comes back as errors.
func quiet() logging.LoggerFactory {
	return &logging.DefaultLoggerFactory{DefaultLogLevel: logging.LogLevelDisabled}
}

package media

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"sync"
)

// mediaTaker is a call that takes its media where it is read.
type mediaTaker interface {
	// take is given one datagram of RTP or RTCP, which is its own until take
	// returns. Two readers may come at once.
	take(data []byte)
}

// sorter reads a UDP socket that calls share, on as many goroutines as there are
// CPUs. Media of a call that is up goes straight to the call, so that a packet is
// decrypted, transcoded and sent where it was read; on the way through the ICE
// library it would change goroutines three times and be copied as often. The
// rest, which is ICE, DTLS and strangers, is left to that library, whose
// net.PacketConn this is.
type sorter struct {
	*net.UDPConn

	rest   chan *datagram
	spare  sync.Pool
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup

	mu     sync.RWMutex
	takers map[netip.AddrPort]mediaTaker // by the far end's address
}

// datagram is one that waits for the ICE library.
type datagram struct {
	data [maxDatagram]byte
	n    int
	from netip.AddrPort
}

// restQueue bounds what waits; ICE and DTLS repeat what is lost.
const restQueue = 256

func newSorter(conn *net.UDPConn) *sorter {
	s := &sorter{
		UDPConn: conn,
		rest:    make(chan *datagram, restQueue),
		spare:   sync.Pool{New: func() any { return new(datagram) }},
		closed:  make(chan struct{}),
		takers:  map[netip.AddrPort]mediaTaker{},
	}
	for range runtime.GOMAXPROCS(0) {
		s.wg.Go(s.read)
	}
	return s
}

// give lets a call have the media from addresses that are its own alone.
func (s *sorter) give(from []netip.AddrPort, t mediaTaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range from {
		s.takers[addr] = t
	}
}

// takeBack ends it. Packets may still be on their way to the call.
func (s *sorter) takeBack(from []netip.AddrPort, t mediaTaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, addr := range from {
		if s.takers[addr] == t {
			delete(s.takers, addr)
		}
	}
}

func (s *sorter) takerOf(from netip.AddrPort) mediaTaker {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.takers[from]
}

func (s *sorter) read() {
	d := s.spare.Get().(*datagram)
	for {
		n, from, err := s.ReadFromUDPAddrPort(d.data[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP answer to what was sent
		}
		if n > 1 && isMedia(d.data[0]) {
			if t := s.takerOf(netip.AddrPortFrom(from.Addr().Unmap(), from.Port())); t != nil {
				t.take(d.data[:n])
				continue
			}
		}
		d.n, d.from = n, from
		select {
		case s.rest <- d:
			d = s.spare.Get().(*datagram)
		default:
		}
	}
}

// isMedia says whether a datagram that begins so is RTP or RTCP (RFC 7983
// section 7).
func isMedia(first byte) bool { return first >= 128 && first <= 191 }

// ReadFromAddrPort is for the ICE library.
func (s *sorter) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case d := <-s.rest:
		n, from := copy(b, d.data[:d.n]), d.from
		s.spare.Put(d)
		return n, from, nil
	case <-s.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// WriteToAddrPort is for the ICE library.
func (s *sorter) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	return s.WriteToUDPAddrPort(b, to)
}

// ReadFrom is ReadFromAddrPort in its older form.
func (s *sorter) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := s.ReadFromAddrPort(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// Close closes the socket and waits for the readers.
func (s *sorter) Close() error {
	s.once.Do(func() { close(s.closed) })
	err := s.UDPConn.Close()
	s.wg.Wait()
	return err
}

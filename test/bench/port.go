package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"
)

// port is a UDP socket of a far end, which nobody sleeps on: it is emptied in
// batches, so that a packet that comes in wakes no thread of ours at the cost of
// the gateway that sends it, and the kernel stamps each packet, so that it does
// not matter when we look.
type port struct {
	fd   int
	addr netip.AddrPort

	batch   [batchSize]message
	iov     [batchSize]syscall.Iovec
	from    [batchSize]syscall.RawSockaddrInet4
	control [batchSize][controlSize]byte
	data    [batchSize][packetSize]byte
}

// message is the kernel's struct mmsghdr.
type message struct {
	header syscall.Msghdr
	length uint32
	_      [4]byte
}

const (
	soTimestampNS = 35 // SO_TIMESTAMPNS and its SCM, which package syscall lacks
	controlSize   = 64
	packetSize    = 1500
	batchSize     = 8
	portBuffer    = 1 << 18
)

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func openPort() (*port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a port: %w", err)
	}
	p := &port{fd: fd}
	if err := p.bind(); err != nil {
		p.close()
		return nil, fmt.Errorf("open a port: %w", err)
	}
	for i := range p.batch {
		p.iov[i].Base = &p.data[i][0]
		p.iov[i].SetLen(packetSize)
		h := &p.batch[i].header
		h.Iov, h.Iovlen = &p.iov[i], 1
		h.Name = (*byte)(unsafe.Pointer(&p.from[i]))
		h.Control = &p.control[i][0]
	}
	return p, nil
}

func (p *port) bind() error {
	_ = syscall.SetsockoptInt(p.fd, syscall.SOL_SOCKET, syscall.SO_RCVBUF, portBuffer)
	if err := syscall.SetsockoptInt(p.fd, syscall.SOL_SOCKET, soTimestampNS, 1); err != nil {
		return err
	}
	if err := syscall.Bind(p.fd, &syscall.SockaddrInet4{Addr: loopback.As4()}); err != nil {
		return err
	}
	name, err := syscall.Getsockname(p.fd)
	if err != nil {
		return err
	}
	p.addr = netip.AddrPortFrom(loopback, uint16(name.(*syscall.SockaddrInet4).Port))
	return nil
}

// drain hands on what has come in, each with the time of its arrival.
func (p *port) drain(take func(data []byte, from netip.AddrPort, at int64)) {
	for {
		for i := range p.batch {
			p.batch[i].header.Namelen = syscall.SizeofSockaddrInet4
			p.batch[i].header.SetControllen(controlSize)
		}
		n, _, fault := syscall.Syscall6(syscall.SYS_RECVMMSG, uintptr(p.fd), uintptr(unsafe.Pointer(&p.batch[0])), batchSize, 0, 0, 0)
		if fault == syscall.ECONNREFUSED || fault == syscall.EINTR {
			continue // an ICMP answer to what was sent
		}
		if fault != 0 {
			return
		}
		for i := range int(n) {
			from := netip.AddrPortFrom(netip.AddrFrom4(p.from[i].Addr), binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&p.from[i].Port))[:]))
			take(p.data[i][:p.batch[i].length], from, stampOf(p.control[i][:p.batch[i].header.Controllen]))
		}
		if n < batchSize {
			return
		}
	}
}

// stampOf reads SCM_TIMESTAMPNS: a header of 16 bytes, seconds, nanoseconds.
func stampOf(control []byte) int64 {
	if len(control) < 32 || binary.NativeEndian.Uint32(control[12:]) != soTimestampNS {
		return time.Now().UnixNano()
	}
	return int64(binary.NativeEndian.Uint64(control[16:]))*1e9 + int64(binary.NativeEndian.Uint64(control[24:]))
}

func (p *port) send(data []byte, to netip.AddrPort) {
	_ = syscall.Sendto(p.fd, data, 0, &syscall.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
}

func (p *port) close() { _ = syscall.Close(p.fd) }

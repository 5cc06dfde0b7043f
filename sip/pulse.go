package sip

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

var errNoPong = errors.New("the far end answers keep-alives no more")

// pulse tells whether the far end of a connection that we keep alive is still
// there (RFC 5626 section 4.4.1). Not every PBX answers a ping: one that never
// has is not missed, and its silence is left to TCP.
type pulse struct {
	waiting atomic.Bool // for the answer to a ping
	answers atomic.Bool // it has answered one
	alive   atomic.Bool // anything came since the last ping
}

// ping notes that a ping leaves. It tells whether the wait for an answer begins
// with it: one may be expected, and none is being waited for.
func (p *pulse) ping() bool {
	if p.waiting.Swap(true) && !p.alive.Load() {
		return false
	}
	p.alive.Store(false)
	return p.answers.Load()
}

// heard notes that anything came.
func (p *pulse) heard() { p.alive.Store(true) }

// pong takes a single CRLF for the answer, if one is due.
func (p *pulse) pong() bool {
	due := p.waiting.Swap(false)
	if due {
		p.answers.Store(true)
	}
	return due
}

// silent tells whether nothing has come since the last ping.
func (p *pulse) silent() bool { return !p.alive.Load() }

// tcpUserTimeout is the socket option of RFC 5482, as Linux numbers it.
const tcpUserTimeout = 0x12

// boundSilence lets the kernel end a connection whose far end acknowledges
// nothing for so long, and not only after a quarter of an hour.
func boundSilence(d time.Duration) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			// Without it the connection ends later.
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
		})
	}
}

// limitSilence is boundSilence for a connection that there is.
func limitSilence(tc *net.TCPConn, d time.Duration) {
	if raw, err := tc.SyscallConn(); err == nil {
		_ = boundSilence(d)("", "", raw)
	}
}

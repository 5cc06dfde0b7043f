package fakemeta

import (
	"net"
	"os"
	"sync"
	"time"
)

// inbox is what the DTLS handshake sees of the relay: datagrams of one
// customer come in by put, go out by send.
type inbox struct {
	packets chan []byte // a handshake's flights fit; more are lost, as in a socket
	send    func([]byte) error
	done    chan struct{}
	once    sync.Once

	mu      sync.Mutex
	expired chan struct{} // closed when the read deadline is over
	timer   *time.Timer
}

func newInbox(send func([]byte) error) *inbox {
	return &inbox{packets: make(chan []byte, 32), send: send, done: make(chan struct{}), expired: make(chan struct{})}
}

// put takes a copy of a datagram and never blocks.
func (b *inbox) put(p []byte) {
	select {
	case b.packets <- append([]byte(nil), p...):
	default:
	}
}

// ReadFrom returns the next datagram.
func (b *inbox) ReadFrom(p []byte) (int, net.Addr, error) {
	b.mu.Lock()
	expired := b.expired
	b.mu.Unlock()
	select {
	case <-b.done:
		return 0, nil, net.ErrClosed
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case m := <-b.packets:
		return copy(p, m), b.LocalAddr(), nil
	case <-b.done:
		return 0, nil, net.ErrClosed
	case <-expired:
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// WriteTo sends to wherever the media goes.
func (b *inbox) WriteTo(p []byte, _ net.Addr) (int, error) {
	if err := b.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close ends all reads.
func (b *inbox) Close() error {
	b.once.Do(func() { close(b.done) })
	return nil
}

// LocalAddr is a name, there is no socket of its own.
func (b *inbox) LocalAddr() net.Addr { return &net.UDPAddr{IP: net.IPv4zero} }

// SetDeadline sets the read deadline; writes never wait.
func (b *inbox) SetDeadline(t time.Time) error { return b.SetReadDeadline(t) }

// SetReadDeadline ends reads that are waiting at t; zero: never.
func (b *inbox) SetReadDeadline(t time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
		b.timer = nil
	}
	select {
	case <-b.expired:
		b.expired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return nil
	}
	expired := b.expired
	if wait := time.Until(t); wait > 0 {
		b.timer = time.AfterFunc(wait, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.expired == expired {
				closeOnce(expired)
			}
		})
		return nil
	}
	close(expired)
	return nil
}

// SetWriteDeadline does nothing; writes never wait.
func (b *inbox) SetWriteDeadline(time.Time) error { return nil }

func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

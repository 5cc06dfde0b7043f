package fakemeta

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

const (
	keyTone   = 5  // packets while a key is held: 100 ms
	keyEnds   = 3  // packets that say it was released, RFC 4733 section 2.5.1.4
	keyPause  = 3  // frames of speech until the next key
	keyVolume = 10 // -dBm0
	keyStep   = 160
	keyNames  = "0123456789*#ABCD" // in the order of their codes
)

// keypad turns key presses into packets.
type keypad struct {
	mu    sync.Mutex
	queue []*press
}

// press is a key that is held or waits for its turn.
type press struct {
	code      byte
	packets   int // sent so far
	timestamp uint32
	done      chan struct{} // closed when the last packet has left
}

// keyPacket is what the sender has to send.
type keyPacket struct {
	code       byte
	first, end bool
	pause      bool // between two keys
	timestamp  uint32
	duration   uint16
}

// tick is the next packet of the keypad, if a key is held.
func (k *keypad) tick(now uint32) (keyPacket, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.queue) == 0 {
		return keyPacket{}, false
	}
	p := k.queue[0]
	if p.packets == 0 {
		p.timestamp = now
	}
	p.packets++
	out := keyPacket{
		code: p.code, first: p.packets == 1, end: p.packets > keyTone, timestamp: p.timestamp,
		duration: uint16(min(p.packets, keyTone) * keyStep), pause: p.packets > keyTone+keyEnds,
	}
	if p.packets == keyTone+keyEnds+keyPause {
		k.queue = k.queue[1:]
		close(p.done)
	}
	return out, true
}

// Press presses keys, 0-9 * # A-D, and returns when the last was released.
func (c *Customer) Press(ctx context.Context, keys string) error {
	var queue []*press
	for _, r := range strings.ToUpper(keys) {
		code := strings.IndexRune(keyNames, r)
		if code < 0 {
			return fmt.Errorf("press %q: no such key", r)
		}
		queue = append(queue, &press{code: byte(code), done: make(chan struct{})})
	}
	if len(queue) == 0 {
		return nil
	}
	k := &c.peer.voice.keys
	k.mu.Lock()
	k.queue = append(k.queue, queue...)
	k.mu.Unlock()
	select {
	case <-queue[len(queue)-1].done:
		return nil
	case <-c.reached[Ended]:
		return fmt.Errorf("press %q: %w", keys, ErrEnded)
	case <-ctx.Done():
		return fmt.Errorf("press %q: %w", keys, ctx.Err())
	}
}

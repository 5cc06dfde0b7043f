package faketrunk

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pion/rtp"
)

const keypad = "0123456789*#ABCD"

// Digit is one telephone-event that arrived, RFC 4733.
type Digit struct {
	Key       byte
	Timestamp uint32
	Duration  time.Duration // as its last packet says, on the 8 kHz clock
	Packets   int
	Ends      int  // packets with the end bit
	Marked    bool // the first packet had the marker bit
	Shrunk    bool // a later packet told a shorter duration
}

type digits struct {
	all   []Digit
	infos []string
}

// note enters a packet: the events of one timestamp are one digit.
func (d *digits) note(p *rtp.Packet) {
	if len(p.Payload) < 4 || int(p.Payload[0]) >= len(keypad) {
		return
	}
	key, end := keypad[p.Payload[0]], p.Payload[1]&0x80 != 0
	i := slices.IndexFunc(d.all, func(g Digit) bool { return g.Timestamp == p.Timestamp && g.Key == key })
	if i < 0 {
		i = len(d.all)
		d.all = append(d.all, Digit{Key: key, Timestamp: p.Timestamp, Marked: p.Marker})
	}
	g := &d.all[i]
	g.Packets++
	if end {
		g.Ends++
	}
	length := time.Duration(uint16(p.Payload[2])<<8|uint16(p.Payload[3])) * time.Second / rate
	if length < g.Duration {
		g.Shrunk = true
	}
	g.Duration = max(g.Duration, length)
}

// Digits returns the keys that the other side pressed, in order.
func (a *Audio) Digits() string {
	var b strings.Builder
	for _, g := range a.DigitEvents() {
		b.WriteByte(g.Key)
	}
	return b.String()
}

// DigitEvents returns the same with all that is known of each.
func (a *Audio) DigitEvents() []Digit {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.digits.all)
}

// Infos returns the bodies of the INFO requests of the call.
func (a *Audio) Infos() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.digits.infos)
}

func (a *Audio) info(body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.digits.infos) < 1000 {
		a.digits.infos = append(a.digits.infos, string(body))
	}
	a.stir()
}

// WaitDigits waits until exactly these keys were pressed and the last one was
// let go. More or other keys are an error at once.
func (a *Audio) WaitDigits(ctx context.Context, want string) error {
	for {
		a.mu.Lock()
		changed := a.changed
		a.mu.Unlock()
		all, got := a.DigitEvents(), a.Digits()
		if got == want && (want == "" || all[len(all)-1].Ends > 0) {
			return nil
		}
		if !strings.HasPrefix(want, got) {
			return fmt.Errorf("got digits %q, want %q", got, want)
		}
		select {
		case <-changed:
		case <-a.done:
			return fmt.Errorf("wait for digits %q: got %q: %w", want, got, ErrOver)
		case <-ctx.Done():
			return fmt.Errorf("wait for digits %q: got %q: %w", want, got, ctx.Err())
		}
	}
}

// Press sends keys as telephone-events of 100 ms and returns when they are out.
func (a *Audio) Press(ctx context.Context, keys string) error {
	a.mu.Lock()
	if a.dtmfPT == 0 || !a.started {
		a.mu.Unlock()
		return fmt.Errorf("press %q: no %s", keys, dtmfName)
	}
	for _, k := range keys {
		code := strings.IndexRune(keypad, k)
		if code < 0 {
			a.mu.Unlock()
			return fmt.Errorf("press %q: no such key", keys)
		}
		a.out.queue = append(a.out.queue, byte(code))
	}
	a.mu.Unlock()
	for {
		a.mu.Lock()
		left, changed := len(a.out.queue), a.changed
		a.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-a.done:
			return fmt.Errorf("press %q: %w", keys, ErrOver)
		case <-ctx.Done():
			return fmt.Errorf("press %q: %w", keys, ctx.Err())
		}
	}
}

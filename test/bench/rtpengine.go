package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// rtpengine is a rtpengine doing the gateway's work, by its control protocol,
// with nothing in the kernel.
type rtpengine struct {
	label      string
	program    string
	core       int
	complexity int
	lite       bool // it knows far ends that are ICE-lite

	proc *process
	ng   *net.UDPConn

	mu      sync.Mutex
	cookie  int
	waiting map[string]chan map[string]any
}

func (r *rtpengine) name() string      { return r.label }
func (r *rtpengine) process() *process { return r.proc }

func (r *rtpengine) start(ctx context.Context) error {
	control, err := freePort("udp4")
	if err != nil {
		return err
	}
	addr := netip.AddrPortFrom(loopback, control)
	args := []string{
		"--foreground", "--log-stderr", "--log-level=4", "--table=-1", "--interface=127.0.0.1",
		"--listen-ng=" + addr.String(), "--port-min=26000", "--port-max=31999", "--pidfile=/dev/null",
		"--num-threads=1", "--media-num-threads=1", // as fits one core
	}
	if r.proc, err = spawn(r.core, nil, r.program, args...); err != nil {
		return err
	}
	if r.ng, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(addr)); err != nil {
		return fmt.Errorf("%s: control: %w", r.label, err)
	}
	r.waiting = map[string]chan map[string]any{}
	go r.read()
	ctx, cancel := context.WithTimeout(ctx, setupPatience)
	defer cancel()
	for {
		if err := r.proc.alive(); err != nil {
			return fmt.Errorf("%s: %w", r.label, err)
		}
		short, done := context.WithTimeout(ctx, 200*time.Millisecond)
		_, err := r.ask(short, map[string]any{"command": "ping"})
		done()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not answer: %w", r.label, err)
		}
		<-short.Done()
	}
}

func (r *rtpengine) read() {
	in := make([]byte, 1<<16)
	for {
		n, err := r.ng.Read(in)
		if isClosed(err) {
			return
		}
		if err != nil {
			continue // not there yet
		}
		cookie, text, _ := strings.Cut(string(in[:n]), " ")
		var reply map[string]any
		if json.Unmarshal([]byte(text), &reply) != nil {
			continue
		}
		r.mu.Lock()
		answer := r.waiting[cookie]
		delete(r.waiting, cookie)
		r.mu.Unlock()
		if answer != nil {
			answer <- reply
		}
	}
}

// ask sends a request and waits for its answer.
func (r *rtpengine) ask(ctx context.Context, request map[string]any) (map[string]any, error) {
	b, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	answer := make(chan map[string]any, 1)
	r.mu.Lock()
	r.cookie++
	cookie := fmt.Sprintf("%s_%d", strings.Map(letters, r.label), r.cookie)
	r.waiting[cookie] = answer
	r.mu.Unlock()
	if _, err := r.ng.Write([]byte(cookie + " " + string(b))); err != nil {
		return nil, err
	}
	select {
	case reply := <-answer:
		if reply["result"] == "error" {
			return nil, fmt.Errorf("%v", reply["error-reason"])
		}
		return reply, nil
	case <-ctx.Done():
		return nil, errors.New("no answer")
	}
}

func letters(c rune) rune {
	if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
		return c
	}
	return -1
}

func (r *rtpengine) connect(ctx context.Context, c *call) error {
	// With another number of channels than the offer has, the settings are
	// passed over without a word.
	codecs := map[string]any{
		"mask": []string{"all"}, "transcode": []string{c.phone.codec.name},
		"set": []string{fmt.Sprintf("opus/48000/2/20000//useinbandfec=1/complexity=%d", r.complexity)},
	}
	reply, err := r.ask(ctx, map[string]any{
		"command": "offer", "call-id": c.id, "from-tag": "wa", "sdp": c.customer.offer(r.lite),
		"transport-protocol": "RTP/AVP", "ICE": "remove", "rtcp-mux": []string{"demux"}, "codec": codecs,
		"replace": []string{"origin"},
	})
	if err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	to, err := audioOf(fmt.Sprint(reply["sdp"]))
	if err != nil {
		return err
	}
	c.phone.far.Store(&to)
	if reply, err = r.ask(ctx, map[string]any{
		"command": "answer", "call-id": c.id, "from-tag": "wa", "to-tag": "pbx", "sdp": c.phone.describe(),
		"transport-protocol": "UDP/TLS/RTP/SAVPF", "ICE": "force", "rtcp-mux": []string{"accept"},
		"replace": []string{"origin"},
	}); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	c.customer.learn(fmt.Sprint(reply["sdp"]))
	return nil
}

func (r *rtpengine) stop() {
	if r.ng != nil {
		_ = r.ng.Close()
	}
	if r.proc != nil {
		r.proc.stop()
	}
}

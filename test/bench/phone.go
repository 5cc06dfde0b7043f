package main

import (
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// phone is the PBX end of a call: plain RTP.
type phone struct {
	*port

	codec  codec
	far    atomic.Pointer[netip.AddrPort]
	stream stream
	out    [2048]byte
	hears  *talk
}

func newPhone(c codec, hears *talk) (*phone, error) {
	p, err := openPort()
	if err != nil {
		return nil, err
	}
	return &phone{port: p, codec: c, stream: newStream(c), hears: hears}, nil
}

// describe is the phone's session description.
func (p *phone) describe() string {
	lines := []string{
		"v=0", fmt.Sprintf("o=- %d 1 IN IP4 127.0.0.1", time.Now().UnixMilli()), "s=-", "c=IN IP4 127.0.0.1", "t=0 0",
		fmt.Sprintf("m=audio %d RTP/AVP %d", p.addr.Port(), p.codec.pt),
	}
	if p.codec == opusCodec {
		lines = append(lines, "a=rtpmap:111 opus/48000/2", "a=fmtp:111 useinbandfec=1")
	} else {
		lines = append(lines, "a=rtpmap:8 PCMA/8000")
	}
	lines = append(lines, "a=ptime:20", "a=sendrecv")
	return strings.Join(lines, "\r\n") + "\r\n"
}

// listen takes what has come in.
func (p *phone) listen() { p.drain(p.take) }

// take is for what comes in.
func (p *phone) take(data []byte, _ netip.AddrPort, at int64) {
	if len(data) > 12 && data[0]>>6 == 2 && data[1]&0x7f == p.codec.pt {
		p.hears.came(data[:12], data[12:], at)
	}
}

// say sends one packet of speech.
func (p *phone) say(payload []byte) {
	n := p.stream.next(p.out[:], payload)
	p.send(p.out[:n], *p.far.Load())
}

// audioOf is where a session description wants its audio.
func audioOf(sdp string) (netip.AddrPort, error) {
	var host, port string
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "c=IN IP4 "); ok {
			host = rest
		}
		if rest, ok := strings.CutPrefix(line, "m=audio "); ok {
			port, _, _ = strings.Cut(rest, " ")
		}
	}
	addr, err := netip.ParseAddrPort(host + ":" + port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("no audio address in the session description: %w", err)
	}
	return addr, nil
}

package media

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/pion/rtp"
)

// receive tells the receiver which payload types are what. Digits come on
// Meta's usual type even where nobody asked for them.
func (p *Peer) receive(r *remoteSide) {
	p.receiver.acceptEvents(r.digitType(), narrowRate)
	for _, f := range r.speech { // wins where both have one number
		if c, ok := ParseCodec(f.name); ok && slices.Contains(p.codecs, c) {
			p.receiver.accept(f.pt, c)
		}
	}
}

// sort takes apart what comes over ICE until Close, by its first byte (RFC 7983
// section 7). Media is among it from addresses that were not selected. Nothing
// that comes in ends it: what cannot be used is counted.
func (p *Peer) sort(pipe *dtlsPipe) {
	defer p.guard()
	var in [maxDatagram]byte
	for {
		n, err := pipe.Read(in[:])
		switch {
		case errors.Is(err, io.ErrShortBuffer):
			p.refuse()
			continue
		case err != nil:
			return
		case n < 2:
			p.refuse()
			continue
		}
		data := in[:n]
		switch {
		case data[0] >= 20 && data[0] <= 63:
			_, _ = pipe.in.Write(data) // full: DTLS repeats
		case data[0] < 128 || data[0] > 191:
			p.refuse()
		default:
			p.deliver(data)
		}
	}
}

// read takes media until Close.
func (p *Peer) read() {
	defer p.guard()
	var plain [maxDatagram]byte
	var packet rtp.Packet
	var data []byte
	for rest := p.inbox.take(); rest != nil; rest = p.inbox.take() {
		for len(rest) > 0 {
			if data, rest = first(rest); data[1] >= 192 && data[1] <= 223 { // RFC 5761 section 4
				p.readReport(data)
			} else {
				p.readPacket(data, plain[:0], &packet)
			}
		}
	}
}

func (p *Peer) readPacket(data, plain []byte, packet *rtp.Packet) {
	k := p.keys.Load()
	if k == nil {
		p.refuse()
		return
	}
	opened, err := k.in.DecryptRTP(plain, data, &packet.Header)
	if err == nil {
		err = packet.Unmarshal(opened)
	}
	if err != nil {
		p.refuse() // forged, replayed or not RTP
		return
	}
	p.receiver.receive(&packet.Header, packet.Payload, time.Now())
}

func (p *Peer) readReport(data []byte) {
	k := p.keys.Load()
	if k == nil {
		p.refuse()
		return
	}
	opened, err := k.in.DecryptRTCP(nil, data, nil)
	now := time.Now()
	if err != nil || !p.reporter.read(opened, now) {
		p.refuse()
		return
	}
	p.sender.heed(p.reporter.farEnd(), now)
}

// refuse counts a packet that the receiver never sees.
func (p *Peer) refuse() {
	p.refused.Add(1)
	p.engine.metrics.whatsapp.dropped.malformed.Inc()
}

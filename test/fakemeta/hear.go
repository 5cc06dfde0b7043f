package fakemeta

import (
	"fmt"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

const (
	packetsKept  = 1 << 16 // of a call, for Packets
	packetsAhead = 64      // that may come before the keys are known
	mostLost     = 10      // frames that are concealed at once
)

// Packet is an RTP packet as it arrived.
type Packet struct {
	At        time.Time
	SSRC      uint32
	Sequence  uint16
	Timestamp uint32
	Type      uint8
	Marker    bool
	Size      int  // of the payload
	Early     bool // before the 200 of accept
}

// heard is the customer's ear and its notes.
type heard struct {
	mu      sync.Mutex
	loss    losses
	in      *srtp.Context
	ahead   []sealed
	plain   []byte
	decoder *decoder
	codecs  map[uint8]string
	last    time.Time // RTP or RTCP
	first   time.Time // RTP
	packets []Packet
	streams []*stream
	digits  []rune
	digitAt uint32
	rtcp    RTCP
	bad     int // could not be unsealed or decoded
	early   int
}

// sealed is a packet that came before the keys.
type sealed struct {
	raw   []byte
	at    time.Time
	early bool
}

// RTCP is what the gateway's reports said.
type RTCP struct {
	Packets int       // compound packets
	Senders int       // sender reports
	Last    time.Time // of the last packet
	Bye     bool
	CNAME   string
	// Lost is the share of the customer's packets that the last report says was
	// lost, and Sent the count that the gateway says it has sent.
	Lost float64
	Sent uint32
}

func (h *heard) init() (err error) {
	h.decoder, err = newDecoder()
	return err
}

// take is given every packet in the RTP range.
func (p *peer) take(raw []byte, now time.Time) {
	early := !p.c.outbound && !p.c.confirmed.Load()
	h := &p.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	if !isRTCP(raw) && h.loss.lose() {
		return
	}
	if h.in == nil {
		if len(h.ahead) < packetsAhead {
			h.ahead = append(h.ahead, sealed{append([]byte(nil), raw...), now, early})
		}
		return
	}
	p.unseal(raw, now, early)
}

// unlock gives the ear its keys.
func (p *peer) unlock(in *srtp.Context) {
	h := &p.heard
	h.mu.Lock()
	defer h.mu.Unlock()
	h.in = in
	h.codecs = map[uint8]string{}
	audio, event := p.remote.audio, p.remote.event
	if p.c.outbound {
		audio, event = p.local.audio, p.local.event
	}
	for _, c := range audio {
		h.codecs[c.pt] = c.name
	}
	if event != 0 {
		h.codecs[event] = "telephone-event"
	}
	for _, s := range h.ahead {
		p.unseal(s.raw, s.at, s.early)
	}
	h.ahead = nil
}

// unseal decrypts a packet; RTP is told from RTCP as RFC 5761 says.
func (p *peer) unseal(raw []byte, now time.Time, early bool) {
	h := &p.heard
	if isRTCP(raw) {
		plain, err := h.in.DecryptRTCP(h.plain[:0], raw, nil)
		if err != nil {
			h.bad++
			return
		}
		h.plain = plain
		p.alive(now)
		h.report(plain, now)
		return
	}
	var header rtp.Header
	plain, err := h.in.DecryptRTP(h.plain[:0], raw, &header)
	if err != nil {
		h.bad++
		return
	}
	h.plain = plain
	p.alive(now)
	var pkt rtp.Packet
	if pkt.Unmarshal(plain) != nil {
		h.bad++
		return
	}
	p.note(&pkt, now, early)
}

func isRTCP(raw []byte) bool { return len(raw) > 1 && raw[1] >= 192 && raw[1] < 224 }

// alive notes that there is media; from now on another limit holds.
func (p *peer) alive(now time.Time) {
	if p.heard.last.IsZero() {
		p.c.look()
	}
	p.heard.last = now
}

// note writes the packet down and listens to it.
func (p *peer) note(pkt *rtp.Packet, now time.Time, early bool) {
	h := &p.heard
	if h.first.IsZero() {
		h.first = now
		close(p.c.firstPacket)
	}
	if early {
		if h.early++; h.early == 1 {
			p.blame(EarlyMedia, "RTP before the 200 of accept")
		}
	}
	name, known := h.codecs[pkt.PayloadType]
	if len(h.packets) < packetsKept {
		h.packets = append(h.packets, Packet{
			At: now, SSRC: pkt.SSRC, Sequence: pkt.SequenceNumber, Timestamp: pkt.Timestamp,
			Type: pkt.PayloadType, Marker: pkt.Marker, Size: len(pkt.Payload), Early: early,
		})
	}
	if !known {
		if h.bad++; h.bad == 1 {
			p.blame(UnknownPayload, fmt.Sprintf("RTP of payload type %d", pkt.PayloadType))
		}
		return
	}
	st := p.streamOf(pkt.SSRC)
	event := name == "telephone-event"
	step := uint32(0) // events have no clock of their own
	if !event {
		step = stepOf(name)
	}
	ahead := st.add(pkt.SequenceNumber, pkt.Timestamp, step, now)
	if event {
		h.digit(pkt)
		return
	}
	if ahead < 1 {
		return // late or known
	}
	for range min(ahead-1, mostLost) {
		p.listen(h.decoder.conceal(name), now)
	}
	pcm := h.decoder.decode(name, pkt.Payload)
	if pcm == nil {
		h.bad++
	}
	p.listen(pcm, now)
}

func (p *peer) listen(pcm []int16, now time.Time) {
	if len(pcm) == 0 {
		return
	}
	p.meter.Write(pcm)
	if p.ear != nil {
		p.ear.WriteAt(pcm, now)
	}
}

func (p *peer) streamOf(ssrc uint32) *stream {
	h := &p.heard
	for _, s := range h.streams {
		if s.ssrc == ssrc {
			return s
		}
	}
	if len(h.streams) == 1 {
		p.blame(SecondSSRC, fmt.Sprintf("SSRC %d after %d", ssrc, h.streams[0].ssrc))
	}
	s := &stream{ssrc: ssrc}
	h.streams = append(h.streams, s)
	return s
}

// digit notes a key press of the gateway once, however many packets it has.
func (h *heard) digit(pkt *rtp.Packet) {
	if len(pkt.Payload) < 4 || int(pkt.Payload[0]) >= len(keyNames) {
		h.bad++
		return
	}
	if len(h.digits) == 0 || h.digitAt != pkt.Timestamp {
		h.digits = append(h.digits, rune(keyNames[pkt.Payload[0]]))
		h.digitAt = pkt.Timestamp
	}
}

func (h *heard) report(raw []byte, now time.Time) {
	packets, err := rtcp.Unmarshal(raw)
	if err != nil {
		h.bad++
		return
	}
	h.rtcp.Packets++
	h.rtcp.Last = now
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			h.rtcp.Senders++
			h.rtcp.Sent = p.PacketCount
			h.lossTold(p.Reports)
		case *rtcp.ReceiverReport:
			h.lossTold(p.Reports)
		case *rtcp.SourceDescription:
			for _, c := range p.Chunks {
				for _, i := range c.Items {
					if i.Type == rtcp.SDESCNAME {
						h.rtcp.CNAME = i.Text
					}
				}
			}
		case *rtcp.Goodbye:
			h.rtcp.Bye = true
		}
	}
}

func (h *heard) lossTold(reports []rtcp.ReceptionReport) {
	for _, r := range reports {
		h.rtcp.Lost = float64(r.FractionLost) / 256
	}
}

// reception is the report on the gateway's stream.
func (h *heard) reception() []rtcp.ReceptionReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.streams) == 0 {
		return nil
	}
	return []rtcp.ReceptionReport{h.streams[0].reception()}
}

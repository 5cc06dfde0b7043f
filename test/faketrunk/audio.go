package faketrunk

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/zaf/g711"

	"wagate/test/tone"
)

const (
	rate      = 8000
	frameTime = 20 * time.Millisecond
	frameLen  = 160 // samples
	burst     = 10  // frames sent at once after the machine was late
	rtcpEvery = 5 * time.Second
	dtmfName  = "telephone-event"
	dtmfPT    = 101
)

// Audio is a phone's sound: what it sends, what it hears, and the books of both.
type Audio struct {
	host   netip.Addr
	via    func(rtp, rtcp netip.AddrPort) (Path, Path, error)
	mute   bool // no socket is opened
	script Script
	prefer []codec

	source   tone.Reader
	meter    *tone.Meter
	marker   *tone.Marker
	listener *tone.Listener

	mu        sync.Mutex
	wg        sync.WaitGroup
	conn      *net.UDPConn
	rtcp      *net.UDPConn
	done      chan struct{}
	closed    bool
	started   bool
	id        uint64
	version   int
	codecs    []codec // of our description
	direction Direction
	at        netip.AddrPort // of our description
	paths     [2]Path        // of RTP and RTCP; nil: none
	remote    netip.AddrPort // where RTP goes, through a path if there is one
	control   netip.AddrPort // and RTCP
	sendPT    uint8
	law       string
	dtmfPT    uint8 // towards them; 0: none
	names     map[uint8]string
	changed   chan struct{}

	books  books
	digits digits
	kept   []int16
	out    sender
}

func newAudio(o Options, s Script) *Audio {
	host := netip.MustParseAddr("127.0.0.1")
	if ap, err := netip.ParseAddrPort(o.Addr); err == nil && !ap.Addr().IsUnspecified() {
		host = ap.Addr()
	}
	a := &Audio{
		host: host, via: o.Via, mute: o.Socket != nil, script: s, meter: tone.NewMeter(rate, o.Listen...), done: make(chan struct{}),
		id: uint64(rand.Uint32()), direction: SendRecv, names: map[uint8]string{}, changed: make(chan struct{}),
		out: sender{ssrc: rand.Uint32(), seq: uint16(rand.Uint32()), ts: rand.Uint32()},
	}
	a.books.payloads = map[uint8]int{}
	names := s.Codecs
	if names == nil {
		names = []string{"PCMA", "PCMU"}
	}
	next := uint8(110)
	for _, n := range names {
		pt := next
		for p, static := range staticCodecs {
			if strings.EqualFold(static, n) {
				pt = p
			}
		}
		if pt == next {
			next++
		}
		a.prefer = append(a.prefer, codec{pt, n})
	}
	if !s.NoDTMF {
		a.prefer = append(a.prefer, codec{dtmfPT, dtmfName})
	}
	a.codecs = a.prefer
	freq := o.Tone
	if s.Tone != 0 {
		freq = s.Tone
	}
	a.source = tone.Silence{}
	if freq > 0 {
		a.source = tone.NewSource(freq, rate)
	}
	if s.Voice != nil {
		a.source = s.Voice
	}
	if s.Marker > 0 {
		a.marker, a.listener = tone.NewMarker(rate, s.Marker), tone.NewListener(rate)
		a.source = tone.Mix(a.source, a.marker)
	}
	return a
}

// Meter hears what the phone hears, at 8 kHz: the frequencies of
// Options.Listen. Lost packets are silence.
func (a *Audio) Meter() *tone.Meter { return a.meter }

// Delays are the one-way delays of the markers that arrived, when sent lists
// when they left on this machine.
func (a *Audio) Delays(sent []time.Time) []time.Duration {
	if a.listener == nil {
		return nil
	}
	return tone.Delays(sent, a.listener.Heard())
}

// MarkersSent lists when the phone's own delay markers left.
func (a *Audio) MarkersSent() []time.Time {
	if a.marker == nil {
		return nil
	}
	return a.marker.Sent()
}

// open binds an even port for RTP and the next one for RTCP.
func (a *Audio) open() error {
	if a.conn != nil || a.closed || a.mute {
		return nil
	}
	for range 100 {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: a.host.AsSlice()})
		if err != nil {
			return fmt.Errorf("open RTP: %w", err)
		}
		port := conn.LocalAddr().(*net.UDPAddr).Port
		if port%2 == 0 {
			ctl, err := net.ListenUDP("udp", &net.UDPAddr{IP: a.host.AsSlice(), Port: port + 1})
			if err == nil {
				a.conn, a.rtcp = conn, ctl
				a.wg.Go(a.receive)
				a.wg.Go(a.reports)
				return a.place()
			}
		}
		_ = conn.Close()
	}
	return fmt.Errorf("open RTP: %w", errPorts)
}

// place finds the address that our description tells.
func (a *Audio) place() (err error) {
	port := a.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	a.at = netip.AddrPortFrom(a.host, port)
	if a.via == nil {
		return nil
	}
	if a.paths[0], a.paths[1], err = a.via(a.at, netip.AddrPortFrom(a.host, port+1)); err != nil {
		return fmt.Errorf("put a network before a phone: %w", err)
	}
	a.at = a.paths[0].Addr()
	return nil
}

// aim sets where RTP and RTCP go.
func (a *Audio) aim(remote netip.AddrPort) (err error) {
	a.remote, a.control = remote, netip.AddrPortFrom(remote.Addr(), remote.Port()+1)
	if a.paths[0] == nil {
		return nil
	}
	if a.remote, err = a.paths[0].Toward(a.remote); err != nil {
		return err
	}
	a.control, err = a.paths[1].Toward(a.control)
	return err
}

// close ends all sound. It does not wait for the last packet.
func (a *Audio) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	close(a.done)
	if a.conn != nil {
		_ = a.conn.Close()
		_ = a.rtcp.Close()
	}
}

// answer describes us in answer to an offer; no offer: we offer.
func (a *Audio) answer(offer []byte) ([]byte, error) {
	if len(offer) == 0 {
		return a.offer(SendRecv)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.version > 0 { // 183 and then 200: the same
		return a.describe(), nil
	}
	return a.answerLocked(offer)
}

// reoffered answers an offer inside the dialog.
func (a *Audio) reoffered(offer []byte) ([]byte, error) {
	if len(offer) == 0 {
		return a.offer(SendRecv)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.answerLocked(offer)
}

func (a *Audio) answerLocked(offer []byte) ([]byte, error) {
	s, err := parseSDP(offer)
	if err != nil {
		return nil, err
	}
	var chosen []codec
	for _, mine := range a.prefer {
		if pt, ok := s.find(mine.name); ok && (len(chosen) == 0 || mine.name == dtmfName) {
			chosen = append(chosen, codec{pt, mine.name})
		}
	}
	if len(chosen) == 0 || chosen[0].name == dtmfName {
		return nil, errCodec
	}
	if err := a.open(); err != nil {
		return nil, err
	}
	a.codecs = chosen
	if err := a.use(s, chosen); err != nil {
		return nil, err
	}
	switch s.direction {
	case SendOnly:
		a.direction = RecvOnly
	case RecvOnly:
		a.direction = SendOnly
	case Inactive:
		a.direction = Inactive
	case SendRecv:
		a.direction = SendRecv
	}
	a.version++
	return a.describe(), nil
}

// offer describes us without an offer.
func (a *Audio) offer(d Direction) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.open(); err != nil {
		return nil, err
	}
	a.version++
	a.direction = d
	for _, c := range a.codecs { // from now on they may send any of it
		a.names[c.pt] = c.name
	}
	return a.describe(), nil
}

func (a *Audio) describe() []byte {
	local := netip.AddrPortFrom(a.host, 9)
	if a.conn != nil {
		local = a.at
	}
	return describe(a.id, a.version, local, a.codecs, a.direction)
}

// accept takes the answer to our offer.
func (a *Audio) accept(answer []byte) error {
	s, err := parseSDP(answer)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range s.codecs {
		if c.name != dtmfName && !slices.ContainsFunc(a.codecs, func(o codec) bool { return o.pt == c.pt && strings.EqualFold(o.name, c.name) }) {
			return fmt.Errorf("%w: %s was not offered", errSDP, c.name)
		}
	}
	if len(s.codecs) == 0 || s.codecs[0].name == dtmfName {
		return errCodec
	}
	return a.use(s, s.codecs)
}

// use sets where and how we send and what we understand.
func (a *Audio) use(s session, agreed []codec) error {
	a.law, a.sendPT = agreed[0].name, agreed[0].pt
	a.dtmfPT = 0
	for _, c := range agreed {
		a.names[c.pt] = c.name
		if c.name == dtmfName {
			a.dtmfPT = c.pt
		}
	}
	return a.aim(s.remote)
}

// turn sets the direction without a description.
func (a *Audio) turn(d Direction) (before Direction) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, a.direction = a.direction, d
	return before
}

// start lets the phone send, from now until close.
func (a *Audio) start() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.started || a.closed || a.conn == nil {
		return
	}
	a.started = true
	if !a.script.NoAudio {
		a.wg.Go(a.send)
	}
}

func (a *Audio) receive() {
	buf := make([]byte, 2048)
	var p rtp.Packet
	pcm := make([]int16, 0, 2048)
	for {
		n, from, err := a.conn.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if err != nil {
			if a.isClosed() {
				return
			}
			continue // ICMP: their port was closed for a moment
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		a.mu.Lock()
		if err := p.Unmarshal(buf[:n]); err != nil {
			a.books.strange++
			a.mu.Unlock()
			continue
		}
		name := a.names[p.PayloadType]
		missing, fresh := a.books.note(&p, from, now, name)
		if name == dtmfName {
			a.digits.note(&p)
			a.stir()
		}
		a.mu.Unlock()
		if !fresh {
			continue
		}
		pcm = decode(pcm[:0], name, p.Payload)
		if len(pcm) == 0 {
			continue
		}
		silence(a.meter, missing)
		a.meter.Write(pcm)
		a.keep(missing, pcm)
		if a.listener != nil {
			a.listener.WriteAt(pcm, now)
		}
	}
}

// keep records what is heard, as far as the script wants.
func (a *Audio) keep(missing int, pcm []int16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	room := int(a.script.Keep.Seconds()*rate) - len(a.kept)
	if room <= 0 {
		return
	}
	a.kept = append(a.kept, make([]int16, min(missing, room))...)
	a.kept = append(a.kept, pcm[:min(len(pcm), max(room-missing, 0))]...)
}

// Kept is the beginning of what the phone has heard, at 8 kHz, as long as
// Script.Keep says. Lost packets are silence.
func (a *Audio) Kept() []int16 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.kept)
}

// silence is what a phone without concealment plays for what is missing.
func silence(m *tone.Meter, samples int) {
	var quiet [frameLen]int16
	for ; samples > 0; samples -= frameLen {
		m.Write(quiet[:min(samples, frameLen)])
	}
}

func decode(pcm []int16, name string, payload []byte) []int16 {
	switch strings.ToUpper(name) {
	case "PCMA":
		for _, b := range payload {
			pcm = append(pcm, g711.DecodeAlawFrame(b))
		}
	case "PCMU":
		for _, b := range payload {
			pcm = append(pcm, g711.DecodeUlawFrame(b))
		}
	}
	return pcm
}

// reports counts RTCP and sends some.
func (a *Audio) reports() {
	a.wg.Go(func() {
		tick := time.NewTicker(rtcpEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				a.report()
			case <-a.done:
				return
			}
		}
	})
	buf := make([]byte, 2048)
	for {
		n, _, err := a.rtcp.ReadFromUDPAddrPort(buf)
		if err != nil {
			if a.isClosed() {
				return
			}
			continue
		}
		now := time.Now()
		list, err := rtcp.Unmarshal(buf[:n])
		a.mu.Lock()
		if err != nil {
			a.books.strange++
		} else {
			a.books.rtcp++
			a.books.told.note(list, a.out.ssrc, now)
		}
		a.mu.Unlock()
	}
}

func (a *Audio) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

// stir wakes who waits for digits. The caller holds a.mu.
func (a *Audio) stir() {
	close(a.changed)
	a.changed = make(chan struct{})
}

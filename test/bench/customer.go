package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v3"
	"github.com/pion/transport/v4/packetio"
)

// customer is the WebRTC end of a call, as Meta's relay is: ICE-lite, DTLS
// server, one stream of speech.
type customer struct {
	*port

	id         *identity
	ufrag, pwd string
	integrity  stun.MessageIntegrity
	far        atomic.Pointer[netip.AddrPort] // nominated
	whole      atomic.Pointer[credentials]    // of a far end that leaves nominating to us
	asks       atomic.Pointer[netip.AddrPort] // where it is
	paired     chan struct{}
	once       sync.Once
	shake      *packetio.Buffer
	dtls       *dtls.Conn

	out    *srtp.Context // the talker's
	stream stream
	plain  [2048]byte
	sealed [2048]byte
	header rtp.Header

	in    atomic.Pointer[srtp.Context] // the reader's
	open  [2048]byte
	head  rtp.Header
	hears *talk // what comes from the PBX
	seen  atomic.Uint64
}

func newCustomer(id *identity, hears *talk) (*customer, error) {
	p, err := openPort()
	if err != nil {
		return nil, err
	}
	pwd := fmt.Sprintf("%032x", rand.Uint64())
	return &customer{
		port: p, id: id, ufrag: fmt.Sprintf("%016x", rand.Uint64()), pwd: pwd,
		integrity: stun.NewShortTermIntegrity(pwd), paired: make(chan struct{}),
		shake: packetio.NewBuffer(), stream: newStream(opusCodec), hears: hears,
	}, nil
}

// offer is the session description in Meta's words.
func (c *customer) offer(lite bool) string {
	lines := []string{
		"v=0", fmt.Sprintf("o=- %d 2 IN IP4 127.0.0.1", time.Now().UnixMilli()), "s=-", "t=0 0",
		"a=group:BUNDLE audio", "a=msid-semantic: WMS bench",
		fmt.Sprintf("m=audio %d UDP/TLS/RTP/SAVPF 111", c.addr.Port()),
		"c=IN IP4 127.0.0.1", "a=rtcp:9 IN IP4 0.0.0.0",
		fmt.Sprintf("a=candidate:2275956755 1 udp 2122260223 127.0.0.1 %d typ host generation 0 network-cost 50", c.addr.Port()),
		"a=ice-ufrag:" + c.ufrag, "a=ice-pwd:" + c.pwd, "a=fingerprint:sha-256 " + c.id.print,
		"a=setup:actpass", "a=mid:audio", "a=sendrecv", "a=msid:bench WhatsAppTrack1", "a=rtcp-mux",
		"a=rtpmap:111 opus/48000/2",
		"a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1",
		"a=maxptime:20", "a=ptime:20", fmt.Sprintf("a=ssrc:%d cname:bench", c.stream.ssrc),
	}
	if lite {
		lines = slices.Insert(lines, 4, "a=ice-lite")
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// take sorts what comes in by its first byte (RFC 7983).
func (c *customer) take(data []byte, from netip.AddrPort, at int64) {
	switch {
	case len(data) < 12:
	case data[0] < 4:
		c.check(data, from)
	case data[0] >= 20 && data[0] < 64:
		_, _ = c.shake.Write(data)
	case data[0] >= 128 && data[1]&0x7f != 72 && data[1]&0x7f != 73: // not RTCP
		in := c.in.Load()
		if in == nil {
			return
		}
		plain, err := in.DecryptRTP(c.open[:0], data, &c.head)
		if err != nil {
			return
		}
		c.seen.Store(uint64(c.head.SSRC)<<32 | uint64(c.head.SequenceNumber))
		c.hears.came(plain[:12], plain[c.head.MarshalSize():], at)
	}
}

// listen takes what has come in.
func (c *customer) listen() { c.drain(c.take) }

// say sends one packet of speech, by the talker's goroutine alone.
func (c *customer) say(payload []byte) {
	n := c.stream.next(c.plain[:], payload)
	sealed, err := c.out.EncryptRTP(c.sealed[:0], c.plain[:n], &c.header)
	if err == nil {
		c.send(sealed, *c.far.Load())
	}
}

// report tells the gateway that all of its packets came: a receiver report.
func (c *customer) report() {
	seen := c.seen.Load()
	if seen == 0 {
		return
	}
	b := make([]byte, 32)
	b[0], b[1], b[3] = 0x81, 201, 7
	binary.BigEndian.PutUint32(b[4:], c.stream.ssrc)
	binary.BigEndian.PutUint32(b[8:], uint32(seen>>32))
	binary.BigEndian.PutUint32(b[16:], uint32(uint16(seen)))
	if sealed, err := c.out.EncryptRTCP(nil, b, nil); err == nil {
		c.send(sealed, *c.far.Load())
	}
}

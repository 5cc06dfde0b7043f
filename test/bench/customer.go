package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
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
	codec      codec
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

// identity is the certificate of all customers.
type identity struct {
	cert  tls.Certificate
	print string
}

func newIdentity() (*identity, error) {
	cert, err := selfsign.GenerateSelfSigned()
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	sum := sha256.Sum256(cert.Certificate[0])
	var b strings.Builder
	for i, v := range sum {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{v})))
	}
	return &identity{cert, b.String()}, nil
}

func newCustomer(id *identity, c codec, hears *talk) (*customer, error) {
	p, err := openPort()
	if err != nil {
		return nil, err
	}
	pwd := fmt.Sprintf("%032x", rand.Uint64())
	return &customer{
		port: p, id: id, codec: c, ufrag: fmt.Sprintf("%016x", rand.Uint64()), pwd: pwd,
		integrity: stun.NewShortTermIntegrity(pwd), paired: make(chan struct{}),
		shake: packetio.NewBuffer(), stream: newStream(c), hears: hears,
	}, nil
}

// offer is the session description in Meta's words.
func (c *customer) offer(lite bool) string {
	lines := []string{
		"v=0", fmt.Sprintf("o=- %d 2 IN IP4 127.0.0.1", time.Now().UnixMilli()), "s=-", "t=0 0",
		"a=group:BUNDLE audio", "a=msid-semantic: WMS bench",
		fmt.Sprintf("m=audio %d UDP/TLS/RTP/SAVPF %d", c.addr.Port(), c.codec.pt),
		"c=IN IP4 127.0.0.1", "a=rtcp:9 IN IP4 0.0.0.0",
		fmt.Sprintf("a=candidate:2275956755 1 udp 2122260223 127.0.0.1 %d typ host generation 0 network-cost 50", c.addr.Port()),
		"a=ice-ufrag:" + c.ufrag, "a=ice-pwd:" + c.pwd, "a=fingerprint:sha-256 " + c.id.print,
		"a=setup:actpass", "a=mid:audio", "a=sendrecv", "a=msid:bench WhatsAppTrack1", "a=rtcp-mux",
	}
	if lite {
		lines = slices.Insert(lines, 4, "a=ice-lite")
	}
	if c.codec == opusCodec {
		lines = append(
			lines, "a=rtpmap:111 opus/48000/2",
			"a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1",
		)
	} else {
		lines = append(lines, "a=rtpmap:8 PCMA/8000")
	}
	lines = append(lines, "a=maxptime:20", "a=ptime:20", fmt.Sprintf("a=ssrc:%d cname:bench", c.stream.ssrc))
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

// check answers a connectivity check.
func (c *customer) check(data []byte, from netip.AddrPort) {
	m := &stun.Message{Raw: append([]byte(nil), data...)}
	if m.Decode() != nil {
		return
	}
	if m.Type == stun.BindingSuccess {
		c.pair(from)
	}
	if m.Type != stun.BindingRequest {
		return
	}
	answer, err := stun.Build(
		stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess,
		&stun.XORMappedAddress{IP: from.Addr().AsSlice(), Port: int(from.Port())}, c.integrity, stun.Fingerprint,
	)
	if err != nil {
		return
	}
	c.send(answer.Raw, from)
	if m.Contains(stun.AttrUseCandidate) {
		c.pair(from)
	}
	if m.Contains(stun.AttrICEControlled) {
		c.asks.Store(&from)
		c.nominate()
	}
}

func (c *customer) pair(with netip.AddrPort) {
	c.far.Store(&with)
	c.once.Do(func() { close(c.paired) })
}

// credentials are those of the far end's ICE.
type credentials struct{ ufrag, pwd string }

// learn is for a gateway that does not know ICE-lite: it has to be nominated.
func (c *customer) learn(sdp string) {
	var far credentials
	for line := range strings.Lines(sdp) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "a=ice-ufrag:"); ok {
			far.ufrag = v
		}
		if v, ok := strings.CutPrefix(line, "a=ice-pwd:"); ok {
			far.pwd = v
		}
	}
	c.whole.Store(&far)
	c.nominate()
}

// nominate makes a check that nominates, as soon as both is known: the far
// end's credentials and its address.
func (c *customer) nominate() {
	far, to := c.whole.Load(), c.asks.Load()
	if far == nil || to == nil {
		return
	}
	flag := stun.RawAttribute{Type: stun.AttrUseCandidate}
	controlling := stun.RawAttribute{Type: stun.AttrICEControlling, Value: make([]byte, 8)}
	priority := stun.RawAttribute{Type: stun.AttrPriority, Value: binary.BigEndian.AppendUint32(nil, 2122260223)}
	m, err := stun.Build(
		stun.TransactionID, stun.BindingRequest, stun.NewUsername(far.ufrag+":"+c.ufrag), setters{flag, controlling, priority},
		stun.NewShortTermIntegrity(far.pwd), stun.Fingerprint,
	)
	if err == nil {
		c.send(m.Raw, *to)
	}
}

// setters add attributes to a STUN message.
type setters []stun.RawAttribute

// AddTo is for stun.Build.
func (s setters) AddTo(m *stun.Message) error {
	for _, a := range s {
		m.Add(a.Type, a.Value)
	}
	return nil
}

// secure waits for ICE and runs DTLS as its server.
func (c *customer) secure(ctx context.Context) error {
	select {
	case <-c.paired:
	case <-ctx.Done():
		return errors.New("ICE did not come up")
	}
	conn, err := dtls.ServerWithOptions(
		(*shaker)(c), net.UDPAddrFromAddrPort(*c.far.Load()),
		dtls.WithCertificates(c.id.cert),
		dtls.WithSRTPProtectionProfiles(dtls.SRTP_AES128_CM_HMAC_SHA1_80), // both gateways have it
		dtls.WithInsecureSkipVerify(true),
		dtls.WithClientAuth(dtls.RequireAnyClientCert),
	)
	if err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	c.dtls = conn
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("DTLS: %w", err)
	}
	state, ok := conn.ConnectionState()
	if !ok {
		return errors.New("DTLS: no state")
	}
	cfg := srtp.Config{Profile: srtp.ProtectionProfileAes128CmHmacSha1_80}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, false); err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	in, err := srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile)
	if err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	if c.out, err = srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile); err != nil {
		return fmt.Errorf("SRTP keys: %w", err)
	}
	c.in.Store(in)
	return nil
}

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

// shaker is the customer's port as DTLS sees it.
type shaker customer

func (s *shaker) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := s.shake.Read(b)
	return n, s.LocalAddr(), err
}

func (s *shaker) WriteTo(b []byte, _ net.Addr) (int, error) {
	s.send(b, *s.far.Load())
	return len(b), nil
}

func (s *shaker) Close() error                       { return s.shake.Close() }
func (s *shaker) LocalAddr() net.Addr                { return net.UDPAddrFromAddrPort(s.addr) }
func (s *shaker) SetDeadline(t time.Time) error      { return s.shake.SetReadDeadline(t) }
func (s *shaker) SetReadDeadline(t time.Time) error  { return s.shake.SetReadDeadline(t) }
func (s *shaker) SetWriteDeadline(_ time.Time) error { return nil }

// stream numbers the packets of one side.
type stream struct {
	codec     codec
	ssrc      uint32
	sequence  uint16
	timestamp uint32
}

func newStream(c codec) stream {
	return stream{codec: c, ssrc: rand.Uint32(), sequence: uint16(rand.Uint32()), timestamp: rand.Uint32()}
}

// next writes an RTP packet.
func (s *stream) next(out, payload []byte) int {
	out[0], out[1] = 0x80, s.codec.pt
	binary.BigEndian.PutUint16(out[2:], s.sequence)
	binary.BigEndian.PutUint32(out[4:], s.timestamp)
	binary.BigEndian.PutUint32(out[8:], s.ssrc)
	s.sequence++
	s.timestamp += s.codec.ticks
	return 12 + copy(out[12:], payload)
}

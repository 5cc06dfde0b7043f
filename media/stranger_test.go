package media

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"wagate/test/tone"
)

// Who is not named in the answer is neither heard nor answered: before the
// answer, after it, on either port (RTP bleed and injection).
func TestSocketIgnoresStrangers(t *testing.T) {
	for _, nat := range []bool{false, true} {
		t.Run(fmt.Sprint("nat ", nat), func(t *testing.T) {
			e := pbxEngine(t, nil)
			s := pbxSocket(t, e, func(o *SocketOptions) { o.NAT = nat })
			listener := newEar(440, 1000)
			s.SetSink(listener, Format{Rate: narrowRate})
			evil := newPBX(t, "127.0.0.2")
			evil.tone = tone.NewSource(1000, narrowRate)
			n := uint64(0)
			spray := func() {
				for range 20 {
					evil.ssrc = rand.Uint32()
					evil.to = s.testAddr()
					evil.say()
					evil.to = netip.AddrPortFrom(s.local, s.pair.port+1)
					evil.say()
					n += 2
				}
				until(t, "the spray was counted", func() bool { return s.Stats().Dropped >= n })
			}
			spray()
			p := answeredPBX(t, s)
			spray()
			s.Open()
			for range 50 {
				p.say()
				spray()
				p.hear()
			}
			wait(t, "the PBX was heard", s.Heard())
			s.SetSink(nil, Format{})
			if evil.hears() {
				t.Error("the stranger got a packet")
			}
			if db, heard := listener.meter.Level(1000); heard {
				t.Errorf("the stranger was heard, %.1f dB", db)
			}
			if st := s.Stats(); st.PacketsIn != 50 || st.Lost != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// Behind NAT the PBX names an address of its own network; the first packet of
// the trunk shows the real one, and later ones do not move it.
func TestLearnedAddress(t *testing.T) {
	e := pbxEngine(t, nil)
	s := pbxSocket(t, e, func(o *SocketOptions) { o.NAT = true })
	p, late := newPBX(t, "127.0.0.1"), newPBX(t, "127.0.0.1")
	p.to, late.to = s.testAddr(), s.testAddr()
	answer := strings.ReplaceAll(string(p.sdp("8 101")), "127.0.0.1", "192.168.7.7")
	answer = strings.ReplaceAll(answer, fmt.Sprint("m=audio ", port(p.rtp)), "m=audio 9")
	if err := s.SetAnswer([]byte(answer)); err != nil {
		t.Fatal(err)
	}
	s.Open()
	p.say()
	p.hear()
	late.say()
	until(t, "the second source is a stranger", func() bool { return s.Stats().Dropped == 1 })
	p.say()
	p.hear()
	if late.hears() {
		t.Error("a second source moved the audio")
	}
}

func TestForbiddenAddresses(t *testing.T) {
	e := pbxEngine(t, nil)
	remote := netip.MustParseAddr("192.0.2.10")
	s := pbxSocket(t, e, func(o *SocketOptions) {
		o.Remote = remote
		o.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("0.0.0.0/1")}
	})
	answer := func(addr string) error {
		return s.SetAnswer(fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n", addr))
	}
	for _, addr := range []string{"198.51.100.1", "127.0.0.1", "224.0.0.1", "239.1.2.3", "255.255.255.255", "169.254.169.254"} {
		if err := answer(addr); !errors.Is(err, ErrForbiddenAddress) {
			t.Errorf("%s: %v, want ErrForbiddenAddress", addr, err)
		}
	}
	if err := answer("pbx.example.com"); !errors.Is(err, ErrBadSDP) {
		t.Errorf("a host name: %v, want ErrBadSDP", err)
	}
	if s.path.Load() != nil || s.Codec() != NoCodec {
		t.Error("a refused answer left something behind")
	}
	for _, addr := range []string{"192.0.2.10", "192.0.2.99", "10.0.0.1"} {
		if err := answer(addr); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	// Where the trunk itself is on this host, so may its audio be, but never we.
	own := pbxSocket(t, e, nil)
	loop := fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n", own.pair.port)
	if err := own.SetAnswer(loop); !errors.Is(err, ErrForbiddenAddress) {
		t.Errorf("our own port: %v, want ErrForbiddenAddress", err)
	}
}

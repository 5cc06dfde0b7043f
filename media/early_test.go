package media

import (
	"net/netip"
	"testing"
	"time"
)

// TestWordOvertakesTheAnswer: what the phone says before its answer is here is
// heard, from the address that the answer names, and in order; nothing of a ring
// tone and nothing of anybody else.
func TestWordOvertakesTheAnswer(t *testing.T) {
	trunk := netip.MustParsePrefix("127.0.0.0/8")
	elsewhere := netip.MustParseAddrPort("127.0.0.9:4000")
	stranger := netip.MustParseAddrPort("192.0.2.1:4000")
	for _, c := range []struct {
		name  string
		hold  Codec
		ages  []time.Duration // of the packets when the answer comes
		from  netip.AddrPort  // zero: the phone
		heard uint64
	}{
		{"a word", Opus, []time.Duration{60, 40, 20}, netip.AddrPort{}, 3},
		{"nobody waits for it", NoCodec, []time.Duration{60, 40, 20}, netip.AddrPort{}, 0},
		{"a ring tone", Opus, []time.Duration{900, 880, 60, 40, 20}, netip.AddrPort{}, 0},
		{"another address of the trunk", Opus, []time.Duration{60, 40, 20}, elsewhere, 0},
		{"a stranger", Opus, []time.Duration{60, 40, 20}, stranger, 0},
		{"a flood", Opus, make([]time.Duration, 100), netip.AddrPort{}, earlyMost},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := pbxEngine(t, nil)
			s := pbxSocket(t, e, func(o *SocketOptions) { o.Hold, o.Sources = c.hold, []netip.Prefix{trunk} })
			p := newPBX(t, "127.0.0.1")
			from := c.from
			if !from.IsValid() {
				from = netip.AddrPortFrom(loopback, port(p.rtp))
			}
			now := time.Now()
			for _, age := range c.ages {
				data, at := p.packet(), now.Add(-age*time.Millisecond)
				if !s.early.keep(data, from, at, s) {
					s.take(data, from, at, nil)
				}
			}
			if err := s.SetAnswer(p.sdp("8 101")); err != nil {
				t.Fatal(err)
			}
			st := s.Stats()
			if st.PacketsIn != c.heard || st.Lost+st.Late != 0 || st.PacketsIn+st.Dropped != uint64(len(c.ages)) {
				t.Errorf("%d packets taken, %d late or lost, %d dropped; want %d of %d taken", st.PacketsIn, st.Lost+st.Late, st.Dropped, c.heard, len(c.ages))
			}
			if e := &s.early; !e.over.Load() || e.list != nil {
				t.Errorf("%d packets are still kept", len(e.list))
			}
		})
	}
}

package media

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// TestSocketsOverIPv6 describe themselves with IPv6 addresses and hear each other
// there, from a socket of one family and from one of both.
func TestSocketsOverIPv6(t *testing.T) {
	here := netip.MustParseAddr("::1")
	for _, bind := range []string{"::1", "::"} {
		t.Run(bind, func(t *testing.T) {
			e := pbxEngine(t, func(c *config.Media) { c.RTP.Bind = netip.MustParseAddr(bind) })
			socket := func() *Socket { return pbxSocket(t, e, func(o *SocketOptions) { o.Remote = here }) }
			a, b := socket(), socket()
			offer := a.Offer()
			answer, err := b.Answer(offer)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.SetAnswer(answer); err != nil {
				t.Fatal(err)
			}
			for _, sdp := range [][]byte{offer, answer} {
				if !strings.Contains(string(sdp), "\r\nc=IN IP6 ::1\r\n") {
					t.Errorf("described as\n%s", sdp)
				}
			}
			a.Open()
			b.Open()
			for _, s := range []*Socket{a, b} {
				select {
				case <-s.Heard():
				case <-time.After(30 * time.Second):
					t.Fatalf("nothing was heard: %v", s.Err())
				}
			}
		})
	}
}

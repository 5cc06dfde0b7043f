package peers

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// Loopback returns addresses of the loopback, by their last byte, that are the
// test's own: everybody can have the ports that the guides write.
func Loopback(tb testing.TB) (address func(last byte) netip.Addr) {
	tb.Helper()
	for range 100 {
		b, c := byte(1+rand.IntN(254)), byte(1+rand.IntN(254))
		address = func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, b, c, last}) }
		claim, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address(1), sipPort)))
		if err == nil {
			tb.Cleanup(func() { _ = claim.Close() })
			return address
		}
	}
	tb.Fatal("no free addresses")
	return nil
}

// boundAt says whether a UDP socket has exactly this address.
func boundAt(addr netip.AddrPort) bool {
	text, err := os.ReadFile("/proc/net/udp")
	b := addr.Addr().As4()
	return err == nil && strings.Contains(string(text), fmt.Sprintf("%02X%02X%02X%02X:%04X ", b[3], b[2], b[1], b[0], addr.Port()))
}

package config

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// TestAddressesThatCannotAllBeTrue: which of them is said to be wrong.
func TestAddressesThatCannotAllBeTrue(t *testing.T) {
	for _, row := range []struct {
		name, listen, host, bind, ip string
		want                         string // path and what is said of it; "" for nothing
	}{
		{"no NAT", "udp://0.0.0.0:5060", "", "0.0.0.0", "", ""},
		{"both told", "udp://0.0.0.0:5060", "198.51.100.7", "0.0.0.0", "198.51.100.7", ""},
		{"both told, a port too", "udp://0.0.0.0:5060", "198.51.100.7:5080", "0.0.0.0", "198.51.100.7", ""},
		{"a name", "udp://0.0.0.0:5060", "gw.example.com", "0.0.0.0", "198.51.100.7", ""},
		{"a name inside", "udp://10.0.0.1:5060", "gw.example.com", "10.0.0.1", "", ""},
		{"an address of ours", "udp://198.51.100.7:5060", "198.51.100.7", "198.51.100.7", "", ""},
		{"an address of ours, for audio", "udp://198.51.100.7:5060", "", "0.0.0.0", "198.51.100.7", ""},
		{"private", "udp://0.0.0.0:5060", "10.0.0.1", "0.0.0.0", "", ""},
		{"audio untold", "udp://0.0.0.0:5060", "198.51.100.7", "0.0.0.0", "", "sip.public_host: 198.51.100.7 takes the calls"},
		{"calls untold", "udp://0.0.0.0:5060", "", "0.0.0.0", "198.51.100.7", "media.rtp.public_ip: 198.51.100.7 takes the audio"},
		{"calls untold, inside", "udp://0.0.0.0:5060", "", "0.0.0.0", "10.0.0.7", ""},
		{"nobody", "udp://0.0.0.0:5060", "0.0.0.0", "0.0.0.0", "", "sip.public_host: 0.0.0.0 is no one's address"},
		{"nobody, IPv6", "udp://[::]:5060", "[::]:5060", "::", "", "sip.public_host: :: is no one's address"},
		{"loopback only", "tcp://127.0.0.1:5060", "198.51.100.7", "0.0.0.0", "198.51.100.7", "sip.public_host: nobody reaches 198.51.100.7"},
		{"loopback only, audio", "udp://0.0.0.0:5060", "198.51.100.7", "127.0.0.1", "198.51.100.7", "media.rtp.public_ip: nobody reaches 198.51.100.7"},
		{"another family", "udp://0.0.0.0:5060", "2001:db8::7", "::", "2001:db8::7", "sip.public_host: 2001:db8::7 is of another family"},
		{"both families", "udp://[::]:5060", "198.51.100.7", "::", "198.51.100.7", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := fullConfig(t)
			if err != nil {
				t.Fatal(err)
			}
			c.SIP.Listen, c.SIP.PublicHost = []string{row.listen}, row.host
			c.Media.RTP.Bind = netip.MustParseAddr(row.bind)
			if row.ip != "" {
				c.Media.RTP.PublicIP = netip.MustParseAddr(row.ip)
			}
			err = c.Validate()
			if row.want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 {
				t.Fatalf("got %v", err)
			}
			path, what, _ := strings.Cut(row.want, ": ")
			if f := faults[0]; f.Path != path || !strings.HasPrefix(f.What, what) || f.Hint == "" {
				t.Errorf("got %v, want %s", f, row.want)
			}
		})
	}
}

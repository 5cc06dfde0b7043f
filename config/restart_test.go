package config

import (
	"net/netip"
	"slices"
	"testing"
)

func TestNeedsRestart(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"nothing", func(*Config) {}, nil},
		{"what a reload may change", func(c *Config) {
			c.Log.Level = "debug"
			c.Trunks = []Trunk{DefaultTrunk()}
			c.Routes = []Route{{Name: "a"}}
			c.Limits.Calls = 7
			c.WhatsApp.AppSecrets = []Secret{"new"}
			c.HTTP.Admin.Token = "new"
		}, nil},
		{"order of listeners", func(c *Config) { slices.Reverse(c.SIP.Listen) }, nil},
		{"addresses", func(c *Config) {
			c.SIP.Listen = []string{"udp://0.0.0.0:5070"}
			c.SIP.PublicHost = "sip.example.com"
			c.Media.RTP.Ports.Last = 20099
			c.Media.WebRTC.PublicIPs = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
			c.HTTP.Webhook.Listen = "0.0.0.0:443"
			c.HTTP.Admin.Listen = "127.0.0.1:1"
			c.DataDir, c.Node = "/srv", "gw2"
		}, []string{
			"node", "data_dir", "http.webhook.listen", "http.admin.listen", "media.webrtc.public_ips",
			"media.rtp.ports", "sip.listen", "sip.public_host",
		}},
	}
	for _, tt := range tests {
		old, changed := Default(), Default()
		old.SIP.Listen = []string{"udp://0.0.0.0:5060", "tcp://0.0.0.0:5060"}
		changed.SIP.Listen = slices.Clone(old.SIP.Listen)
		tt.change(changed)
		if got := NeedsRestart(old, changed); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

package config

import (
	"net/netip"
	"os"
	"time"
)

// Default returns the settings that hold where the file is silent. Numbers,
// secrets and trunks have none: they are required.
func Default() *Config {
	return &Config{
		Node:    hostName(),
		DataDir: "/var/lib/wagate",
		Log:     Log{Level: "info", Format: "json"},
		HTTP: HTTP{
			Webhook: Webhook{Listen: "0.0.0.0:8443", Path: "/whatsapp/webhook"},
			Admin:   Admin{Listen: "127.0.0.1:9464"},
		},
		WhatsApp: WhatsApp{GraphURL: "https://graph.facebook.com", GraphVersion: "v26.0"},
		Media: Media{
			WebRTC:       WebRTC{Listen: netip.MustParseAddrPort("0.0.0.0:40000")},
			RTP:          RTP{Bind: netip.IPv4Unspecified(), Ports: PortRange{First: 20000, Last: 29999}},
			Opus:         Opus{Bitrate: 20000, Complexity: ComplexityAuto, FEC: Auto},
			Timeout:      20 * time.Second,
			ICETimeout:   30 * time.Second,
			SetupTimeout: 8 * time.Second,
		},
		SIP: SIP{Listen: []string{"udp://0.0.0.0:5060"}},
		Permissions: Permissions{
			CallWindow:          Window(72 * time.Hour),
			AutoRequest:         true,
			Request:             AskMessage{Text: "May we call you?"},
			RequestsPer24h:      1,
			RequestsPer7d:       2,
			StopAfterUnanswered: 3,
			CallbackWithin:      30 * time.Minute,
		},
		Limits: Limits{
			Calls:        500,
			CPU:          75,
			MaxDuration:  4 * time.Hour,
			DrainTimeout: 30 * time.Minute,
			AnswerWindow: 50 * time.Second,
		},
		Retention: Retention{Journal: 192 * time.Hour, Records: 2160 * time.Hour},
	}
}

// DefaultTrunk returns a trunk with everything but its name and targets.
func DefaultTrunk() Trunk {
	return Trunk{
		FromUser:        "caller",
		CallerFormat:    "e164",
		Challenge:       Challenge{Algorithms: []string{"MD5", "SHA-256"}},
		Register:        Register{Expires: 300 * time.Second},
		Codecs:          []string{"PCMA", "PCMU"},
		DTMF:            "rfc4733",
		SRTP:            "off",
		OptionsInterval: 30 * time.Second,
		SessionExpires:  1800 * time.Second,
		MaxCalls:        100,
		MaxCPS:          10,
	}
}

// How long one target rings where the route does not say.
const (
	ringInbound  = 28 * time.Second
	ringOverflow = 20 * time.Second // inbound with somewhere else to go
	ringOutbound = 45 * time.Second
)

// defaults fills in what an element of a list has before it is read.
func (n *Number) defaults() { n.Codecs = []string{"opus"} }
func (t *Trunk) defaults()  { *t = DefaultTrunk() }

// ringDefault is the ring_timeout of a route that names none.
func (r Route) ringDefault() time.Duration {
	switch {
	case r.Direction == outbound:
		return ringOutbound
	case len(r.Overflow) > 0:
		return ringOverflow
	default:
		return ringInbound
	}
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil || !isName(name) {
		return "wagate"
	}
	return name
}

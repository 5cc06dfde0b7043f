package gateway

import (
	"fmt"
	"testing"

	"wagate/config"
	"wagate/media"
)

func TestKeysTravelOverTLSAlone(t *testing.T) {
	for _, c := range []struct {
		srtp, target string
		want         media.Security
	}{
		{"off", "sip:10.0.0.5;transport=tls", media.SecureOff},
		{"optional", "sip:10.0.0.5;transport=tls", media.SecureOptional},
		{"optional", "sip:10.0.0.5;transport=udp", media.SecureOff},
		{"required", "sip:10.0.0.5:5061;Transport=TLS;lr", media.SecureRequired},
		{"required", "sips:pbx.example.com", media.SecureRequired},
		{"optional", "", media.SecureOff},
	} {
		if got := securityOf(config.Trunk{SRTP: c.srtp}, c.target); got != c.want {
			t.Errorf("srtp %s towards %q: %v, want %v", c.srtp, c.target, got, c.want)
		}
	}
}

func TestSpeechOfTheWhatsAppLeg(t *testing.T) {
	for _, c := range []struct {
		number []string
		trunk  string
		want   string
	}{
		{[]string{"opus"}, "PCMA", "[opus]"},
		{[]string{"opus", "PCMA", "PCMU"}, "PCMA", "[PCMA opus PCMU]"},
		{[]string{"opus", "PCMA", "PCMU"}, "PCMU", "[PCMU opus PCMA]"},
		{[]string{"opus", "PCMA"}, "opus", "[opus PCMA]"},
		{[]string{"opus", "PCMA"}, "G722", "[opus PCMA]"},
		{[]string{"PCMA", "opus"}, "PCMU", "[PCMA opus]"},
		{[]string{"PCMA", "opus"}, "opus", "[opus PCMA]"},
		{nil, "PCMA", "[]"},
	} {
		before := fmt.Sprint(c.number)
		if got := fmt.Sprint(speechFor(c.number, c.trunk)); got != c.want {
			t.Errorf("%v towards %s: %s, want %s", c.number, c.trunk, got, c.want)
		}
		if fmt.Sprint(c.number) != before {
			t.Errorf("the configuration was changed to %v", c.number)
		}
	}
}

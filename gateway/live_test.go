package gateway

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

// optionsPeer is a PBX that answers every request with 200.
func optionsPeer(t *testing.T) string {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var answer strings.Builder
			answer.WriteString("SIP/2.0 200 OK\r\n")
			for line := range bytes.SplitSeq(buf[:n], []byte("\r\n")) {
				name, _, _ := strings.Cut(string(line), ":")
				if slices.Contains([]string{"Via", "From", "To", "Call-ID", "CSeq"}, name) {
					answer.Write(line)
					if name == "To" {
						answer.WriteString(";tag=x")
					}
					answer.WriteString("\r\n")
				}
			}
			answer.WriteString("Content-Length: 0\r\n\r\n")
			conn.WriteTo([]byte(answer.String()), from)
		}
	}()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func TestLiveChecks(t *testing.T) {
	meta := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.Header().Set("Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
		case r.Header.Get("Authorization") == "Bearer good":
			fmt.Fprint(w, `{"id":"1"}`)
		default:
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":{"code":190,"message":"expired"}}`)
		}
	}))
	defer meta.Close()
	taken, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()

	c := config.Default()
	c.WhatsApp.GraphURL = meta.URL
	c.WhatsApp.Numbers = []config.Number{{Name: "a", PhoneNumberID: "1", AccessToken: "good"}, {Name: "b", PhoneNumberID: "2", AccessToken: "bad"}}
	c.HTTP.Webhook.Listen, c.HTTP.Admin.Listen = "127.0.0.1:0", "192.0.2.1:1"
	c.Media.WebRTC.Listen = netip.MustParseAddrPort(taken.LocalAddr().String())
	c.Media.RTP.Bind = netip.MustParseAddr("127.0.0.1")
	c.SIP.Listen = []string{"udp://127.0.0.1:0", "tls://127.0.0.1:0"}
	c.SIP.TLS = config.TLS{Cert: "../config/testdata/tls.crt", Key: "../config/testdata/tls.key"}
	stranger := httptest.NewTLSServer(http.NotFoundHandler()) // signed by nobody
	defer stranger.Close()
	secret := config.DefaultTrunk()
	secret.Name, secret.Targets = "secret", []config.Target{{URI: "sips:" + stranger.Listener.Addr().String()}}
	up, down := config.DefaultTrunk(), config.DefaultTrunk()
	up.Name, up.Targets = "up", []config.Target{{URI: "sip:" + optionsPeer(t)}}
	down.Name, down.Targets = "down", []config.Target{{URI: "sip:127.0.0.1:9"}}
	c.Trunks = []config.Trunk{up, down, secret}

	got := make(map[string]Verdict)
	CheckLive(t.Context(), c, func(f Finding) {
		f.What = strings.Replace(f.What, stranger.Listener.Addr().String(), "STRANGER", 1)
		if strings.Contains(f.What, "STRANGER") && !strings.Contains(f.Detail, "signed by no CA") {
			t.Errorf("of a target with a bad certificate it is said: %s", f.Detail)
		}
		got[f.What] = f.Verdict
		if (f.Hint == "") != (f.Verdict == VerdictOK) {
			t.Errorf("hint of %+v", f)
		}
	})
	want := map[string]Verdict{
		"graph api": VerdictOK, "clock": VerdictFailed, "number a": VerdictOK, "number b": VerdictFailed,
		"webhook subscription": VerdictWarning, "webhook certificate": VerdictOK, "sip certificate": VerdictWarning, "trunk up": VerdictOK, "trunk down": VerdictFailed,
		"trunk secret sips:STRANGER": VerdictFailed, "sip.listen tls://127.0.0.1:0": VerdictOK,
		"media.webrtc.listen": VerdictWarning, "http.webhook.listen": VerdictOK, "http.admin.listen": VerdictFailed,
		"sip.listen udp://127.0.0.1:0": VerdictOK, "media.rtp.ports": VerdictOK,
	}
	for what, verdict := range want {
		if got[what] != verdict {
			t.Errorf("%s: %q, want %q", what, got[what], verdict)
		}
	}
	for what := range got {
		if want[what] == "" {
			t.Errorf("%s was not expected", what)
		}
	}
}

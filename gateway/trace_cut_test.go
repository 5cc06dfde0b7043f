package gateway

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"wagate/config"
	"wagate/sip"
)

const (
	hush = "hUsH7vQx" // stands where secrets stand
	open = "oPeN7vQx" // and what is to be seen
)

func TestSDPIsCut(t *testing.T) {
	for _, line := range []string{
		"a=ice-pwd:" + hush, "a=ICE-PWD:" + hush, "a=ice-ufrag:" + hush, "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + hush + "|2^20|1:4",
		"a=crypto:1 aes " + hush, "a=crypto:" + hush, "k=clear:" + hush, "a=key-mgmt:mikey " + hush, "a=acap:1 crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + hush,
		"a=candidate:1 1 udp 1 192.0.2.1 9 typ host generation 0 ufrag " + hush, "a=identity:" + hush, "x a=ice-pwd: " + hush,
	} {
		got := cutSDP("v=0\r\ns=" + open + "\r\n" + line + "\r\na=sendrecv\r\n")
		if strings.Contains(got, hush) || !strings.Contains(got, cut) || !strings.Contains(got, open) || !strings.Contains(got, "\na=sendrecv") {
			t.Errorf("%q became %q", line, got)
		}
	}
	for _, line := range []string{
		"c=IN IP4 192.0.2.10", "m=audio 20000 RTP/SAVP 8 101", "a=fingerprint:sha-256 AB:CD", "a=rtpmap:8 PCMA/8000",
		"a=candidate:1 1 udp 1 192.0.2.1 9 typ host", "a=ice-lite", "a=setup:active",
	} {
		if got := cutSDP(line); got != line {
			t.Errorf("%q became %q", line, got)
		}
	}
	if got := cutSDP("a=crypto:1 AES_256_CM_HMAC_SHA1_80 inline:" + hush); got != "a=crypto:1 AES_256_CM_HMAC_SHA1_80 [cut]" {
		t.Errorf("the suite is to be seen: %q", got)
	}
}

func TestHeadersAreCut(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"Authorization", `Digest username="a", realm="r,=\"", nonce="n", uri="sip:x", response="` + hush + `", nc=00000001, cnonce="` + hush + `"`, `Digest username="a", realm="r,=\"", nonce="n", uri="sip:x", response=[cut], nc=00000001, cnonce=[cut]`},
		{"proxy-authorization", `digest RESPONSE = ` + hush, `Digest RESPONSE=[cut]`},
		{"Proxy-Authorization", `Digest username="a" response="` + hush + `"`, `Digest [cut]`},
		{"Authorization", `Basic ` + hush, cut},
		{"Authorization", `Bearer ` + hush, cut},
		{"Authorization", hush, cut},
		{"Authentication-Info", `rspauth="` + hush + `"`, cut},
		{"WWW-Authenticate", `Digest realm="r", nonce="n", algorithm=MD5`, `Digest realm="r", nonce="n", algorithm=MD5`},
		{"x-auth-key", hush, cut},
		{"x-access-token", hush, cut},
		{"Cookie", hush, cut},
		{"Identity", hush, cut},
		{"x-sdp", "a=ice-pwd:" + hush, cut},
		{"Contact", `<sip:a:` + hush + `@192.0.2.10:5060>`, `<sip:a:[cut]@192.0.2.10:5060>`},
		{"From", `"A" <sips:a:` + hush + `@x>;tag=1`, `"A" <sips:a:[cut]@x>;tag=1`},
		{"To", `<sip:600@192.0.2.10:5060>`, `<sip:600@192.0.2.10:5060>`},
		{"Contact", `<sip:192.0.2.10:5060;transport=tcp>`, `<sip:192.0.2.10:5060;transport=tcp>`},
		{"Via", `SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1`, `SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK1`},
		{"x-wa-error", "no_permission", "no_permission"},
	} {
		if got := cutHeader(c.name, c.value); got != c.want {
			t.Errorf("%s: %s became %s, want %s", c.name, c.value, got, c.want)
		}
	}
}

func TestBodiesAreCut(t *testing.T) {
	for _, c := range []struct{ kind, body, want string }{
		{"application/sdp", "v=0\r\na=ice-pwd:" + hush, "v=0\na=ice-pwd:[cut]"},
		{"application/dtmf-relay", "Signal=" + hush, "[15 bytes of application/dtmf-relay]"},
		{"multipart/mixed", hush, "[8 bytes of multipart/mixed]"},
		{"message/sipfrag", "SIP/2.0 200 OK\r\nAuthorization: " + hush, "SIP/2.0 200 OK"},
		{"message/sipfrag", "Authorization: " + hush, "[23 bytes of message/sipfrag]"},
		{"", hush, "[8 bytes of ]"},
	} {
		if got := cutBody(c.kind, []byte(c.body)); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.kind, c.body, got, c.want)
		}
	}
}

func TestOwnSecretsAreCut(t *testing.T) {
	cfg := config.Default()
	cfg.WhatsApp.AppSecrets = []config.Secret{"app-" + hush}
	cfg.WhatsApp.VerifyToken = "verify-" + hush
	cfg.WhatsApp.Numbers = []config.Number{{AccessToken: "EAA" + hush}}
	cfg.HTTP.Admin.Token = "admin-" + hush
	cfg.Trunks = []config.Trunk{{Auth: config.Credentials{Password: "pass-" + hush}}}
	c := newCutter(cfg)
	for _, secret := range []string{"app-" + hush, "verify-" + hush, "EAA" + hush, "admin-" + hush, "pass-" + hush} {
		got := c.sip(sip.Traced{Start: "SIP/2.0 400 " + secret, Headers: []sip.Header{{Name: "Warning", Value: `399 x "` + secret + `"`}}})
		got += c.json([]byte(`{"error":{"message":"Malformed access token ` + secret + `","` + secret + `":1}}`))
		if strings.Contains(got, hush) {
			t.Errorf("%s is still in\n%s", secret, got)
		}
	}
}

func TestJSONIsCut(t *testing.T) {
	got := cutter{}.json([]byte(`{"call_id":"wacid.A","session":{"sdp_type":"offer","sdp":"v=0\r\na=ice-pwd:` + hush + `\r\n"},"access_token":"` + hush +
		`","list":["a=ice-pwd:` + hush + `"],"to":"+34600111222"}`))
	for _, want := range []string{`"call_id": "wacid.A"`, `"sdp": "[below]"`, "\n\nv=0\na=ice-pwd:[cut]", `"access_token": "[cut]"`, `"to": "+34600111222"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, hush) {
		t.Errorf("a secret is in\n%s", got)
	}
	if got := (cutter{}).json([]byte("<html>" + hush)); got != "[14 bytes that are not JSON]" {
		t.Error(got)
	}
}

func TestLinesCannotBeForged(t *testing.T) {
	got := cutter{}.sip(sip.Traced{
		Start:   "INVITE sip:a@b SIP/2.0",
		Headers: []sip.Header{{Name: "Subject", Value: "a\nBYE sip:x SIP/2.0\x1b[2J\u202e\xff"}},
	})
	if want := "INVITE sip:a@b SIP/2.0\nSubject: a\\u000aBYE sip:x SIP/2.0\\u001b[2J\\u202e\ufffd"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// leaks finds what is shown of a secret, knowing nothing of how it is cut.
var leaks = regexp.MustCompile(`(?i)(ice-pwd:|ice-ufrag:|inline:|key-mgmt:|(^|[\s,])(response|cnonce|rspauth|auts)\s*=|\bBearer |\bBasic )\s*"?([^\[\s]|\[[^c])`)

// FuzzTraceCut: whatever surrounds a secret, it is not shown, and the text is
// one that a terminal only prints.
func FuzzTraceCut(f *testing.F) {
	f.Add("a=", "\r\na=sendrecv", "username=\"a\", ", "Authorization")
	f.Add("A=x ", "|2^20", "realm=\"a\\\"b\",", "proxy-authorization")
	f.Add("\x00\xff", "\n", "nonce=\"", "Authorization")
	f.Fuzz(func(t *testing.T, before, after, params, header string) {
		for _, mark := range []string{"ice-pwd:", "ICE-Ufrag:", "inline:", "key-mgmt:mikey ", "a=crypto:1 X "} {
			text := cutSDP(before + mark + hush + after)
			if strings.Contains(text, hush) && !strings.Contains(before, hush) && !strings.Contains(after, hush) {
				t.Errorf("%q shows the secret after %s: %q", before+mark+hush+after, mark, text)
			}
		}
		if strings.Contains(strings.ToLower(header), "auth") && !strings.Contains(params, hush) {
			for _, value := range []string{"Digest " + params + `response="` + hush + `"`, "Bearer " + hush, params + hush} {
				// Inside the quotes of another parameter it is that one's value.
				if got := cutHeader(header, value); strings.Contains(got, hush) && strings.Count(params, `"`)%2 == 0 && !strings.HasSuffix(strings.TrimSpace(params), "=") {
					t.Errorf("%s: %q shows %q", header, value, got)
				}
			}
		}
		m := sip.Traced{Start: before, Headers: []sip.Header{{Name: header, Value: params}, {Name: "Content-Type", Value: "application/sdp"}}, Body: []byte(before + after)}
		text := cutter{}.sip(m)
		if !utf8.ValidString(text) || strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), hidden) {
			t.Errorf("a terminal would obey %q", text)
		}
		if _, body, _ := strings.Cut(text, "\n\n"); leaks.MatchString(body) && !strings.ContainsAny(before+after+header, "[=\\\n\r") {
			t.Errorf("something secret is in %q", body)
		}
		_ = cutter{}.json([]byte(before + after))
	})
}

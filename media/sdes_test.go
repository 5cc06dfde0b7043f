package media

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// testKey is key material as it stands in a line.
func testKey(size int, fill byte) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, size))
}

func TestParseCrypto(t *testing.T) {
	short, long := testKey(30, 1), testKey(46, 2)
	for _, c := range []struct {
		line string
		good bool
	}{
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short, true},
		{"1 AES_CM_128_HMAC_SHA1_32 inline:" + short, true},
		{"7 AES_256_CM_HMAC_SHA1_80 inline:" + long, true},
		{"7 AES_256_CM_HMAC_SHA1_80 inline:" + strings.TrimRight(long, "="), true},
		{"1 aes_cm_128_hmac_sha1_80 inline:" + short, true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^48", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|1048576", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:4", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|1:4", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " WSH=64", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " KDR=0 FEC_ORDER=FEC_SRTP", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " -x=1", true},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " UNENCRYPTED_SRTP", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " UNENCRYPTED_SRTCP", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " UNAUTHENTICATED_SRTP", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " WSH=63", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " KDR=1", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " FEC_KEY=inline:" + short, false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + " x=1", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^49", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^0", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|0", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|many", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:0", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|256:1", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:200", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|1:4|x", false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short + ";inline:" + short, false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + long, false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:" + short[:20], false},
		{"1 AES_CM_128_HMAC_SHA1_80 inline:!!!!", false},
		{"1 AES_CM_128_HMAC_SHA1_80 uri:" + short, false},
		{"1 AES_CM_128_HMAC_SHA1_80", false},
		{"1 F8_128_HMAC_SHA1_80 inline:" + short, false},
		{"one AES_CM_128_HMAC_SHA1_80 inline:" + short, false},
		{"1234567890 AES_CM_128_HMAC_SHA1_80 inline:" + short, false},
		{"", false},
	} {
		k, err := parseCrypto(c.line)
		if (err == nil) != c.good {
			t.Errorf("%q: %v", c.line, err)
			continue
		}
		if err == nil {
			again, err := parseCrypto(strings.TrimPrefix(k.line(), "a=crypto:"))
			if err != nil || !bytes.Equal(again.secret, k.secret) || again.tag != k.tag || again.suite != k.suite {
				t.Errorf("%q comes back as %q", c.line, k.line())
			}
		}
	}
	if k, err := parseCrypto("1 AES_CM_128_HMAC_SHA1_80 inline:" + short + "|2^20|258:4"); err != nil || !bytes.Equal(k.mki, []byte{0, 0, 1, 2}) {
		t.Errorf("MKI %v, %v", k, err)
	}
}

func FuzzCrypto(f *testing.F) {
	f.Add("1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey(30, 1) + "|2^20|1:4 WSH=64 KDR=0")
	f.Add("2 AES_256_CM_HMAC_SHA1_80 inline:" + testKey(46, 1))
	f.Fuzz(func(t *testing.T, text string) {
		k, err := parseCrypto(text)
		if err != nil {
			return
		}
		if len(k.secret) != k.suite.size || len(k.mki) > maxMKISize || strings.ContainsAny(k.line(), "\r\n") {
			t.Errorf("%q gives %+v", text, k)
		}
		if _, err := newOpener(k, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

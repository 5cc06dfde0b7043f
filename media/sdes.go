package media

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/pion/srtp/v3"
)

// suite is a way to protect RTP under the name that session descriptions have
// for it (RFC 4568 section 6.2, RFC 6188 section 4).
type suite struct {
	name    string
	profile srtp.ProtectionProfile
	size    int // of master key and salt together
}

// The suites we speak, the best first.
var suites = []suite{
	{"AES_CM_128_HMAC_SHA1_80", srtp.ProtectionProfileAes128CmHmacSha1_80, 16 + saltSize},
	{"AES_256_CM_HMAC_SHA1_80", srtp.ProtectionProfileAes256CmHmacSha1_80, 32 + saltSize},
	{"AES_CM_128_HMAC_SHA1_32", srtp.ProtectionProfileAes128CmHmacSha1_32, 16 + saltSize},
}

const (
	saltSize     = 14
	maxCryptos   = 16 // a=crypto lines of one section that are looked at
	maxLifetime  = 48 // as a power of two: packets of one key (RFC 3711 section 9.2)
	maxMKISize   = 128
	leastWindow  = 64 // of the replay list (RFC 4568 section 6.3.7)
	maxTagDigits = 9
)

// masterKey protects one direction, as an a=crypto line carries it.
type masterKey struct {
	tag    string
	suite  suite
	secret []byte // key and salt
	mki    []byte // in every packet, when the line asks for it
}

// newMasterKey makes a key that nothing else has.
func newMasterKey(tag string, s suite) *masterKey {
	k := &masterKey{tag: tag, suite: s, secret: make([]byte, s.size)}
	_, _ = rand.Read(k.secret) // never fails
	return k
}

// same says whether both protect the same packets: the tag is a name only.
func (k *masterKey) same(other *masterKey) bool {
	if k == nil || other == nil {
		return k == other
	}
	return k.suite == other.suite && bytes.Equal(k.secret, other.secret) && bytes.Equal(k.mki, other.mki)
}

// line is the a=crypto line for what we send.
func (k *masterKey) line() string {
	return fmt.Sprintf("a=crypto:%s %s inline:%s", k.tag, k.suite.name, base64.StdEncoding.EncodeToString(k.secret))
}

// readCryptos are the section's usable a=crypto lines in their order; seen says
// whether it has any.
func readCryptos(s *section) (usable []*masterKey, seen bool) {
	n := 0
	for _, a := range s.attributes {
		if a.name != "crypto" {
			continue
		}
		if n++; n > maxCryptos {
			break
		}
		if k, err := parseCrypto(a.value); err == nil {
			usable = append(usable, k)
		}
	}
	return usable, n > 0
}

// parseCrypto reads "1 AES_CM_128_HMAC_SHA1_80 inline:… |2^20|1:4 WSH=64" (RFC
// 4568 section 9). It refuses what we cannot do or must not accept: unknown
// suites, packets without encryption or authentication, several keys.
func parseCrypto(value string) (*masterKey, error) {
	f := strings.Fields(value)
	if len(f) < 3 {
		return nil, errors.New("crypto needs a tag, a suite and a key")
	}
	k := &masterKey{tag: f[0]}
	if len(k.tag) > maxTagDigits || strings.Trim(k.tag, "0123456789") != "" {
		return nil, errors.New("crypto tag is not a number")
	}
	for _, s := range suites {
		if strings.EqualFold(s.name, f[1]) {
			k.suite = s
		}
	}
	if k.suite.name == "" {
		return nil, errors.New("crypto suite is not known here")
	}
	if err := k.parseKey(f[2]); err != nil {
		return nil, err
	}
	for _, param := range f[3:] {
		if err := checkParam(param); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// parseKey reads "inline:" key "|" lifetime "|" MKI ":" length (RFC 4568
// section 6.1).
func (k *masterKey) parseKey(text string) error {
	method, text, _ := strings.Cut(text, ":")
	if !strings.EqualFold(method, "inline") {
		return errors.New("crypto key is not inline")
	}
	if strings.Contains(text, ";") {
		return errors.New("crypto has several keys")
	}
	part := strings.Split(text, "|")
	secret, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(part[0], "="))
	if err != nil || len(secret) != k.suite.size {
		return errors.New("crypto key has the wrong length")
	}
	k.secret = secret
	part = part[1:]
	if len(part) > 0 && !strings.Contains(part[0], ":") {
		if !isLifetime(part[0]) {
			return errors.New("crypto lifetime is not valid")
		}
		part = part[1:]
	}
	if len(part) > 0 {
		if k.mki, err = parseMKI(part[0]); err != nil {
			return err
		}
		part = part[1:]
	}
	if len(part) > 0 {
		return errors.New("crypto key has too many parts")
	}
	return nil
}

// isLifetime says whether a key's lifetime is one: a count of packets or a power
// of two. A call ends long before any that is used.
func isLifetime(text string) bool {
	if power, ok := strings.CutPrefix(text, "2^"); ok {
		n, err := strconv.ParseUint(power, 10, 8)
		return err == nil && n > 0 && n <= maxLifetime
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return err == nil && n > 0 && n <= 1<<maxLifetime
}

// parseMKI reads "value:length" and returns the bytes that end each packet.
func parseMKI(text string) ([]byte, error) {
	value, length, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(value, 10, 64)
	size, err2 := strconv.ParseUint(length, 10, 8)
	if err != nil || err2 != nil || size == 0 || size > maxMKISize {
		return nil, errors.New("crypto MKI is not valid")
	}
	mki := make([]byte, size)
	for i := len(mki) - 1; i >= 0; i-- {
		mki[i] = byte(n)
		n >>= 8
	}
	if n != 0 {
		return nil, errors.New("crypto MKI does not fit its length")
	}
	return mki, nil
}

// checkParam accepts the session parameters that change nothing for us. Others
// make the line unusable, unless it says that they may be passed over (RFC 4568
// section 6.3.8).
func checkParam(param string) error {
	name, value, _ := strings.Cut(param, "=")
	switch strings.ToUpper(name) {
	case "WSH":
		if n, err := strconv.ParseUint(value, 10, 16); err == nil && n >= leastWindow {
			return nil
		}
	case "KDR":
		if value == "0" {
			return nil
		}
	case "FEC_ORDER": // of a stream that we do not have
		return nil
	}
	if strings.HasPrefix(name, "-") {
		return nil
	}
	return fmt.Errorf("crypto parameter %q cannot be used", clip(param))
}

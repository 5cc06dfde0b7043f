package media

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// Who may be answered how: encrypted offers never in the clear, and no less than
// the trunk asks for.
func TestSecurityTable(t *testing.T) {
	e := pbxEngine(t, nil)
	key := newMasterKey("1", suites[0]).line()
	bad := "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + testKey(30, 1) + " UNENCRYPTED_SRTP"
	foreign := "a=crypto:1 F8_128_HMAC_SHA1_80 inline:" + testKey(30, 1)
	second := newMasterKey("2", suites[2]).line()
	for _, c := range []struct {
		secure  Security
		profile string
		lines   []string
		answer  string // profile of the answer; "": refused
		tag     string // of its key; "": none
	}{
		{SecureOff, "RTP/AVP", nil, "RTP/AVP", ""},
		{SecureOff, "RTP/AVP", []string{key}, "RTP/AVP", ""},
		{SecureOff, "RTP/SAVP", []string{key}, "", ""},
		{SecureOff, "RTP/AVPF", nil, "RTP/AVPF", ""},
		{SecureOptional, "RTP/AVP", nil, "RTP/AVP", ""},
		{SecureOptional, "RTP/AVP", []string{key}, "RTP/AVP", "1"},
		{SecureOptional, "RTP/AVP", []string{bad}, "RTP/AVP", ""},
		{SecureOptional, "RTP/SAVP", []string{key}, "RTP/SAVP", "1"},
		{SecureOptional, "RTP/SAVPF", []string{key}, "RTP/SAVPF", "1"},
		{SecureOptional, "RTP/SAVP", []string{bad}, "", ""},
		{SecureOptional, "RTP/SAVP", nil, "", ""},
		{SecureRequired, "RTP/AVP", nil, "", ""},
		{SecureRequired, "RTP/AVP", []string{key}, "RTP/AVP", "1"},
		{SecureRequired, "RTP/SAVP", []string{key}, "RTP/SAVP", "1"},
		{SecureRequired, "RTP/SAVP", []string{foreign, second}, "RTP/SAVP", "2"},
		{SecureRequired, "RTP/SAVP", []string{bad, second, key}, "RTP/SAVP", "2"},
		{SecureRequired, "RTP/SAVP", []string{bad}, "", ""},
		{SecureRequired, "UDP/TLS/RTP/SAVP", []string{key}, "", ""},
	} {
		s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = c.secure })
		offer := bytes.Replace(newPBX(t, "127.0.0.1").sdp("8 101", c.lines...), []byte("RTP/AVP"), []byte(c.profile), 1)
		answer, err := s.Answer(offer)
		name := fmt.Sprint(c.secure, " ", c.profile, " ", c.lines)
		if c.answer == "" {
			if !errors.Is(err, ErrNoCodec) || s.path.Load() != nil {
				t.Errorf("%s: %v, want a refusal", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		d, err := parseSDP(string(answer))
		if err != nil {
			t.Fatal(err)
		}
		keys, seen := readCryptos(&d.sections[0])
		if d.sections[0].proto != c.answer || seen != (c.tag != "") || seen && keys[0].tag != c.tag {
			t.Errorf("%s: answered with\n%s", name, answer)
		}
		if encrypted := s.path.Load().seal != nil; encrypted != seen || (s.path.Load().open != nil) != seen {
			t.Errorf("%s: encrypted %v", name, encrypted)
		}
	}
}

// What answers our offers, and what does not.
func TestSecurityOfAnswers(t *testing.T) {
	e := pbxEngine(t, nil)
	key, other, wrong := newMasterKey("1", suites[0]).line(), newMasterKey("2", suites[0]).line(), newMasterKey("9", suites[0]).line()
	for _, c := range []struct {
		secure  Security
		plain   bool
		profile string
		lines   []string
		good    bool
	}{
		{SecureOff, false, "RTP/AVP", nil, true},
		{SecureOff, false, "RTP/SAVP", []string{key}, false},
		{SecureOptional, false, "RTP/AVP", nil, true},
		{SecureOptional, false, "RTP/AVP", []string{key}, true},
		{SecureOptional, false, "RTP/AVP", []string{wrong}, false},
		{SecureOptional, false, "RTP/SAVP", []string{key}, false},
		{SecureOptional, true, "RTP/AVP", nil, true},
		{SecureRequired, false, "RTP/SAVP", []string{key}, true},
		{SecureRequired, true, "RTP/SAVP", []string{key}, true},
		{SecureRequired, false, "RTP/SAVP", []string{other}, false}, // tag 2 is another suite
		{SecureRequired, false, "RTP/SAVP", []string{key, key}, false},
		{SecureRequired, false, "RTP/SAVP", nil, false},
		{SecureRequired, false, "RTP/AVP", []string{key}, false},
		{SecureRequired, false, "RTP/AVP", nil, false},
	} {
		s := pbxSocket(t, e, func(o *SocketOptions) { o.Secure, o.Plain = c.secure, c.plain })
		offer := s.Offer()
		if c.secure == SecureOptional && bytes.Contains(offer, []byte("a=crypto")) == c.plain {
			t.Errorf("plain %v offer:\n%s", c.plain, offer)
		}
		answer := bytes.Replace(newPBX(t, "127.0.0.1").sdp("8", c.lines...), []byte("RTP/AVP"), []byte(c.profile), 1)
		err := s.SetAnswer(answer)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrNoCodec) {
			t.Errorf("%v plain %v, %s %v: %v", c.secure, c.plain, c.profile, c.lines, err)
		}
		if p := s.path.Load(); err == nil && (p.seal != nil) != (c.lines != nil && c.secure != SecureOff) {
			t.Errorf("%v, %s %v: encrypted %v", c.secure, c.profile, c.lines, p.seal != nil)
		}
	}
	a, b := pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureRequired }), pbxSocket(t, e, func(o *SocketOptions) { o.Secure = SecureRequired })
	if bytes.Equal(a.Offer()[bytes.Index(a.Offer(), []byte("inline")):][:40], b.Offer()[bytes.Index(b.Offer(), []byte("inline")):][:40]) {
		t.Error("two calls have one key")
	}
}

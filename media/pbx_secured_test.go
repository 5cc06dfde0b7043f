package media

import (
	"bytes"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// securedPBX is a far end with keys.
type securedPBX struct {
	*pbx

	suite   suite
	key     *masterKey // of what it sends
	out, in *srtp.Context
	ctlOut  *srtp.Context
	ctlIn   *srtp.Context
	sealed  [maxDatagram]byte
	header  rtp.Header
}

// rekey takes another key for what the PBX sends.
func (p *securedPBX) rekey() {
	p.key = newMasterKey("1", p.suite)
	p.out, p.ctlOut = mustContext(p.t, p.key), mustContext(p.t, p.key)
}

func mustContext(tb testing.TB, k *masterKey) *srtp.Context {
	tb.Helper()
	c, err := k.context()
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// listen takes the gateway's key out of its description.
func (p *securedPBX) listen(description []byte) {
	p.t.Helper()
	d, err := parseSDP(string(description))
	if err != nil {
		p.t.Fatal(err)
	}
	keys, _ := readCryptos(&d.sections[0])
	for _, k := range keys {
		if k.tag == p.key.tag && k.suite == p.suite {
			p.in, p.ctlIn = mustContext(p.t, k), mustContext(p.t, k)
			return
		}
	}
	p.t.Fatalf("no key of suite %s and tag %s:\n%s", p.suite.name, p.key.tag, description)
}

func (p *securedPBX) protect(plain []byte) []byte {
	out, err := p.out.EncryptRTP(p.sealed[:0], plain, &p.header)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *securedPBX) say() {
	if _, err := p.rtp.WriteToUDPAddrPort(p.protect(p.packet()), p.to); err != nil {
		p.t.Fatal(err)
	}
}

func (p *securedPBX) hear() rtp.Packet {
	p.t.Helper()
	var buf [maxDatagram]byte
	p.rtp.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		n, _, err := p.rtp.ReadFromUDPAddrPort(buf[:])
		if err != nil {
			p.t.Fatalf("nothing that can be decrypted: %v", err)
		}
		plain, err := p.in.DecryptRTP(nil, buf[:n], nil)
		if err != nil {
			continue // of the key before
		}
		var pkt rtp.Packet
		if err := pkt.Unmarshal(plain); err != nil {
			p.t.Fatal(err)
		}
		return pkt
	}
}

// secured is the PBX's description with its key.
func (p *securedPBX) secured() []byte {
	text := p.sdp("8 101", p.key.line())
	return bytes.Replace(text, []byte("RTP/AVP"), []byte("RTP/SAVP"), 1)
}

// newSecuredPBX is a PBX with a key for a suite, not in a call yet.
func newSecuredPBX(tb testing.TB, s *Socket, su suite) *securedPBX {
	tb.Helper()
	p := &securedPBX{pbx: newPBX(tb, "127.0.0.1"), suite: su}
	p.to = s.testAddr()
	p.rekey()
	return p
}

// securePBX is a PBX that offered a call with a suite and has the answer.
func securePBX(tb testing.TB, s *Socket, su suite) *securedPBX {
	tb.Helper()
	p := newSecuredPBX(tb, s, su)
	answer, err := s.Answer(p.secured())
	if err != nil {
		tb.Fatal(err)
	}
	p.listen(answer)
	return p
}

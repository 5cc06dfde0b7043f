package faketrunk

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/pion/rtp"
)

func raw(t *testing.T, pbx *Trunk) (send func(string), local string) {
	t.Helper()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(pbx.Addr()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return func(s string) {
		_, err := conn.Write([]byte(strings.ReplaceAll(s, "\n", "\r\n")))
		must(t, err)
	}, conn.LocalAddr().String()
}

func TestFaultsAreNoticed(t *testing.T) {
	pbx := start(t, Options{})
	pbx.Handle(func(*Message) Script { return Script{NoTrying: true, Ring: Never, Answer: Never} })
	send, me := raw(t, pbx)
	head := func(method, branch, cseq string) string {
		return fmt.Sprintf("%s sip:600@%v SIP/2.0\nVia: SIP/2.0/UDP %s;branch=%s\nFrom: <sip:a@b>;tag=1\nTo: <sip:600@b>\nCall-ID: x\nCSeq: %s\n", method, pbx.Addr(), me, branch, cseq)
	}
	for _, c := range []struct{ send, want string }{
		{"hello\n\n", "first line"},
		{"OPTIONS sip:a SIP/2.0\nbroken\n\n", "header line"},
		{head("OPTIONS", "z9hG4bK1", "1 OPTIONS") + "Content-Length: 9\n\n", "Content-Length"},
		{head("OPTIONS", "z9hG4bK1", "1 OPTIONS") + "\n", "0 times Max-Forwards"},
		{head("OPTIONS", "1", "1 OPTIONS") + "Max-Forwards: 70\n\n", "branch"},
		{head("OPTIONS", "z9hG4bK1", "1 INVITE") + "Max-Forwards: 70\n\n", "CSeq"},
		{head("CANCEL", "z9hG4bK7", "1 CANCEL") + "Max-Forwards: 70\n\n", "CANCEL for no INVITE"},
		{head("INVITE", "z9hG4bK2", "1 INVITE") + "Max-Forwards: 70\n\n", "Contact"},
		{head("CANCEL", "z9hG4bK2", "1 CANCEL") + "Max-Forwards: 70\n\n", "before any response"},
		{head("ACK", "z9hG4bK3", "1 ACK") + "Max-Forwards: 70\n\n", "another branch than the INVITE's"},
	} {
		send(c.send)
		err := pbx.wait(soon(t), func() bool { return strings.Contains(strings.Join(pbx.faults, "\n"), c.want) })
		if err != nil {
			t.Errorf("%q: no fault with %q: %v", c.send, c.want, pbx.Faults())
		}
	}
}

func TestReceptionTellsLossRepeatsAndJumps(t *testing.T) {
	b := books{payloads: map[uint8]int{}}
	ts := func(seq int) uint32 { return uint32(seq * frameLen) }
	note := func(seq int, stamp uint32, ssrc uint32) {
		p := rtp.Packet{Header: rtp.Header{PayloadType: 8, SequenceNumber: uint16(seq), Timestamp: stamp, SSRC: ssrc}, Payload: make([]byte, frameLen)}
		b.note(&p, pbxAddr, b.last.Add(frameTime), "PCMA")
	}
	for _, s := range []int{65533, 65534, 65535, 65536, 65538, 65538, 65537, 65541} {
		note(s, ts(s), 1)
	}
	if b.missing != 2 || b.duplicates != 1 || b.reordered != 1 || b.sequenceJumps != 0 || b.timestampJumps != 0 {
		t.Errorf("books %+v", b)
	}
	note(65542, ts(65542)+80, 1)
	note(65543, ts(65543)+80, 1)
	if b.timestampJumps != 1 {
		t.Errorf("%d timestamp jumps, want 1", b.timestampJumps)
	}
	note(70000, ts(70000), 1)
	note(70001, ts(70001), 2)
	if b.sequenceJumps != 1 || len(b.ssrcs) != 2 {
		t.Errorf("%d sequence jumps, sources %v", b.sequenceJumps, b.ssrcs)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("INVITE sip:600@127.0.0.1 SIP/2.0\r\nv: SIP/2.0/UDP a;branch=z9hG4bKx\r\nTo: <sip:600@b>\r\n ;tag=1\r\nl: 3\r\n\r\nabc"))
	f.Add([]byte("SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		m, err := parse(b)
		if err != nil {
			return
		}
		_, _ = m.CSeq()
		_ = m.String() + m.branch() + uriOf(m.Get("Contact"))
		_, _ = hostOf(uriOf(m.Get("Contact")))
		_ = digestParams(m.Get("Authorization"))
		_ = stamp(m.Get("Via"), route{addr: pbxAddr})
	})
}

func FuzzSDP(f *testing.F) {
	f.Add([]byte(strangerSDP))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSDP(b); err == nil && (!s.remote.IsValid() || s.remote.Port() == 0) {
			t.Errorf("no address in %q", b)
		}
	})
}

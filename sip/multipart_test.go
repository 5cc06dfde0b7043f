package sip

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// mixed builds a body of parts, each its header lines and its content.
func mixed(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("--cut\r\n" + part + "\r\n")
	}
	return b.String() + "--cut--\r\n"
}

const (
	partSDP  = "Content-Type: application/sdp\r\n\r\nv=0 offer"
	partISUP = "Content-Type: application/isup; version=itu-t92+\r\nContent-Disposition: signal; handling=optional\r\n\r\n\x01\x02\x00"
	partMust = "Content-Type: application/isup\r\nContent-Disposition: signal; handling=required\r\n\r\nx"
	partIcon = "Content-Type: image/png\r\nContent-Disposition: icon\r\n\r\nx"
)

func TestBodyOfParts(t *testing.T) {
	for _, c := range []struct {
		name, kind, body, want string
	}{
		{"alone", `multipart/mixed;boundary=cut`, mixed(partSDP), "offer"},
		{"behind ISUP", `Multipart/Mixed; boundary="cut"`, mixed(partISUP, partSDP), "offer"},
		{"before another", `multipart/mixed;boundary=cut`, "preamble\r\n" + mixed(partSDP, partIcon), "offer"},
		{"none", `multipart/mixed;boundary=cut`, mixed(partISUP), "415"},
		{"what must be understood", `multipart/mixed;boundary=cut`, mixed(partSDP, partMust), "415"},
		{"for something else", `multipart/mixed;boundary=cut`, mixed("Content-Disposition: early-session\r\n" + partSDP), "415"},
		{"too many", `multipart/mixed;boundary=cut`, mixed(append(slices.Repeat([]string{partIcon}, maxParts), partSDP)...), "415"},
		{"no boundary", `multipart/mixed`, mixed(partSDP), "415"},
		{"cut off", `multipart/mixed;boundary=cut`, "--cut\r\n" + partSDP, "415"},
		{"a choice", `multipart/alternative;boundary=cut`, mixed(partSDP), "415"},
		{"compressed", `multipart/mixed;boundary=cut`, "", "415"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, p := bubble(t, nil)
				d := deskOf(t, s, p)
				lines := []string{"Content-Type: " + c.kind}
				if c.name == "compressed" {
					lines = append(lines, "Content-Encoding: gzip")
				}
				if c.want != "offer" {
					d.send(s.Addr("udp"), string(d.outside("INVITE", c.body, lines...).bytes()))
					d.want(c.want)
					return
				}
				invite, in := d.invite(c.body, lines...)
				if string(in.in.SDP) != "v=0 offer" {
					t.Errorf("the offer is %q", in.in.SDP)
				}
				in.Answer([]byte("v=0 answer"))
				d.follow(invite, d.want("200"), "ACK", 1)
				next[Acked](in.events)
			})
		})
	}
}

func TestAnswerOfParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		_, e, invite := dial(t, s, p, call())
		m := &message{status: 200, reason: "OK", body: []byte(mixed(partISUP, partSDP))}
		for _, name := range []string{"Via", "From", "Call-ID", "CSeq"} {
			m.add(name, invite.get(name))
		}
		m.add("To", invite.get("To")+";tag=a")
		m.add("Contact", "<sip:phone@"+p.addr().String()+">")
		m.add("Content-Type", "multipart/mixed;boundary=cut")
		p.send(s.Addr("udp"), string(m.bytes()))
		if got := next[Accepted](e); string(got.SDP) != "v=0 offer" {
			t.Errorf("accepted with %q", got.SDP)
		}
	})
}

// FuzzParts holds for any multipart body: no panic, little time, and what comes
// out is no larger than what went in.
func FuzzParts(f *testing.F) {
	f.Add("multipart/mixed;boundary=cut", mixed(partISUP, partSDP))
	f.Add("multipart/mixed;boundary=", "--\r\n\r\n")
	f.Add(`multipart/mixed;boundary="a b"`, "--a b\n\nx\n--a b--")
	f.Fuzz(func(t *testing.T, kind, body string) {
		if len(body) > maxMessage {
			return
		}
		m := &message{fields: []field{{"Content-Type", kind}}, body: []byte(body)}
		started := time.Now()
		if m.unpack() && (len(m.body) == 0 || len(m.body) > len(body) || m.get("Content-Type") != contentSDP) {
			t.Fatalf("%q became %q", body, m.body)
		}
		if took := time.Since(started); took > 200*time.Millisecond {
			t.Fatalf("%v for %d bytes", took, len(body))
		}
	})
}

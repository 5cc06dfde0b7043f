package fakemeta

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// plainAnswer is a description without anybody behind it.
const plainAnswer = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE audio\r\n" +
	"m=audio 42006 UDP/TLS/RTP/SAVPF 111 126\r\nc=IN IP4 127.0.0.1\r\na=rtcp:42006 IN IP4 127.0.0.1\r\n" +
	"a=candidate:1 1 udp 2130706431 127.0.0.1 42006 typ host\r\na=end-of-candidates\r\n" +
	"a=ice-ufrag:Zk3P\r\na=ice-pwd:c7UoQ2m0sVw9xB4tJ6yRaD1e\r\na=fingerprint:sha-256 " + plainPrint + "\r\n" +
	"a=setup:active\r\na=mid:audio\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n" +
	"a=fmtp:111 minptime=20;useinbandfec=1\r\na=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-16\r\n" +
	"a=ptime:20\r\na=maxptime:20\r\na=ssrc:2917345011 cname:wa-edge\r\n"

const plainPrint = "75:85:02:48:2F:A1:97:65:81:65:4C:B3:2D:13:72:84:8F:D4:BE:31:6E:A0:71:34:52:C3:7A:28:76:43:C6:71"

// TestDescriptions has one row for every rule about a session description.
func TestDescriptions(t *testing.T) {
	answering := &description{mid: "audio", event: 126, audio: []coding{{"opus", 111}}}
	swap := func(old, with string) string { return strings.Replace(plainAnswer, old, with, 1) }
	after := func(line, more string) string { return swap(line+"\r\n", line+"\r\n"+more+"\r\n") }
	for _, row := range []struct {
		name, sdp, want string
		offer           bool
		code            int
	}{
		{name: "recommended answer", sdp: plainAnswer},
		{name: "no candidate, port 9, no address", sdp: strings.NewReplacer("m=audio 42006", "m=audio 9", "a=candidate:1 1 udp 2130706431 127.0.0.1 42006 typ host\r\n", "", "c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0").Replace(plainAnswer)},
		{name: "upper-case algorithm", sdp: swap("sha-256", "SHA-256")},
		{name: "opus alone", sdp: strings.NewReplacer(" 111 126", " 111", "a=rtpmap:126 telephone-event/8000\r\na=fmtp:126 0-16\r\n", "").Replace(plainAnswer)},
		{name: "unknown attribute", sdp: after("a=sendrecv", "a=x-whatever:1")},
		{name: "offer", sdp: swap("setup:active", "setup:actpass"), offer: true},
		{name: "offer with G.711", sdp: strings.NewReplacer("111 126", "111 0 8 126", "setup:active", "setup:actpass").Replace(plainAnswer), offer: true},

		{name: "nothing", sdp: "", want: "session.sdp is missing"},
		{name: "bare LF", sdp: strings.ReplaceAll(plainAnswer, "\r\n", "\n"), want: "CRLF"},
		{name: "one bare LF", sdp: swap("a=sendrecv\r\n", "a=sendrecv\n"), want: "CRLF"},
		{name: "no CRLF at the end", sdp: strings.TrimSuffix(plainAnswer, "\r\n"), want: "CRLF"},
		{name: "empty line", sdp: after("a=sendrecv", ""), want: "not of the form"},
		{name: "not a line", sdp: after("a=sendrecv", "hello"), want: "not of the form"},
		{name: "no version", sdp: swap("v=0\r\n", ""), want: "begin with v=0"},
		{name: "no origin", sdp: swap("o=-", "i=-"), want: "begin with o="},
		{name: "no time", sdp: swap("t=0 0\r\n", ""), want: "no t= line"},
		{name: "no media", sdp: swap("m=audio", "i=audio"), want: "no media line"},
		{name: "two media", sdp: plainAnswer + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", want: "exactly one media line"},
		{name: "video", sdp: swap("m=audio", "m=video"), want: "must be audio"},
		{name: "plain RTP", sdp: swap("UDP/TLS/RTP/SAVPF", "RTP/AVP"), want: "must be audio over"},
		{name: "rejected media", sdp: swap("m=audio 42006", "m=audio 0"), want: "port 0"},
		{name: "no connection", sdp: swap("c=IN IP4 127.0.0.1\r\n", ""), want: "no connection line"},
		{name: "bad connection", sdp: swap("c=IN IP4 127.0.0.1", "c=IN IP4 here"), want: "malformed"},
		{name: "no fingerprint", sdp: swap("a=fingerprint:sha-256 "+plainPrint+"\r\n", ""), want: "No fingerprint found"},
		{name: "two fingerprints", sdp: after("a=setup:active", "a=fingerprint:sha-256 "+plainPrint), want: "more than one fingerprint", code: 138008},
		{name: "sha-1", sdp: swap("sha-256", "sha-1"), want: "must be sha-256"},
		{name: "lower-case bytes", sdp: swap(plainPrint, strings.ToLower(plainPrint)), want: "must be sha-256"},
		{name: "short fingerprint", sdp: swap(plainPrint, plainPrint[3:]), want: "must be sha-256"},
		{name: "actpass in an answer", sdp: swap("setup:active", "setup:actpass"), want: "not allowed in an answer"},
		{name: "passive in an offer", sdp: swap("setup:active", "setup:passive"), offer: true, want: "not allowed in an offer"},
		{name: "no setup", sdp: swap("a=setup:active\r\n", ""), want: "setup is missing"},
		{name: "two setups", sdp: after("a=setup:active", "a=setup:active"), want: "twice"},
		{name: "ice-lite", sdp: after("a=group:BUNDLE audio", "a=ice-lite"), want: "ice-lite"},
		{name: "trickle", sdp: after("a=sendrecv", "a=ice-options:trickle"), want: "trickle", code: 138008},
		{name: "trickle among others", sdp: after("a=sendrecv", "a=ice-options:ice2 trickle"), want: "trickle", code: 138008},
		{name: "mDNS", sdp: swap("2130706431 127.0.0.1", "2130706431 3f2a.local"), want: "mDNS", code: 138008},
		{name: "TCP candidate", sdp: swap("1 1 udp", "1 1 tcp"), want: "over UDP"},
		{name: "half a candidate", sdp: swap(" typ host", ""), want: "malformed"},
		{name: "short ufrag", sdp: swap("a=ice-ufrag:Zk3P", "a=ice-ufrag:Zk"), want: "ice-ufrag"},
		{name: "no ufrag", sdp: swap("a=ice-ufrag:Zk3P\r\n", ""), want: "ice-ufrag"},
		{name: "short password", sdp: swap("c7UoQ2m0sVw9xB4tJ6yRaD1e", "c7Uo"), want: "ice-pwd"},
		{name: "no rtcp-mux", sdp: swap("a=rtcp-mux\r\n", ""), want: "rtcp-mux"},
		{name: "no mid", sdp: strings.NewReplacer("a=mid:audio\r\n", "", "a=group:BUNDLE audio\r\n", "").Replace(plainAnswer), want: "no mid"},
		{name: "another mid", sdp: strings.NewReplacer("a=mid:audio", "a=mid:0", "BUNDLE audio", "BUNDLE 0").Replace(plainAnswer), want: "not the offered"},
		{name: "bundle of another mid", sdp: swap("BUNDLE audio", "BUNDLE 0"), want: "BUNDLE"},
		{name: "sendonly", sdp: swap("a=sendrecv", "a=sendonly"), want: "sendrecv"},
		{name: "10 ms", sdp: swap("a=ptime:20", "a=ptime:10"), want: "ptime"},
		{name: "maxptime 10", sdp: swap("a=maxptime:20", "a=maxptime:10"), want: "maxptime"},
		{name: "two SSRCs", sdp: after("a=sendrecv", "a=ssrc:1 cname:x"), want: "one audio SSRC"},
		{name: "SDES", sdp: after("a=sendrecv", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"), want: "a=crypto"},
		{name: "G.722", sdp: swap(" 111 126", " 111 9 126"), want: "G722"},
		{name: "L16", sdp: strings.NewReplacer(" 111 126", " 111 96 126", "a=ptime", "a=rtpmap:96 L16/16000\r\na=ptime").Replace(plainAnswer), want: "L16"},
		{name: "te/48000", sdp: swap("telephone-event/8000", "telephone-event/48000"), want: "telephone-event/48000"},
		{name: "opus without its channels", sdp: swap("opus/48000/2", "opus/48000"), want: "not supported"},
		{name: "no rtpmap", sdp: swap("a=rtpmap:111 opus/48000/2\r\n", ""), want: "not supported"},
		{name: "events alone", sdp: swap(" 111 126", " 126"), want: "no supported audio"},
		{name: "another payload type", sdp: strings.ReplaceAll(plainAnswer, "111", "109"), want: "was not offered"},
		{name: "G.711 that was not offered", sdp: swap(" 111 126", " 111 8 126"), want: "was not offered"},
		{name: "events elsewhere", sdp: strings.ReplaceAll(plainAnswer, "126", "101"), want: "what was offered"},
	} {
		t.Run(row.name, func(t *testing.T) {
			offered := answering
			if row.offer {
				offered = nil
			}
			d, fail := readSDP(row.sdp, offered)
			switch {
			case row.want == "" && fail != nil:
				t.Errorf("refused: %s", fail.text())
			case row.want == "" && (d.ufrag != "Zk3P" || d.fingerprint != plainPrint):
				t.Errorf("read as %+v", d)
			case row.want != "" && fail == nil:
				t.Errorf("taken, want %q", row.want)
			case row.want != "" && !strings.Contains(fail.text(), row.want):
				t.Errorf("refused with %q, want %q", fail.text(), row.want)
			case row.want != "" && fail.code != max(row.code, 100):
				t.Errorf("refused with code %d", fail.code)
			}
		})
	}
}

// TestOffer holds our own text to the capture of spec 1.9, line by line.
func TestOffer(t *testing.T) {
	g := start(t, Options{Codecs: []string{"PCMU", "PCMA"}})
	_, sdp := g.place(CallOptions{IPv6: DeadIPv6, Codecs: []string{"opus", "PCMA"}})
	lines := strings.Split(strings.TrimSuffix(sdp, "\r\n"), "\r\n")
	want := []string{
		"v=0", "o=- # 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE audio", "a=msid-semantic: WMS #", "a=ice-lite",
		"m=audio # UDP/TLS/RTP/SAVPF 111 8 126", "c=IN IP4 127.0.0.1", "a=rtcp:9 IN IP4 0.0.0.0",
		"a=candidate:2275956755 1 udp 2122260223 127.0.0.1 # typ host generation 0 network-cost 50",
		"a=candidate:2684782176 1 udp 2122262783 2001:db8:f312:131:face:b00c:0:699c 3480 typ host generation 0 network-cost 50",
		"a=ice-ufrag:#", "a=ice-pwd:#", "a=fingerprint:sha-256 #", "a=setup:actpass", "a=mid:audio", "a=sendrecv",
		"a=msid:# WhatsAppTrack1", "a=rtcp-mux", "a=rtpmap:111 opus/48000/2", "a=rtcp-fb:111 transport-cc",
		"a=fmtp:111 maxaveragebitrate=20000;maxplaybackrate=16000;minptime=20;sprop-maxcapturerate=16000;useinbandfec=1",
		"a=rtpmap:8 PCMA/8000", "a=rtpmap:126 telephone-event/8000", "a=maxptime:20", "a=ptime:20",
		"a=ssrc:# cname:WhatsAppAudioStream1",
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), sdp)
	}
	for i, w := range want {
		before, behind, open := strings.Cut(w, "#")
		if !open && lines[i] != w || open && (!strings.HasPrefix(lines[i], before) || !strings.HasSuffix(lines[i], behind)) {
			t.Errorf("line %d is %q, want %q", i+1, lines[i], w)
		}
		if strings.HasPrefix(w, "a=ice-pwd") && !strings.HasSuffix(lines[i], "==") {
			t.Errorf("the ICE password has no padding: %q", lines[i])
		}
	}
}

// TestRequests has one row for every rule about a request.
func TestRequests(t *testing.T) {
	g := start(t, Options{Numbers: []Number{{ID: "77", Display: "351210000322", Token: "other-token"}}})
	c, _ := g.place(CallOptions{})
	const calls, auth, kind = "/v26.0/401122334455667/calls", "Bearer access-token", "application/json"
	long := strings.Repeat("x", 513)
	body := func(format string, args ...any) string {
		return `{"messaging_product":"whatsapp",` + fmt.Sprintf(format, args...) + `}`
	}
	pre := func(typ string) string {
		return body(`"call_id":%q,"action":"pre_accept","session":{"sdp_type":%q,"sdp":%q}`, c.ID(), typ, plainAnswer)
	}
	for _, row := range []struct {
		name, method, path, auth, kind, body string
		status, code, subcode                int
		want                                 string
	}{
		{"read the number", "GET", "/v26.0/401122334455667", auth, "", "", 200, 0, 0, "+351210000321"},
		{"read another's number", "GET", "/v26.0/77", auth, "", "", 403, 10, 0, "permission"},
		{"no token", "POST", calls, "", kind, pre("answer"), 401, 0, 0, "access token"},
		{"not a bearer", "POST", calls, "Basic YTpi", kind, pre("answer"), 401, 0, 0, "access token"},
		{"wrong token", "POST", calls, "Bearer nonsense", kind, pre("answer"), 401, 190, 0, "OAuth"},
		{"token of another number", "POST", calls, "Bearer other-token", kind, pre("answer"), 403, 10, 0, "permission"},
		{"unknown number", "POST", "/v26.0/999/calls", auth, kind, pre("answer"), 400, 100, 33, "does not exist"},
		{"no version", "POST", "/401122334455667/calls", auth, kind, pre("answer"), 400, 2500, 0, "path"},
		{"odd version", "POST", "/v/401122334455667/calls", auth, kind, pre("answer"), 400, 2500, 0, "path"},
		{"root", "POST", "/", auth, kind, "{}", 400, 2500, 0, "path"},
		{"read of calls", "GET", calls, auth, "", "", 400, 100, 0, "Unsupported"},
		{"another edge", "POST", "/v26.0/401122334455667/callz", auth, kind, "{}", 400, 100, 0, "Unsupported"},
		{"form", "POST", calls, auth, "application/x-www-form-urlencoded", pre("answer"), 400, 100, 0, "Content-Type"},
		{"no type", "POST", calls, auth, "", pre("answer"), 400, 100, 0, "Content-Type"},
		{"not JSON", "POST", calls, auth, kind, `{"action":`, 400, 100, 0, "JSON"},
		{"wrong JSON type", "POST", calls, auth, kind, `{"messaging_product":"whatsapp","action":7}`, 400, 100, 0, "action must be"},
		{"no product", "POST", calls, auth, kind, `{"action":"reject"}`, 400, 100, 0, "messaging_product"},
		{"wrong product", "POST", calls, auth, kind, `{"messaging_product":"telegram","action":"reject"}`, 400, 100, 0, "messaging_product"},
		{"no action", "POST", calls, auth, kind, body(`"call_id":%q`, c.ID()), 400, 100, 0, "action is missing"},
		{"unknown action", "POST", calls, auth, kind, body(`"action":"hold","call_id":%q`, c.ID()), 400, 100, 0, "must be one of"},
		{"no call", "POST", calls, auth, kind, body(`"action":"reject"`), 400, 100, 0, "call_id is missing"},
		{"unknown call", "POST", calls, auth, kind, body(`"action":"reject","call_id":"wacid.x"`), 400, 100, 0, "does not exist"},
		{"no session", "POST", calls, auth, kind, body(`"action":"pre_accept","call_id":%q`, c.ID()), 400, 100, 0, "sdp_type"},
		{"sdp_type offer", "POST", calls, auth, kind, pre("offer"), 400, 100, 0, "sdp_type"},
		{"long tag", "POST", calls, auth, kind, body(`"action":"accept","biz_opaque_callback_data":%q,"call_id":%q`, long, c.ID()), 400, 100, 0, "512"},
		{"terminate before anything", "POST", calls, auth, kind, body(`"action":"terminate","call_id":%q`, c.ID()), 400, 100, 0, "use reject"},
		{"huge", "POST", calls, auth, kind, body(`"action":%q`, strings.Repeat("x", maxBody)), 400, 100, 0, "too large"},
	} {
		t.Run(row.name, func(t *testing.T) {
			before := len(g.meta.Violations())
			r := g.raw(row.method, row.path, row.auth, row.kind, []byte(row.body))
			if r.status != row.status || r.code != row.code || r.subcode != row.subcode || !strings.Contains(r.raw, row.want) {
				t.Errorf("said %d %d/%d %s %v, want %d %d/%d %q", r.status, r.code, r.subcode, r.raw, r.err, row.status, row.code, row.subcode, row.want)
			}
			if got := len(g.meta.Violations()) - before; (got == 1) != (row.status != http.StatusOK) {
				t.Errorf("%d violations", got)
			}
		})
	}
	if c.State() != Calling {
		t.Errorf("after all these the call is %v", c.State())
	}
}

// TestOrder is about actions in a state of the call.
func TestOrder(t *testing.T) {
	type step struct {
		action string
		status int
		want   string
	}
	other := strings.Replace(plainAnswer, "cname:wa-edge", "cname:wa-edg3", 1)
	for _, row := range []struct {
		name  string
		rule  EndRule
		steps []step
		end   State
	}{
		{"reject at once", EndByPage, []step{{"reject", 200, ""}, {"reject", 400, "already ended"}}, Ended},
		{"the whole way", EndByPage, []step{{"pre_accept", 200, ""}, {"accept", 200, ""}, {"terminate", 200, ""}, {"terminate", 400, "already ended"}}, Ended},
		{"accept alone", EndByPage, []step{{"accept", 200, ""}}, Connected},
		{"pre_accept twice", EndByPage, []step{{"pre_accept", 200, ""}, {"pre_accept", 400, "already in progress"}}, Ringing},
		{"accept twice", EndByPage, []step{{"accept", 200, ""}, {"accept", 400, "already in progress"}}, Connected},
		{"pre_accept after accept", EndByPage, []step{{"accept", 200, ""}, {"pre_accept", 400, "already in progress"}}, Connected},
		{"another description", EndByPage, []step{{"pre_accept", 200, ""}, {"accept other", 400, "not the one of pre_accept"}, {"accept", 200, ""}}, Connected},
		{"reject after pre_accept", EndByPage, []step{{"pre_accept", 200, ""}, {"reject", 400, "use terminate"}, {"terminate", 200, ""}}, Ended},
		{"reject after accept", EndByPage, []step{{"accept", 200, ""}, {"reject", 400, "use terminate"}}, Connected},
		{"terminate first", EndByPage, []step{{"terminate", 400, "use reject"}, {"reject", 200, ""}}, Ended},
		{"reversed: reject first", EndReversed, []step{{"reject", 400, "use terminate"}, {"terminate", 200, ""}}, Ended},
		{"reversed: terminate after pre_accept", EndReversed, []step{{"pre_accept", 200, ""}, {"terminate", 400, "use reject"}, {"reject", 200, ""}}, Ended},
		{"reversed: terminate after accept", EndReversed, []step{{"accept", 200, ""}, {"terminate", 200, ""}}, Ended},
		{"either: terminate first", EndByEither, []step{{"terminate", 200, ""}}, Ended},
		{"either: reject after pre_accept", EndByEither, []step{{"pre_accept", 200, ""}, {"reject", 200, ""}}, Ended},
		{"accept after the end", EndByPage, []step{{"reject", 200, ""}, {"accept", 400, "already ended"}, {"pre_accept", 400, "already ended"}}, Ended},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := start(t, Options{})
			g.meta.SetEndRule(row.rule)
			c, _ := g.place(CallOptions{})
			for _, s := range row.steps {
				sdp := ""
				action, others := strings.CutSuffix(s.action, " other")
				if strings.HasSuffix(action, "accept") {
					sdp = plainAnswer
				}
				if others {
					sdp = other
				}
				r := g.do(action, c.ID(), sdp)
				if r.status != s.status || !strings.Contains(r.raw, s.want) {
					t.Errorf("%s: said %d %s, want %d %q", s.action, r.status, r.raw, s.status, s.want)
				}
			}
			if c.State() != row.end {
				t.Errorf("the call is %v, want %v", c.State(), row.end)
			}
			if row.end == Ended {
				g.wait(KindTerminate, c.ID(), 1)
			}
			for _, v := range g.meta.Violations() {
				if strings.Contains(v.Detail, "already") {
					t.Errorf("a lost race counts as a violation: %s", v.Detail)
				}
			}
		})
	}
}

func TestTagOfAcceptComesBack(t *testing.T) {
	g := start(t, Options{})
	c, _ := g.place(CallOptions{Age: time.Hour})
	tag := strings.Repeat("é", 512)
	if e := g.wait(KindConnect, c.ID(), 1); e.raw["timestamp"] == seconds(time.Now()) {
		t.Error("the offer is not old")
	}
	g.must(g.do("accept", c.ID(), plainAnswer, "biz_opaque_callback_data", tag))
	g.must(g.do("terminate", c.ID(), ""))
	if e := g.wait(KindTerminate, c.ID(), 1); e.raw["biz_opaque_callback_data"] != tag {
		t.Errorf("the tag came back as %q", e.raw["biz_opaque_callback_data"])
	}
}

// TestAdditionalCodecs: G.711 is for numbers that have it, from either side.
func TestAdditionalCodecs(t *testing.T) {
	g := start(t, Options{})
	if _, err := g.meta.Call(t.Context(), CallOptions{Codecs: []string{"opus", "PCMA"}}); err == nil || !strings.Contains(err.Error(), "not enabled") {
		t.Errorf("a customer offers what the number has not: %v", err)
	}
	with := start(t, Options{Codecs: []string{"PCMA"}})
	if _, sdp := with.place(CallOptions{}); !strings.Contains(sdp, "SAVPF 111 8 126\r\n") {
		t.Errorf("a number with G.711 is offered\n%s", sdp)
	}
	for _, c := range []struct {
		n    Number
		name string
		want bool
	}{{Number{}, "opus", true}, {Number{}, "PCMA", false}, {Number{Codecs: []string{"PCMU"}}, "PCMU", true}, {Number{Codecs: []string{"PCMU"}}, "PCMA", false}} {
		if c.n.has(c.name) != c.want {
			t.Errorf("%v has %s: %v", c.n.Codecs, c.name, !c.want)
		}
	}
}

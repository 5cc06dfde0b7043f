package sip

import (
	"strings"
	"testing"
)

// torture is the shape of the messages of RFC 4475, by the names it gives them,
// and what becomes of them: a status, "ok" for what passes the gate, "" for
// what is dropped.
var torture = []struct{ name, want, message string }{
	{"wsinv", "ok", "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\r\nTO :\r\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\r\nfrom   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8\r\nMaX-fOrWaRdS: 0068\r\nCall-ID: wsinv.ndaksdj@192.0.2.1\r\nContent-Length   : 0\r\ncseq: 0009\r\n  INVITE\r\nVia  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390skdjuw\r\ns :\r\nNewFangledHeader:   newfangled value\r\n continued newfangled value\r\nUnknownHeaderWithUnusualValue: ;;,,;;,;\r\nRoute:\r\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\r\nv:  SIP  / 2.0  / TCP     spindle.example.com   ;\r\n  branch  =   z9hG4bK9ikj8  ,\r\n SIP  /    2.0   / UDP  192.168.255.111   ; branch=\r\n z9hG4bK30239\r\nm:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\r\n      newvalue ;\r\n  secondparam ; q = 0.33\r\n\r\n"},
	{"intmeth", "501", "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\r\nVia: SIP/2.0/UDP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\r\nTo: \"BEL:\\ NUL: DEL:\\ \" <sip:1_unusual.URI~@example.com>\r\nFrom: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"w\";tag=_token~1'+`*%!-.\r\nCall-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\r\nCSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\r\nMax-Forwards: 255\r\nextensionHeader-!.%*+_`'~: \xef\xbb\xbf\r\nContent-Length: 0\r\n\r\n"},
	{"esc02", "501", start("RE%47IST%45R sip:registrar.example.com SIP/2.0", "RE%47IST%45R")},
	{"lwsdisp", "ok", strings.Replace(start("OPTIONS sip:user@example.com SIP/2.0", "OPTIONS"), "From: ", "From: caller", 1)},
	{"dblreq", "ok", start("OPTIONS sip:j.user@example.com SIP/2.0", "OPTIONS") + "INVITE sip:joe@example.com SIP/2.0\r\n\r\n"},
	{"semiuri", "ok", start("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0", "OPTIONS")},
	{"transports", "ok", strings.Replace(start("OPTIONS sip:user@example.com SIP/2.0", "OPTIONS"), "From:", "Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf\r\nVia: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en\r\nFrom:", 1)},
	{"unreason", "ok", "SIP/2.0 200 = 2**3 * 5**2 \xd0\xbd\xd0\xbe\r\n" + rest("INVITE")},
	{"noreason", "ok", "SIP/2.0 100 \r\n" + rest("INVITE")},
	{"badinv01", "400", "INVITE sip:user@example.com SIP/2.0\r\nTo: sip:j.user@example.com\r\nFrom: sip:caller@example.net;tag=134161461246\r\nMax-Forwards: 7\r\nCall-ID: badinv01.0ha0isndaksdjasdf3234nas\r\nCSeq: 8 INVITE\r\nVia: SIP/2.0/UDP 192.0.2.15;;,;,,\r\nContact: \"Joe\" <sip:joe@example.org>;;;;\r\nContent-Length: 0\r\n\r\n"},
	{"clerr", "400", strings.Replace(start("INVITE sip:user@example.com SIP/2.0", "INVITE"), "Length: 0", "Length: 9999", 1)},
	{"ncl", "400", strings.Replace(start("INVITE sip:user@example.com SIP/2.0", "INVITE"), "Length: 0", "Length: -999", 1)},
	{"scalar02", "400", strings.Replace(start("OPTIONS sip:example.com SIP/2.0", "OPTIONS"), "CSeq: 1 ", "CSeq: 36893488147419103232 ", 1)},
	{"scalarlg", "", "SIP/2.0 503 Service Unavailable\r\n" + strings.Replace(rest("INVITE"), "CSeq: 1 ", "CSeq: 9292394834772304023312 ", 1)},
	{"quotbal", "400", strings.Replace(start("INVITE sip:user@example.com SIP/2.0", "INVITE"), "To: ", "To: \"Mr. J. User ", 1)},
	{"ltgtruri", "400", start("INVITE <sip:user@example.com> SIP/2.0", "INVITE")},
	{"lwsruri", "400", start("INVITE sip:user@example.com; lr SIP/2.0", "INVITE")},
	{"lwsstart", "400", start("INVITE  sip:user@example.com  SIP/2.0", "INVITE")},
	{"trws", "400", start("OPTIONS sip:remote-target@example.com SIP/2.0  ", "OPTIONS")},
	{"escruri", "400", start("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0", "INVITE")},
	{"badvers", "505", start("OPTIONS sip:t.watson@example.org SIP/7.0", "OPTIONS")},
	{"mismatch01", "400", strings.Replace(start("OPTIONS sip:user@example.com SIP/2.0", "OPTIONS"), "1 OPTIONS", "8 INVITE", 1)},
	{"mismatch02", "400", strings.Replace(start("NEWMETHOD sip:user@example.com SIP/2.0", "NEWMETHOD"), "1 NEWMETHOD", "8 INVITE", 1)},
	{"bigcode", "", "SIP/2.0 4294967301 better not break the receiver\r\n" + rest("INVITE")},
	{"badbranch", "ok", strings.Replace(start("OPTIONS sip:user@example.com SIP/2.0", "OPTIONS"), "z9hG4bKkdjuw", "z9hG4bK", 1)},
	{"insuf", "400", "INVITE sip:user@example.com SIP/2.0\r\nCSeq: 193942 INVITE\r\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf\r\nContent-Length: 0\r\n\r\n"},
	{"unkscm", "416", start("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0", "OPTIONS")},
	{"novelsc", "416", start("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0", "OPTIONS")},
	{"unksm2", "405", strings.Replace(start("REGISTER sip:example.com SIP/2.0", "REGISTER"), "To: <sip:user@example.com>", "To: isbn:2983792873", 1)},
	{"bext01", "420", strings.Replace(start("OPTIONS sip:user@example.com SIP/2.0", "OPTIONS"), "Max", "Require: nothingSupportsThis, nothingSupportsThisEither\r\nMax", 1)},
	{"invut", "415", strings.Replace(start("INVITE sip:user@example.com SIP/2.0", "INVITE"), "Content-Length: 0\r\n\r\n", "Content-Type: application/unknownformat\r\nContent-Length: 4\r\n\r\n<au>", 1)},
	{"multi01", "400", strings.Replace(start("INVITE sip:user@company.com SIP/2.0", "INVITE"), "Max", "CSeq: 59 INVITE\r\nCall-ID: multi01.2\r\nMax-Forwards: 5\r\nMax", 1)},
	{"mcl01", "400", strings.Replace(start("OPTIONS sip:user@example.com SIP/2.0", "OPTIONS"), "Content-Length: 0", "Content-Length: 13\r\nContent-Length: 5", 1)},
	{"bcast", "", "SIP/2.0 200 OK\r\n" + strings.Replace(rest("INVITE"), "Via", "Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1324923\r\nVia", 1)},
	{"zeromf", "483", strings.Replace(start("OPTIONS sip:user@example.com SIP/2.0", "OPTIONS"), "Max-Forwards: 70", "Max-Forwards: 0", 1)},
	{"sdp01", "406", strings.Replace(start("INVITE sip:user@example.com SIP/2.0", "INVITE"), "Max", "Accept: text/nobodyKnowsThis\r\nMax", 1)},
}

func start(line, method string) string { return line + "\r\n" + rest(method) }

func rest(method string) string {
	return "Via: SIP/2.0/UDP 192.0.2.3;branch=z9hG4bKkdjuw\r\nMax-Forwards: 70\r\nFrom: <sip:caller@example.net>;tag=1\r\nTo: <sip:user@example.com>\r\nCall-ID: t@192.0.2.3\r\nCSeq: 1 " + method + "\r\nContact: <sip:caller@192.0.2.3>\r\nContent-Length: 0\r\n\r\n"
}

func TestTorture(t *testing.T) {
	for _, c := range torture {
		t.Run(c.name, func(t *testing.T) {
			m, f := parse([]byte(c.message), true)
			if f == nil && m.isRequest() {
				f = first(checkFrame(m), check(m))
			} else if f == nil {
				f = checkResponse(m)
			}
			got := "ok"
			switch {
			case f != nil && (m == nil || !m.isRequest()):
				got = ""
			case f != nil:
				got = utoa(uint32(f.status))
			}
			if got != c.want {
				t.Errorf("got %q (%+v), want %q", got, f, c.want)
			}
		})
	}
}

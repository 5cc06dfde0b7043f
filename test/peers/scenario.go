package peers

import "strings"

// Scenario is what SIPp does with every call, as its XML.
type Scenario string

// The scenarios. Each also answers OPTIONS outside a call.
var (
	// Echo answers and sends back what it hears: the caller hears itself, which
	// proves both ways.
	Echo = scenario(begin, ringing, pause("200"), answer("media_port"), ack, bye)
	// Tone answers and plays ToneFreq for a minute.
	Tone = scenario(begin, ringing, pause("200"), answer("rtpstream_audio_port"), ack, play, bye)
	// Move is Echo that moves its sound to another port by a re-INVITE after two
	// seconds.
	Move = scenario(begin, ringing, pause("200"), answer("media_port"), ack, pause("2000"), move, bye)
	// Hangup is Echo that hangs up after two seconds.
	Hangup = scenario(begin, ringing, pause("200"), answer("media_port"), ack, pause("2000"), hangup)
	// Busy refuses with 486.
	Busy = scenario(begin, final("486 Busy Here", ""), ack)
	// NoAnswer rings until the caller gives up.
	NoAnswer = scenario(begin, ringing, cancelled)
)

// The scenarios of a phone that places a call, for DialSIPp. They answer the
// challenge that every call begins with.
var (
	// Dial plays ToneFreq for four seconds when it is answered, and hangs up.
	Dial = scenario(invite("1", ""), challenged("1"), invite("2", "[authentication]\n"), answered, play, pause("4000"), goodbye)
	// DialInVain is challenged again, and gives up.
	DialInVain = scenario(invite("1", ""), challenged("1"), invite("2", "[authentication]\n"), challenged("2"))
)

// ToneFreq is what Tone plays, in Hz.
const ToneFreq = 620.0

func scenario(parts ...string) Scenario {
	return Scenario(`<?xml version="1.0" encoding="ISO-8859-1" ?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<scenario name="desk phone">
` + strings.Join(parts, "") + options + "</scenario>\n")
}

// begin takes an OPTIONS or the INVITE and notes what later requests need.
const begin = `<recv request="OPTIONS" optional="true" next="9"/>
<recv request="INVITE">
  <action>
    <ereg regexp="sip:[^&gt;]*" search_in="hdr" header="Contact:" assign_to="target"/>
    <ereg regexp="&lt;[^&gt;]*&gt;" search_in="hdr" header="To:" assign_to="me"/>
    <ereg regexp="[^[:space:]].*" search_in="hdr" header="From:" assign_to="you"/>
    <ereg regexp="[0-9]+" search_in="hdr" header="CSeq:" assign_to="number"/>
    <log message="call [$number] to [$me] from [$you] at [$target]"/>
  </action>
</recv>
`

const tagged = `[last_Via:]
[last_From:]
[last_To:];tag=[pid]phone[call_number]
[last_Call-ID:]
`

const contact = `Contact: <sip:[local_ip]:[local_port];transport=[transport]>
`

const ringing = `<send><![CDATA[

SIP/2.0 180 Ringing
` + tagged + `[last_CSeq:]
` + contact + `Content-Length: 0

]]></send>
`

// final answers the INVITE.
func final(status, more string) string {
	return `<send retrans="500"><![CDATA[

SIP/2.0 ` + status + `
` + tagged + `[last_CSeq:]
` + contact + more + `
]]></send>
`
}

func answer(port string) string {
	return final("200 OK", "Content-Type: application/sdp\nContent-Length: [len]\n\n"+sdp("1", port))
}

func sdp(version, port string) string {
	return `v=0
o=phone 7 ` + version + ` IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [` + port + `] RTP/AVP 8
a=rtpmap:8 PCMA/8000
a=ptime:20
`
}

const ack = `<recv request="ACK"/>
`

const play = `<nop><action><exec rtp_stream="tone.alaw,1,8,PCMA/8000"/></action></nop>
`

func pause(ms string) string { return `<pause milliseconds="` + ms + `"/>` + "\n" }

// request is one of ours inside the dialog.
func request(retrans, method, number, more string) string {
	return `<send` + retrans + `><![CDATA[

` + method + ` [$target] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: [$me];tag=[pid]phone[call_number]
To: [$you]
Call-ID: [call_id]
CSeq: ` + number + ` ` + method + `
Max-Forwards: 70
` + contact + more + `
]]></send>
`
}

var move = request(` retrans="500"`, "INVITE", "2", "Content-Type: application/sdp\nContent-Length: [len]\n\n"+sdp("2", "media_port+2")) +
	`<recv response="100" optional="true"/>
<recv response="200"/>
` + request("", "ACK", "2", "Content-Length: 0\n")

var hangup = request(` retrans="500"`, "BYE", "2", "Content-Length: 0\n") +
	`<recv response="200" next="8"/>
`

const bye = `<recv request="BYE" timeout="120000"/>
<send next="8"><![CDATA[

SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
` + contact + `Content-Length: 0

]]></send>
`

const cancelled = `<recv request="CANCEL" timeout="120000"/>
<send><![CDATA[

SIP/2.0 200 OK
` + tagged + `[last_CSeq:]
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[

SIP/2.0 487 Request Terminated
` + tagged + `CSeq: [$number] INVITE
Content-Length: 0

]]></send>
<recv request="ACK" next="8"/>
`

const options = `<label id="9"/>
<send><![CDATA[

SIP/2.0 200 OK
` + tagged + `[last_CSeq:]
` + contact + `Content-Length: 0

]]></send>
<label id="8"/>
`

const dialled = "sip:[service]@[remote_ip]:[remote_port]"

// dialling is a request of a call that we place.
func dialling(retrans, method, uri, via, to, cseq, more string) string {
	return `<send` + retrans + `><![CDATA[

` + method + ` ` + uri + ` SIP/2.0
` + via + `
From: <sip:201@[local_ip]>;tag=[pid]phone[call_number]
` + to + `
Call-ID: [call_id]
CSeq: ` + cseq + ` ` + method + `
Max-Forwards: 70
` + contact + more + `
]]></send>
`
}

const newVia = "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]"

func invite(cseq, credentials string) string {
	return dialling(` retrans="500"`, "INVITE", dialled, newVia, "To: <"+dialled+">", cseq,
		credentials+"Content-Type: application/sdp\nContent-Length: [len]\n\n"+sdp("1", "rtpstream_audio_port"))
}

func challenged(cseq string) string {
	return `<recv response="401" auth="true"/>
` + dialling("", "ACK", dialled, "[last_Via:]", "[last_To:]", cseq, "Content-Length: 0\n")
}

var answered = `<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true"/>
` + dialling("", "ACK", "[next_url]", newVia, "[last_To:]", "2", "Content-Length: 0\n")

var goodbye = dialling(` retrans="500"`, "BYE", "[next_url]", newVia, "[last_To:]", "3", "Content-Length: 0\n") +
	`<recv response="200" next="8"/>
`

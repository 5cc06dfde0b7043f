package sip

import (
	"hash/maphash"
	"net/netip"
	"strconv"
	"strings"
)

// phrases are the reason phrases of the answers that we give ourselves.
var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 415: "Unsupported Media Type",
	480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
	484: "Address Incomplete", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
	491: "Request Pending", 500: "Server Internal Error", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Server Time-out", 603: "Decline",
}

// phrase returns the reason phrase of a status.
func phrase(status int) string {
	if p, ok := phrases[status]; ok {
		return p
	}
	return "Status " + strconv.Itoa(status)
}

// response builds an answer to a request: what RFC 3261 section 8.2.6 copies,
// and nothing else. toTag is put on To where the request had none.
func response(req *message, status int, toTag string, fl flow, extra ...field) *message {
	m := &message{status: status, reason: phrase(status)}
	for i, value := range req.all("Via") {
		if i == 0 {
			value = received(value, fl)
		}
		m.add("Via", value)
	}
	if status > 100 && status < 300 && req.method == "INVITE" {
		for _, value := range req.all("Record-Route") {
			m.add("Record-Route", value)
		}
	}
	m.add("From", req.get("From"))
	to := req.get("To")
	if a, ok := parseAddress(to); ok && status != 100 && toTag != "" {
		if _, tagged := a.params.get("tag"); !tagged {
			to += ";tag=" + toTag
		}
	}
	m.add("To", to)
	m.add("Call-ID", req.get("Call-ID"))
	m.add("CSeq", req.get("CSeq"))
	m.fields = append(m.fields, extra...)
	return m
}

// received notes in the top Via where the request came from (RFC 3261 section
// 18.2.1, RFC 3581 section 4).
func received(value string, fl flow) string {
	v, ok := parseVia(value)
	if !ok {
		return value
	}
	source := fl.remote.Addr()
	rport, asked := v.params.get("rport")
	if _, noted := v.params.get("received"); noted {
		return value
	}
	if host, err := netip.ParseAddr(strings.Trim(v.host, "[]")); !asked && err == nil && host == source {
		return value
	}
	if asked && rport == "" {
		head, tail, _ := strings.Cut(value, ";")
		var b strings.Builder
		b.WriteString(head)
		for part := range strings.SplitSeq(tail, ";") {
			if strings.EqualFold(strings.Trim(part, " \t="), "rport") {
				part = "rport=" + strconv.Itoa(int(fl.remote.Port()))
			}
			b.WriteString(";" + part)
		}
		value = b.String()
	}
	return value + ";received=" + source.WithZone("").String()
}

// replyFlow returns where the answer to a request goes: never further than its
// source address. Over UDP the port is the source port if rport asks for it,
// else Via's (RFC 3261 section 18.2.2, RFC 3581).
func replyFlow(req *message, fl flow) flow {
	if fl.conn != nil {
		return fl
	}
	v, ok := parseVia(req.get("Via"))
	if !ok {
		return fl
	}
	if _, asked := v.params.get("rport"); asked {
		return fl
	}
	port := v.port
	if port == 0 {
		port = defaultPort
	}
	fl.remote = addrPort(fl.remote.Addr(), port)
	return fl
}

// refuse answers a request without remembering anything: the same request
// again gets the same answer, tag included. An ACK is never answered.
func (s *Server) refuse(req *message, fl flow, f *fault) {
	s.metrics.reject(f.label)
	if req == nil || req.method == "ACK" || f.status == 0 {
		return
	}
	top, ok := mendVia(req.get("Via"))
	if !ok {
		return
	}
	req.set("Via", top)
	m := response(req, f.status, s.statelessTag(req), fl, f.extra...)
	if f.text != "" {
		m.reason = f.text
	}
	if req.method == "INVITE" && !m.has("X-WA-Error") {
		m.addReason(formal(f.status, m.reason))
	}
	replyFlow(req, fl).send(m.bytes(), nil)
}

// statelessTag returns the same tag for the same request.
func (s *Server) statelessTag(req *message) string {
	var h maphash.Hash
	h.SetSeed(s.seed)
	h.WriteString(req.get("Via"))
	h.WriteString(req.get("Call-ID"))
	h.WriteString(req.get("From"))
	return strconv.FormatUint(h.Sum64(), 36)
}

package sip

import (
	"net/netip"
	"slices"
	"strings"
)

// dialog is what RFC 3261 section 12 keeps of an answered call, as text, so
// that what goes back is what came. It is also the durable form.
type dialog struct {
	CallID    string   `json:"call_id"`
	Local     string   `json:"local"`  // our From or To value, with its tag
	Remote    string   `json:"remote"` // theirs
	LocalSeq  uint32   `json:"local_seq"`
	RemoteSeq uint32   `json:"remote_seq"`
	Target    string   `json:"target"` // URI of the far end's Contact
	Routes    []string `json:"routes,omitempty"`
	Proto     string   `json:"proto"`
	// Peer is the address that the answer or the INVITE came from: where
	// messages go when Contact or Record-Route lead outside the trunk.
	Peer netip.AddrPort `json:"peer"`
}

// dialogOfAnswer builds the dialog of a 2xx to an INVITE of ours.
func dialogOfAnswer(m *message) *dialog {
	seq, _ := m.cseq()
	d := &dialog{
		CallID: m.get("Call-ID"), Local: m.get("From"), Remote: m.get("To"), LocalSeq: seq,
		Target: contactURI(m), Routes: m.all("Record-Route"), Proto: m.from.proto, Peer: m.from.addr,
	}
	slices.Reverse(d.Routes)
	return d
}

// dialogOfInvite builds the dialog of an INVITE that we answer with tag.
func dialogOfInvite(m *message, tag string) *dialog {
	seq, _ := m.cseq()
	return &dialog{
		CallID: m.get("Call-ID"), Local: m.get("To") + ";tag=" + tag, Remote: m.get("From"), LocalSeq: firstSeq(), RemoteSeq: seq,
		Target: contactURI(m), Routes: m.all("Record-Route"), Proto: m.from.proto, Peer: m.from.addr,
	}
}

// contactURI returns the URI of a message's Contact, "" when it has none that
// could be used.
func contactURI(m *message) string {
	a, ok := parseAddress(m.get("Contact"))
	if u, good := parseURI(a.uri); !ok || !good || (u.scheme != "sip" && u.scheme != "sips") {
		return ""
	}
	return a.uri
}

// remoteTag returns the far end's tag.
func (d *dialog) remoteTag() string { return tag(d.Remote) }

// request builds a request inside the dialog, routes included (RFC 3261
// section 12.2.1.1). Via is added when it is sent.
func (d *dialog) request(method string, seq uint32) *message {
	target := d.Target
	if target == "" { // it sent no Contact: the address it spoke from
		target = "sip:" + d.Peer.String()
	}
	m := &message{method: method, uri: target}
	m.add("Max-Forwards", "70")
	routes := d.Routes
	if first, ok := firstRoute(routes); ok && !first.loose {
		m.uri = first.uri
		routes = append(slices.Clone(routes[1:]), "<"+target+">")
	}
	for _, r := range routes {
		m.add("Route", r)
	}
	m.add("From", d.Local)
	m.add("To", d.Remote)
	m.add("Call-ID", d.CallID)
	m.add("CSeq", utoa(seq)+" "+method)
	return m
}

// route is the first member of a route set.
type route struct {
	uri   string
	loose bool
}

func firstRoute(routes []string) (route, bool) {
	if len(routes) == 0 {
		return route{}, false
	}
	a, ok := parseAddress(routes[0])
	u, good := parseURI(a.uri)
	if !ok || !good {
		return route{}, false
	}
	_, loose := u.params.get("lr")
	return route{a.uri, loose}, true
}

// nextHop returns where a request of the dialog goes: the first route, else
// the remote target, as long as that is an address of the trunk. Names are not
// looked up: whoever leads a call elsewhere is answered where it spoke from.
func (s *Server) nextHop(t *trunk, d *dialog) endpoint {
	peer := endpoint{proto: d.Proto, addr: d.Peer}
	next := d.Target
	if first, ok := firstRoute(d.Routes); ok {
		next = first.uri
	}
	u, ok := parseURI(next)
	if !ok {
		return peer
	}
	a, literal := u.addr()
	if !literal || !t.allows(a) || (t.cfg.NAT && a.IsPrivate() && a != d.Peer.Addr()) {
		return peer
	}
	to := endpoint{proto: u.proto(d.Proto), addr: addrPort(a, u.port)}
	if d.Proto == "tls" && to.proto != "tls" { // what began in secret stays so
		return peer
	}
	if u.port == 0 {
		to.addr = addrPort(a, portOf(to.proto))
	}
	if to.proto != "udp" && a == d.Peer.Addr() && s.connected(t, endpoint{proto: to.proto, addr: d.Peer}) {
		return endpoint{proto: to.proto, addr: d.Peer}
	}
	return to
}

// connected tells whether a connection to an endpoint is open for a trunk.
func (s *Server) connected(t *trunk, to endpoint) bool {
	key := t.keyOf(to)
	s.connMu.Lock()
	defer s.connMu.Unlock()
	return s.openConn(key) != nil
}

// ackFor builds the ACK of a 2xx: a transaction of its own, with the INVITE's
// credentials (RFC 3261 sections 13.2.2.4 and 22.1).
func (s *Server) ackFor(t *trunk, d *dialog, seq uint32, creds field) ([]byte, endpoint) {
	to := s.nextHop(t, d)
	m := d.request("ACK", seq)
	m.fields = append([]field{{"Via", s.viaFor(to, newBranch())}}, m.fields...)
	m.add(creds.name, creds.value)
	return m.bytes(), to
}

// stray is why a call ends that nobody here has.
var stray = Reason{Q850: 16, Text: "nobody waits for it", WAError: "cancelled"}

// endStray ends a call that nobody here has any more, or never had: a late or
// a forked 2xx. Each is acknowledged; the BYE goes out once per dialog.
func (s *Server) endStray(t *trunk, m *message, r Reason) {
	d := dialogOfAnswer(m)
	seq, _ := m.cseq()
	if !t.allows(d.Peer.Addr()) {
		return
	}
	ack, to := s.ackFor(t, d, seq, field{})
	if !t.allows(to.addr.Addr()) {
		return
	}
	s.flowTo(t, to).send(ack, nil)
	if !s.firstStray(d.CallID + "|" + d.remoteTag()) {
		return
	}
	bye := d.request("BYE", seq+lostSeq) // past what was confirmed in the early dialog
	bye.addReason(r)
	s.request(t, bye, to, newBranch(), s.tm.limit(), func(*clientTx, *message, error) bool { return true })
}

// cutSpace splits CSeq.
func cutSpace(s string) (before, after string, found bool) { return strings.Cut(s, " ") }

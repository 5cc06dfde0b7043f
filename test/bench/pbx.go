package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
)

// pbx is the least of a PBX: it answers every INVITE at once with the phone of
// its call, and says yes to whatever else is asked.
type pbx struct {
	gateway *wagate
	conn    *net.UDPConn
}

func newPBX(w *wagate) (*pbx, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		return nil, fmt.Errorf("PBX: %w", err)
	}
	p := &pbx{gateway: w, conn: conn}
	go p.serve()
	return p, nil
}

func (p *pbx) addr() string { return p.conn.LocalAddr().String() }
func (p *pbx) close()       { _ = p.conn.Close() }

func (p *pbx) serve() {
	in := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFromUDPAddrPort(in)
		if isClosed(err) {
			return
		}
		if err != nil {
			continue
		}
		if reply := p.answer(string(in[:n])); reply != "" {
			_, _ = p.conn.WriteToUDPAddrPort([]byte(reply), from)
		}
	}
}

// answer is the final response to a request; responses and ACK get none.
func (p *pbx) answer(message string) string {
	head, body, _ := strings.Cut(message, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	method, _, _ := strings.Cut(lines[0], " ")
	if method == "SIP/2.0" || method == "ACK" {
		return ""
	}
	sdp := ""
	reply := []string{"SIP/2.0 200 OK"}
	id := ""
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(name) {
		case "via", "from", "call-id", "cseq", "record-route":
			reply = append(reply, line)
		case "to":
			if !strings.Contains(value, "tag=") {
				line += fmt.Sprintf(";tag=%x", rand.Uint64())
			}
			reply = append(reply, line)
		case "x-wa-id":
			id = strings.TrimSpace(value)
		}
	}
	if method == "INVITE" {
		call := p.gateway.find(id)
		to, err := audioOf(body)
		if call == nil || err != nil {
			reply[0] = "SIP/2.0 404 Not Found"
		} else {
			call.call.phone.far.Store(&to)
			sdp = call.call.phone.describe()
			reply = append(reply, "Contact: <sip:600@"+p.addr()+">", "Content-Type: application/sdp")
		}
	}
	reply = append(reply, fmt.Sprintf("Content-Length: %d", len(sdp)), "", sdp)
	return strings.Join(reply, "\r\n")
}

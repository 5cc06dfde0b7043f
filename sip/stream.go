package sip

import (
	"bytes"
	"net"
	"strings"
	"time"
)

// framer cuts a byte stream into messages (RFC 3261 section 18.3). Once it has
// reported a fault the stream has no next message: it must be closed.
type framer struct {
	buf     []byte
	scanned int  // bytes of buf in which no end of header was found
	half    bool // one CRLF was read since the last message: another makes a ping
}

// feed appends what was read.
func (f *framer) feed(data []byte) { f.buf = append(f.buf, data...) }

// next returns the next whole message; nil without a fault means that more
// must be read. pings counts the keep-alives passed over (RFC 5626 3.5.1).
func (f *framer) next() (data []byte, pings int, bad *fault) {
	for bytes.HasPrefix(f.buf, []byte("\r\n")) {
		f.buf, f.scanned = f.buf[2:], 0
		if f.half {
			pings++
		}
		f.half = !f.half
	}
	end := bytes.Index(f.buf[f.scanned:], []byte("\r\n\r\n"))
	if end < 0 {
		if f.tooLong() {
			return f.buf, pings, &fault{status: 513, label: "size", text: "Message Too Large"}
		}
		f.scanned = max(0, len(f.buf)-3)
		return nil, pings, nil
	}
	head := f.scanned + end + 4
	length, ok := contentLength(f.buf[:head])
	switch {
	case !ok:
		return f.buf[:head], pings, malformed("Bad Content-Length")
	case head+length > maxMessage:
		return f.buf[:head], pings, &fault{status: 513, label: "size", text: "Message Too Large"}
	case len(f.buf) < head+length:
		f.scanned = head - 4
		return nil, pings, nil
	}
	data = bytes.Clone(f.buf[:head+length])
	f.buf, f.scanned, f.half = f.buf[head+length:], 0, false
	return data, pings, nil
}

// tooLong tells whether an unfinished header is beyond what will be read: in
// all, or in its last line.
func (f *framer) tooLong() bool {
	if len(f.buf) > maxMessage {
		return true
	}
	line := len(f.buf) - (bytes.LastIndexByte(f.buf, '\n') + 1)
	return line > maxLine
}

// contentLength finds the one Content-Length of a header; anything that two
// readers could understand differently is no length at all.
func contentLength(head []byte) (int, bool) {
	length, found := 0, false
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimRight(name, " \t"))
		if name != "content-length" && name != "l" {
			continue
		}
		n, ok := digits(strings.Trim(value, " \t"), 1<<31-1)
		if !ok || found {
			return 0, false
		}
		length, found = n, true
	}
	return length, found
}

// readTCP reads one connection until it ends: by the peer, by silence, by a
// message that does not come to its end, or by the first fault.
func (s *Server) readTCP(c *conn, nc net.Conn) {
	defer c.finish()
	fl := flow{conn: c, remote: c.remote}
	var f framer
	buf := make([]byte, 4<<10)
	due := time.Now().Add(s.tm.first) // the first message must be whole by then
	fresh := c.inbound
	for {
		deadline := due
		if !fresh && len(f.buf) == 0 {
			deadline = time.Time{}
			if c.inbound {
				deadline = time.Now().Add(s.tm.idle)
			}
		}
		if nc.SetReadDeadline(deadline) != nil {
			return
		}
		was := len(f.buf)
		n, err := nc.Read(buf)
		if n > 0 {
			if was == 0 && !fresh {
				due = time.Now().Add(s.tm.first)
			}
			c.pulse.heard()
			f.feed(buf[:n])
			if !s.takeStream(&f, fl, &fresh) {
				return
			}
		}
		if err != nil {
			c.blame(readFault(c, err))
			return
		}
	}
}

// readFault names a refusal that TLS 1.3 brings after the handshake.
func readFault(c *conn, err error) error {
	if c.secure != nil && isAlert(err) {
		return tlsFault(c.secure.ServerName, err)
	}
	return err
}

// takeStream takes every whole message that the framer has. It returns false
// when the connection is to be closed.
func (s *Server) takeStream(f *framer, fl flow, fresh *bool) bool {
	for {
		data, pings, bad := f.next()
		if f.half && fl.conn.pulse.pong() {
			f.half = false
		}
		if pings > 0 {
			*fresh = false
			fl.send([]byte("\r\n"), nil)
		}
		if bad != nil {
			m, _ := parse(data, true)
			s.refuse(m, fl, bad)
			return false
		}
		if data == nil {
			if len(f.buf) == 0 {
				f.buf = nil
			}
			return true
		}
		*fresh = false
		if !s.known(fl.remote.Addr()) {
			s.metrics.reject("source")
			return false
		}
		if !s.admit(fl.remote.Addr()) {
			continue
		}
		if !s.take(data, false, fl) {
			return false
		}
	}
}

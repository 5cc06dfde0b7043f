//go:build system

package test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"wagate/test/rig"
)

// The limits of the webhook's listener, which faces the internet. Three times
// the figures is asserted.
const (
	headerPatience = 5 * time.Second
	bodyPatience   = 10 * time.Second
	mostStreams    = 100
	mostAtOnce     = 256
)

// TestWebhookListener: whoever says too much, too little, or nothing.
func TestWebhookListener(t *testing.T) {
	t.Parallel()
	r, _ := rigged(t, rig.Options{Config: unprobed})
	at, path := r.Gateway.WebhookAddr(), r.Config.HTTP.Webhook.Path
	post := "POST " + path + " HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=" + strings.Repeat("0", 64) + "\r\n"
	for _, c := range []struct {
		name, sends string
		status      int           // 0: none
		within      time.Duration // until the connection is closed
	}{
		{"nothing", "", 0, headerPatience},
		{"half a request line", "POST /ho", 400, headerPatience},
		{"headers without an end", post + "X-A: b\r\n", 0, headerPatience},
		{"a body that does not come", post + "Content-Length: 100\r\n\r\n{", 400, bodyPatience},
		{"headers of 32 KiB", post + "X-A: " + strings.Repeat("a", 32<<10) + "\r\n\r\n", 431, headerPatience},
		{"a body said to be of 4 MiB", post + "Content-Length: 4194304\r\n\r\n", 413, bodyPatience},
		{"a chunked body of 4 MiB", post + "Transfer-Encoding: chunked\r\n\r\n400000\r\n" + strings.Repeat("a", 4<<20) + "\r\n0\r\n\r\n", 413, bodyPatience},
		{"two lengths", post + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", 400, headerPatience},
		{"length and chunks", post + "Connection: close\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 401, bodyPatience},
		{"not HTTP", "INVITE sip:a@b SIP/2.0\r\n\r\n", 400, headerPatience},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			if status := converse(t.Context(), t, at, c.sends); status != c.status {
				t.Errorf("got %d, want %d", status, c.status)
			}
			if took := time.Since(began); took > 3*c.within {
				t.Errorf("the connection was open for %v, want %v", took, c.within)
			}
		})
	}
}

// converse sends text, waits until the other side closes, and returns the status
// that it answered with, 0 for none.
func converse(ctx context.Context, t *testing.T, at, text string) int {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(3*bodyPatience+patience)))
	go func() { _, _ = io.WriteString(conn, text) }() // who refuses need not read it all
	in := textproto.NewReader(bufio.NewReader(conn))
	line, err := in.ReadLine()
	if err != nil {
		if isTimeout(err) {
			t.Error("the connection stays open")
		}
		return 0
	}
	var version string
	status := 0
	if _, err := fmt.Sscan(line, &version, &status); err != nil {
		t.Errorf("answered %q", line)
	}
	if _, err = io.Copy(io.Discard, in.R); isTimeout(err) {
		t.Error("the connection stays open")
	}
	return status
}

func isTimeout(err error) bool {
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}

// TestSlowClients: as many connections as the listener takes, and more, that
// trickle their headers. A webhook gets through nevertheless, and does not wait
// for long.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	var conns []net.Conn
	for range mostAtOnce + 50 {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Gateway.WebhookAddr())
		must(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /hook HTTP/1.1\r\n")
		must(t, err)
		conns = append(conns, conn)
	}
	began := time.Now()
	trickle, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() {
		for trickle.Err() == nil {
			for _, conn := range conns {
				_, _ = io.WriteString(conn, "X-A: b\r\n")
			}
			pause(trickle, 500*time.Millisecond)
		}
	})
	if status, err := r.Meta.Inject(ctx, []byte("{}")); err != nil || status != http.StatusOK {
		t.Errorf("a webhook got %d, %v", status, err)
	}
	took := time.Since(began)
	t.Logf("a webhook among %d slow clients was answered after %v", len(conns), took)
	if took > 3*headerPatience {
		t.Errorf("a webhook waited %v for slow clients, want %v", took, headerPatience)
	}
}

// TestWebhookStreams: over HTTP/2 the listener says how many streams it takes,
// and outlives who opens and resets more.
func TestWebhookStreams(t *testing.T) {
	t.Parallel()
	k, ctx := keyed(t)
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}} //nolint:gosec // an attacker does not look
	conn, err := d.DialContext(ctx, "tcp", k.rig.Gateway.WebhookAddr())
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	frame := func(kind, flags byte, stream uint32, payload string) {
		head := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags}
		_, err = conn.Write(append(binary.BigEndian.AppendUint32(head, stream), payload...))
	}
	_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	must(t, err)
	frame(4, 0, 0, "")
	must(t, err)
	var head [9]byte
	_, err = io.ReadFull(conn, head[:])
	must(t, err)
	settings := make([]byte, int(head[1])<<8|int(head[2]))
	_, err = io.ReadFull(conn, settings)
	must(t, err)
	streams := uint32(0)
	for rest := settings; head[3] == 4 && len(rest) >= 6; rest = rest[6:] {
		if binary.BigEndian.Uint16(rest) == 3 { // SETTINGS_MAX_CONCURRENT_STREAMS
			streams = binary.BigEndian.Uint32(rest[2:])
		}
	}
	if streams != mostStreams {
		t.Errorf("%d streams at once are allowed, want %d", streams, mostStreams)
	}
	// :method POST, :scheme https, :path /, :authority x
	request := "\x83\x87\x84\x41\x01x"
	for id := uint32(1); id < 20_000 && err == nil; id += 2 {
		frame(1, 4, id, request)
		frame(3, 0, id, "\x00\x00\x00\x08") // RST_STREAM, CANCEL
	}
	if status, err := k.rig.Meta.Inject(ctx, []byte("{}")); err != nil || status != http.StatusOK {
		t.Errorf("a webhook got %d, %v", status, err)
	}
}

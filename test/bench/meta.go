package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// meta is the least of Meta that a call needs: a webhook that announces it, and
// a Graph API that says yes to everything.
type meta struct {
	gateway *wagate
	server  *http.Server
	addr    net.Addr
}

func newMeta(w *wagate) (*meta, error) {
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		return nil, fmt.Errorf("serve as the Graph API: %w", err)
	}
	m := &meta{gateway: w, addr: l.Addr()}
	m.server = &http.Server{Handler: http.HandlerFunc(m.serve), ReadHeaderTimeout: setupPatience}
	go func() { _ = m.server.Serve(l) }()
	return m, nil
}

func (m *meta) url() string { return "http://" + m.addr.String() }
func (m *meta) close()      { _ = m.server.Close() }

func (m *meta) serve(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Action string `json:"action"`
		CallID string `json:"call_id"`
	}
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &request)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"messaging_product":"whatsapp","success":true,"id":"`+numberID+`","status":"CONNECTED"}`)
	call := m.gateway.find(request.CallID)
	if call == nil {
		return
	}
	switch request.Action {
	case "accept":
		call.once.Do(func() { close(call.accepted) })
	case "reject", "terminate":
		call.once.Do(func() { close(call.refused) })
	}
}

// announce posts the webhook of a call that comes in.
func (m *meta) announce(ctx context.Context, url string, c *call) error {
	type object = map[string]any
	body, err := json.Marshal(object{
		"object": "whatsapp_business_account",
		"entry": []object{{"id": "1", "changes": []object{{"field": "calls", "value": object{
			"messaging_product": "whatsapp",
			"metadata":          object{"display_phone_number": "351210000321", "phone_number_id": numberID},
			"contacts":          []object{{"profile": object{"name": "Bench"}, "wa_id": "34600" + c.id[len(c.id)-6:]}},
			"calls": []object{{
				"id": c.id, "from": "34600" + c.id[len(c.id)-6:], "to": "351210000321", "event": "connect",
				"timestamp": strconv.FormatInt(time.Now().Unix(), 10), "direction": "USER_INITIATED",
				"session": object{"sdp_type": "offer", "sdp": c.customer.offer(true)},
			}},
		}}}}},
	})
	if err != nil {
		return err
	}
	sum := hmac.New(sha256.New, []byte(appSecret))
	sum.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(sum.Sum(nil)))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("webhook: %s", res.Status)
	}
	return nil
}

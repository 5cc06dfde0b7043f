package test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// told is the trace of a call as the API tells it.
type told struct {
	Lines []toldLine `json:"lines"`
	raw   string
}

type toldLine struct {
	At     time.Time `json:"at"`
	With   string    `json:"with"`
	Sent   bool      `json:"sent"`
	What   string    `json:"what"`
	Method string    `json:"method"`
}

func traceOf(ctx context.Context, t *testing.T, r *rig.Rig, id string) (got told, status int) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Gateway.AdminAddr()+"/api/v1/calls/"+id+"/trace", http.NoBody)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode == http.StatusOK {
		must(t, json.Unmarshal(body, &got))
	}
	got.raw = string(body)
	return got, resp.StatusCode
}

// ladder is the trace in short: > is from the gateway.
func (g told) ladder() []string {
	var all []string
	for _, l := range g.Lines {
		way := "<"
		if l.Sent {
			way = ">"
		}
		all = append(all, strings.TrimSpace(way+l.With+" "+l.What+" "+l.Method))
	}
	return all
}

// wantInOrder looks for the steps one after the other; others may be between.
func (g told) wantInOrder(t *testing.T, steps ...string) {
	t.Helper()
	at := 0
	for _, line := range g.ladder() {
		if at < len(steps) && line == steps[at] {
			at++
		}
	}
	if at < len(steps) {
		t.Errorf("%q is missing, or at another place, in\n%s", steps[at], strings.Join(g.ladder(), "\n"))
	}
	if !slices.IsSortedFunc(g.Lines, func(a, b toldLine) int { return a.At.Compare(b.At) }) {
		t.Error("the times do not go on")
	}
}

// wantNoSecrets looks for everything that could let a reader in.
func (g told) wantNoSecrets(t *testing.T, r *rig.Rig, more ...string) {
	t.Helper()
	cfg := r.Config
	secrets := []string{cfg.WhatsApp.VerifyToken.Reveal(), cfg.WhatsApp.Numbers[0].AccessToken.Reveal(), cfg.WhatsApp.AppSecrets[0].Reveal()}
	for _, secret := range append(secrets, more...) {
		if secret == "" || strings.Contains(g.raw, secret) {
			t.Errorf("%q is a secret, and in the trace", secret)
		}
	}
	for _, pattern := range []string{`ice-pwd:[^\[]`, `ice-ufrag:[^\[]`, `(?i)response=[^\[]`, `inline:[^\[]`, `(?i)bearer [^\[]`} {
		if found := regexp.MustCompile(pattern).FindString(g.raw); found != "" {
			t.Errorf("a secret begins at %q", found)
		}
	}
	if !strings.Contains(g.raw, "a=fingerprint:") || !strings.Contains(g.raw, "m=audio") {
		t.Error("what is asked for is cut as well: no session description is there")
	}
}

// onDisk waits until the trace has left the memory.
func onDisk(ctx context.Context, t *testing.T, r *rig.Rig, id string) {
	t.Helper()
	eventually(ctx, t, "the trace on the disk", func() bool {
		for _, name := range []string{"wagate.db", "wagate.db-wal"} {
			content, err := os.ReadFile(filepath.Join(r.Config.DataDir, name))
			if err == nil && bytes.Contains(content, []byte(`{"call":"`+id+`","lines":`)) {
				return true
			}
		}
		return false
	})
}

func TestTraceOfACustomersCall(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{})
	r.PBX.Handle(answering(300 * time.Millisecond))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{})
	id := phone.Invite().Get("X-WA-Call")
	live, status := traceOf(ctx, t, r, id)
	if status != http.StatusOK {
		t.Fatalf("no trace of a live call: %d %s", status, live.raw)
	}
	live.wantInOrder(t, "<webhook connect", ">sip INVITE", "<sip 180 Ringing INVITE", "<sip 200 OK INVITE", ">graph accept 200")
	customer.HangUp()
	must(t, phone.Wait(ctx, faketrunk.Ended))
	rs := settled(ctx, t, r)
	if len(rs) != 1 || rs[0].ID != id {
		t.Fatalf("records are %+v", rs)
	}
	steps := []string{
		"<webhook connect", ">sip INVITE", "<sip 180 Ringing INVITE", "<sip 200 OK INVITE", ">sip ACK", ">graph accept 200", "<webhook terminate", ">sip BYE", "<sip 200 OK BYE",
	}
	ended, _ := traceOf(ctx, t, r, id)
	ended.wantInOrder(t, steps...)
	ended.wantInOrder(t, "<webhook connect", ">graph pre_accept 200", ">graph accept 200", "<webhook terminate")
	ended.wantNoSecrets(t, r)
	if !strings.Contains(ended.raw, `udp 127.0.0.1:`) || !strings.Contains(ended.raw, "X-WA-Call: "+id) && !strings.Contains(ended.raw, "x-wa-call: "+id) {
		t.Errorf("neither address nor headers of the PBX: %s", ended.raw)
	}
	onDisk(ctx, t, r, id)
	must(t, r.StopGateway())
	must(t, r.StartGateway())
	kept, status := traceOf(ctx, t, r, id)
	if status != http.StatusOK {
		t.Fatalf("the trace is gone with the process: %d %s", status, kept.raw)
	}
	kept.wantInOrder(t, steps...)
	kept.wantNoSecrets(t, r)
	if _, status := traceOf(ctx, t, r, "another"); status != http.StatusNotFound {
		t.Errorf("a call that never was: %d", status)
	}
}

// TestTraceOfACallWithPassword: what a phone proves itself by is not told.
func TestTraceOfACallWithPassword(t *testing.T) {
	t.Parallel()
	const password = "pass-7vQx-word"
	r, ctx := rigged(t, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.Trunks[0].Challenge = config.Challenge{User: "agent", Password: password, Algorithms: []string{"MD5"}}
	}})
	r.Meta.Callee("", fakemeta.Callee{Ring: 100 * time.Millisecond, Answer: 300 * time.Millisecond})
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + dialledCustomer + "@" + r.Gateway.SIPAddr("udp"), From: "201", User: "agent", Password: password})
	must(t, err)
	must(t, call.Wait(ctx, faketrunk.Up))
	must(t, call.Audio().Meter().Wait(ctx, rig.CustomerTone))
	must(t, call.Hangup(ctx))
	rs := settled(ctx, t, r)
	if len(rs) != 1 {
		t.Fatalf("records are %+v", rs)
	}
	got, status := traceOf(ctx, t, r, rs[0].ID)
	if status != http.StatusOK {
		t.Fatalf("no trace: %d %s", status, got.raw)
	}
	got.wantInOrder(t, "<sip INVITE", ">sip 401 Unauthorized INVITE", "<sip ACK", "<sip INVITE", ">graph connect 200", "<webhook connect", "<webhook RINGING", ">sip 180 Ringing INVITE",
		">sip 200 OK INVITE", "<sip ACK", "<sip BYE", ">sip 200 OK BYE", ">graph terminate 200")
	var digests []string
	for _, m := range call.Messages() {
		if _, rest, found := strings.Cut(m.Get("Authorization"), `response="`); found {
			digest, _, _ := strings.Cut(rest, `"`)
			digests = append(digests, digest)
		}
	}
	if len(digests) == 0 {
		t.Error("the phone proved nothing")
	}
	got.wantNoSecrets(t, r, append(digests, password)...)
	if !strings.Contains(got.raw, `username=\"agent\"`) {
		t.Error("who called is to be seen")
	}
}

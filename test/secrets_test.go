//go:build system

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
)

const phonePassword = "pass-7vQx-word"

// The secrets of the daemon under test, as they stand in its environment.
var ownSecrets = []string{"app-secret", "verify-token", "access-token", phonePassword}

// TestSecretsAndNumbersStayInside: of many calls with every kind of end, and of
// strangers who try to be quoted, no secret comes out by the log, the stacks of
// an abort, the profiles, the metrics, the API or the store; and above Debug the
// log is one clean line per event without a customer's number.
func TestSecretsAndNumbersStayInside(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	d := newDaemon(t, "  - {name: out, direction: outbound, match: {trunk: pbx}, number: support, countries: [ES]}\n")
	text, err := os.ReadFile(d.file)
	must(t, err)
	changed := strings.NewReplacer("format: text", "format: json", `path: /hook}`, `path: /hook}`,
		"max_cps: 1000}", "max_cps: 1000, challenge: {user: agent, password: {env: TEST_PHONE}}}").Replace(string(text))
	changed = regexp.MustCompile(`admin: \{(listen: "[^"]*")\}`).ReplaceAllString(changed, "admin: {$1, pprof: true}")
	must(t, os.WriteFile(d.file, []byte(changed), 0o600))
	d.env = append(d.env, "TEST_PHONE="+phonePassword)
	d.pbx.Handle(func(m *faketrunk.Message) faketrunk.Script {
		switch m.Get("X-WA-Payload") {
		case "busy":
			return faketrunk.Refuse(486)
		case "forever":
			return faketrunk.NoAnswer()
		}
		return faketrunk.Answer(0)
	})
	d.start(ctx)
	calls := d.manyCalls(ctx)
	d.strangers(ctx)
	d.records(ctx, calls)
	shown := d.shown(ctx)
	d.logged(ctx, `"msg":"call ended"`)

	d.signal(syscall.SIGABRT) // as the watchdog does
	d.exited(ctx)
	log, dump, aborted := strings.Cut(d.log.String(), "SIGABRT: abort")
	if !aborted || !strings.Contains(dump, "goroutine ") {
		t.Error("an abort leaves no stacks")
	}
	shown["log"], shown["stacks"] = log, dump
	for _, file := range []string{"wagate.db", "wagate.db-wal"} {
		content, err := os.ReadFile(filepath.Join(d.data, file))
		must(t, err)
		shown[file] = string(content)
	}
	for where, text := range shown {
		for _, secret := range ownSecrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s shows %s: …%q…", where, secret, text[max(i-80, 0):min(i+80, len(text))])
			}
		}
	}
	if m := regexp.MustCompile(`ice-pwd|inline:|fingerprint:|response=\\?"`).FindString(log + dump); m != "" {
		t.Errorf("%s is in the log", m)
	}
	if strings.Contains(shown["metrics"], customerDigits) {
		t.Error("a customer's number is in the metrics")
	}
	wantCleanLog(t, log, calls)
}

// customerDigits are in the number of every customer.
const customerDigits = "600555"

// manyCalls lets calls come and go, and returns how many.
func (d *daemon) manyCalls(ctx context.Context) (calls int) {
	d.t.Helper()
	names := []string{
		"Ana", "x\r\nlevel=ERROR msg=forged", `"},{"level":"ERROR"`, "\x1b[31mred\x1b[0m\a", "<script>alert(1)</script>",
		strings.Repeat("long ", 1600), "\u2028\u0085", "+34" + customerDigits + "000",
	}
	for _, action := range []string{"pre_accept", "terminate"} { // Meta answers with what it was sent
		d.meta.Fail(fakemeta.Fault{
			Kind: fakemeta.Fail, Action: action, Code: 131000, Times: 2,
			Message: "Malformed access token access-token for +34" + customerDigits + "000\r\nforged", Details: "access-token",
		})
	}
	for i := range 24 {
		number := fmt.Sprintf("34%s%03d", customerDigits, i)
		c, err := d.meta.Call(ctx, fakemeta.CallOptions{
			User: fakemeta.User{Number: number, Name: names[i%len(names)]}, Payload: []string{"", "busy", "forever"}[i%3], DeepLink: names[i%len(names)],
		})
		must(d.t, err)
		calls++
		switch i % 3 {
		case 0:
			must(d.t, c.Wait(ctx, fakemeta.Connected))
			c.HangUp()
		case 2:
			must(d.t, c.Wait(ctx, fakemeta.Ringing))
			c.HangUp()
		}
		must(d.t, c.Wait(ctx, fakemeta.Ended))
	}
	for i, callee := range []fakemeta.Callee{{Answer: time.Millisecond}, {Reject: time.Millisecond}, {Absent: true}, {Fail: 138021}} {
		number := fmt.Sprintf("34%s1%02d", customerDigits, i)
		d.meta.Callee(number, callee)
		if i == 3 {
			d.meta.Permit(number, false)
		}
		for _, password := range []string{phonePassword, "wrong-" + phonePassword[:3]} {
			call, err := d.pbx.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + number + "@" + d.sip, From: "201", User: "agent", Password: password})
			must(d.t, err)
			want := faketrunk.Refused
			if i == 0 && password == phonePassword {
				want = faketrunk.Up
			}
			must(d.t, call.Wait(ctx, want))
			if want == faketrunk.Up {
				must(d.t, call.Hangup(ctx))
			}
			if password == phonePassword {
				calls++
			}
		}
	}
	return calls
}

// strangers say what they would like to see quoted.
func (d *daemon) strangers(ctx context.Context) {
	d.t.Helper()
	body := `{"entry":[{"changes":[{"value":{"calls":[{"from":"34` + customerDigits + `999"}]}}]}]}`
	for _, signature := range []string{"", "sha256=" + strings.Repeat("0", 64), "sha256=\x1b[31m"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.hook, strings.NewReader(body))
		must(d.t, err)
		if signature != "" && !strings.ContainsFunc(signature, unicode.IsControl) {
			req.Header.Set("X-Hub-Signature-256", signature)
		}
		res, err := http.DefaultClient.Do(req)
		must(d.t, err)
		res.Body.Close()
	}
	get, err := http.NewRequestWithContext(ctx, http.MethodGet, d.hook+"?hub.mode=subscribe&hub.verify_token=verify-tokem&hub.challenge=1", nil)
	must(d.t, err)
	res, err := http.DefaultClient.Do(get)
	must(d.t, err)
	res.Body.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "udp", d.sip)
	must(d.t, err)
	defer conn.Close()
	for _, garbage := range []string{
		"INVITE sip:+34" + customerDigits + "999@x SIP/2.0\r\n\r\n", "\x1b[31m\r\n\r\n", "OPTIONS sip:x SIP/7.0\r\nFrom: \"\r\n +34" + customerDigits + "999\"\r\n\r\n",
	} {
		_, err := conn.Write([]byte(garbage))
		must(d.t, err)
	}
}

// shown is whatever the admin server shows, by what it is.
func (d *daemon) shown(ctx context.Context) map[string]string {
	d.t.Helper()
	read := func(path string) string {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+path, nil)
		must(d.t, err)
		res, err := http.DefaultClient.Do(req)
		must(d.t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		must(d.t, err)
		if res.StatusCode != http.StatusOK {
			d.t.Errorf("%s: %s", path, res.Status)
		}
		return string(text)
	}
	all := map[string]string{"metrics": read("/metrics"), "records": read("/api/v1/records?limit=1000"), "health": read("/healthz") + read("/readyz")}
	for _, profile := range []string{"goroutine?debug=2", "heap?debug=1", "cmdline"} {
		all[profile] = read("/debug/pprof/" + profile)
	}
	var page struct{ Records []struct{ ID string } }
	must(d.t, json.Unmarshal([]byte(all["records"]), &page))
	for _, r := range page.Records {
		all["traces"] += read("/api/v1/calls/" + r.ID + "/trace")
	}
	return all
}

// wantCleanLog asserts that every line is one JSON object without a character
// that a terminal obeys, that above Debug no customer's number is in full, and
// that each call started and ended once.
func wantCleanLog(t *testing.T, log string, calls int) {
	t.Helper()
	number := regexp.MustCompile(customerDigits + `\d{3}`)
	events := map[string]map[string]int{}
	for line := range strings.Lines(log) {
		var entry struct{ Level, Msg, Call string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("not a line of JSON: %v: %q", err, clip(line))
			continue
		}
		if strings.ContainsFunc(strings.TrimRight(line, "\n"), func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' }) {
			t.Errorf("a line has control characters: %q", clip(line))
		}
		if len(line) > 8<<10 {
			t.Errorf("a line has %d bytes: %q", len(line), clip(line))
		}
		if m := number.FindString(line); m != "" && entry.Level != "DEBUG" {
			t.Errorf("%s is in a line for operators: %q", m, clip(line))
		}
		if entry.Level == "ERROR" && bytes.Contains([]byte(line), []byte("forged")) {
			t.Errorf("a stranger wrote a line: %q", clip(line))
		}
		if strings.HasPrefix(entry.Msg, "call ") && entry.Level == "INFO" {
			if events[entry.Msg] == nil {
				events[entry.Msg] = map[string]int{}
			}
			events[entry.Msg][entry.Call]++
		}
	}
	for _, msg := range []string{"call started", "call ended"} {
		if len(events[msg]) != calls {
			t.Errorf("%d calls have a line %q, want %d", len(events[msg]), msg, calls)
		}
	}
	for msg, byCall := range events {
		for call, n := range byCall {
			if n != 1 {
				t.Errorf("call %s has %d lines %q", call, n, msg)
			}
		}
	}
}

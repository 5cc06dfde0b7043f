package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"wagate/config"
	"wagate/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// wagate runs the program and returns what it wrote.
func wagate(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr strings.Builder
	code = run(t.Context(), args, terminal{out: &stdout, err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestCommandLine(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("nodes: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name       string
		args       []string
		code       int
		out, error string
	}{
		{name: "help", args: []string{"--help"}, code: 0, out: "serve"},
		{name: "help of a command", args: []string{"records", "--help"}, code: 0, out: "--since"},
		{name: "nothing", args: nil, code: 2, error: "expected one of"},
		{name: "unknown flag", args: []string{"serve", "--colour"}, code: 2, error: "--help"},
		{name: "unknown format", args: []string{"records", "--format", "xml"}, code: 2, error: "table"},
		{name: "version", args: []string{"version"}, code: 0, out: "libopus"},
		{name: "version as JSON", args: []string{"version", "--json"}, code: 0, out: `"libopus": "`},
		{name: "check of a bad file", args: []string{"check", "--config", bad}, code: 2, error: "nodes (line 1): unknown key; did you mean node?"},
		{name: "check as JSON", args: []string{"check", "--json", "--config", bad}, code: 2, out: `"path": "nodes"`},
		{name: "check of no file", args: []string{"check", "--config", bad + "x"}, code: 2, error: "no such file"},
		{name: "serve of a bad file", args: []string{"serve", "--config", bad}, code: 2, error: "whatsapp.numbers: required"},
		{name: "no gateway", args: []string{"calls", "--admin", "127.0.0.1:1"}, code: 1, error: "is it running?"},
		{name: "bad address", args: []string{"calls", "--admin", "ftp://x"}, code: 2, error: "is not an address"},
		{name: "bad time", args: []string{"records", "--since", "yesterday", "--admin", "127.0.0.1:1"}, code: 2, error: "neither a date"},
		{name: "no configuration", args: []string{"calls", "--config", bad + "x"}, code: 2, error: "--admin"},
	}
	for _, tt := range tests {
		code, out, errs := wagate(t, tt.args...)
		if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(errs, tt.error) {
			t.Errorf("%s: exit %d, want %d\nout: %s\nerr: %s", tt.name, code, tt.code, out, errs)
		}
	}
}

func TestCheckOfAGoodFile(t *testing.T) {
	t.Setenv("WAGATE_APP_SECRET", "a")
	t.Setenv("WAGATE_VERIFY_TOKEN", "b")
	t.Setenv("WAGATE_TOKEN_SUPPORT", "c")
	code, out, errs := wagate(t, "check", "--config", "../../wagate.example.yaml")
	if code != 0 || !strings.Contains(out, "is good: 1 number, 1 trunk, 3 routes") {
		t.Errorf("exit %d\nout: %s\nerr: %s", code, out, errs)
	}
}

// TestPromptThatIsNone: check and serve say so in the words of any other fault,
// although only the gateway knows what a prompt is.
func TestPromptThatIsNone(t *testing.T) {
	t.Setenv("WAGATE_APP_SECRET", "a")
	t.Setenv("WAGATE_VERIFY_TOKEN", "b")
	t.Setenv("WAGATE_TOKEN_SUPPORT", "c")
	example, err := os.ReadFile("../../wagate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	text := strings.Replace(string(example), `prompt: ""`, `prompt: words.wav`, 1)
	file, prompt := filepath.Join(dir, "wagate.yaml"), filepath.Join(dir, "words.wav")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ sound, want string }{
		{"", "no such file"},
		{"ID3 and so on", "not a WAV file; name a WAV of at most 10 s"},
	} {
		if row.sound != "" {
			if err := os.WriteFile(prompt, []byte(row.sound), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for _, args := range [][]string{{"check"}, {"serve"}, {"check", "--json"}} {
			code, out, errs := wagate(t, append(args, "--config", file)...)
			said := out + errs
			if code != 2 || !strings.Contains(said, "permissions.prompt") || !strings.Contains(said, prompt) ||
				len(args) == 1 && !strings.Contains(said, row.want) {
				t.Errorf("%v: exit %d\nout: %s\nerr: %s", args, code, out, errs)
			}
		}
	}
}

// fakeDaemon lives until it is drained or its ctx ends.
type fakeDaemon struct {
	drained chan struct{}
	done    chan string
	reloads int
}

func (d *fakeDaemon) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return errors.New("ended")
	case how := <-d.done:
		return errors.New(how)
	}
}

func (d *fakeDaemon) Drain() { close(d.drained) }

func (*fakeDaemon) Ready(context.Context) error { return nil }

func (*fakeDaemon) Alive(context.Context) error { return nil }

func (d *fakeDaemon) Reload(*config.Config) error {
	d.reloads++
	return nil
}

func TestSignals(t *testing.T) {
	tests := []struct {
		name    string
		signals []os.Signal
		finish  bool // the last call is over before the next signal
		want    string
		reloads int
		drained bool
	}{
		{name: "two signals end it now", signals: []os.Signal{syscall.SIGTERM, os.Interrupt}, want: "ended", drained: true},
		{name: "one drains", signals: []os.Signal{os.Interrupt}, finish: true, want: "drained", drained: true},
		{name: "a reload while draining ends nothing", signals: []os.Signal{syscall.SIGHUP, syscall.SIGTERM, syscall.SIGHUP}, finish: true, want: "drained", reloads: 2, drained: true},
		{name: "it ends by itself", finish: true, want: "drained"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			d := &fakeDaemon{drained: make(chan struct{}), done: make(chan string)}
			signals := make(chan os.Signal)
			result := make(chan error)
			go func() {
				result <- supervise(d, manager{}, signals, func() { _ = d.Reload(nil) }, slog.New(slog.DiscardHandler))
			}()
			for _, s := range tt.signals {
				signals <- s
			}
			synctest.Wait()
			if tt.finish {
				d.done <- "drained"
			}
			if err := <-result; err.Error() != tt.want {
				t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
			}
			if d.reloads != tt.reloads {
				t.Errorf("%s: %d reloads, want %d", tt.name, d.reloads, tt.reloads)
			}
			select {
			case <-d.drained:
			default:
				if tt.drained {
					t.Errorf("%s: not drained", tt.name)
				}
			}
		})
	}
}

// api is a gateway's admin API that knows one call and wants a token.
func api(t *testing.T) (address, tokenFile string) {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(pattern, contentType, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer s3cret" {
				w.WriteHeader(http.StatusUnauthorized)
				w.Write([]byte(`{"error":{"code":"unauthorized","message":"no"}}`))
				return
			}
			w.Header().Set("Content-Type", contentType)
			w.Write([]byte(body))
		})
	}
	const call = `{"id":"c1","direction":"inbound","phase":"active","number":"support","user":"+34600111222","trunk":"pbx","to":"600\u001b[2J",
		"started_at":"2026-11-22T09:00:00.000Z","answered_at":null,"wacid":"wacid.A","media":{"whatsapp":{"codec":"opus","packets":7},"sip":null}}`
	answer("GET /api/v1/calls", "application/json", `{"calls":[`+call+`]}`)
	answer("GET /api/v1/calls/c1", "application/json", call)
	mux.HandleFunc("POST /api/v1/calls", func(w http.ResponseWriter, r *http.Request) {
		var got map[string]string
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || got["to"] != "+34600111222" {
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte(`{"error":{"code":"no_permission","message":"the customer has not allowed calls"}}`))
			return
		}
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte(`{"id":"c9","phase":"summoning","number":"` + got["number"] + `","trunk":"` + got["trunk"] + `","to":"` + got["agent"] + `"}`))
	})
	answer("DELETE /api/v1/calls/c1", "", "")
	answer("GET /api/v1/calls/c1/trace", "application/json", aTrace)
	mux.HandleFunc("GET /api/v1/calls/c2", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		w.Write([]byte(`{"error":{"code":"not_found","message":"there is no live call with this id"}}`))
	})
	mux.HandleFunc("GET /api/v1/records", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("format") == "csv" {
			w.Write([]byte("id,user\nr1," + r.URL.Query().Get("user") + "\n"))
			return
		}
		w.Write([]byte(`{"records":[{"id":"r1","started_at":"2026-11-22T09:00:00.000Z","duration_s":3725.2,"cause":"hangup"}],"next":"x"}`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	tokenFile = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(tokenFile, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, tokenFile
}

const aTrace = `{"call":"c1","dropped":3,"lines":[
	{"at":"2026-11-22T09:00:00.000Z","with":"webhook","sent":false,"what":"connect","text":"{}"},
	{"at":"2026-11-22T09:00:00.010Z","with":"graph","sent":true,"what":"pre_accept 200","took_ms":87,"text":"POST /x"},
	{"at":"2026-11-22T09:00:00.020Z","with":"sip","sent":true,"what":"INVITE","peer":"udp 192.0.2.10:5060","again":2,"last_at":"2026-11-22T09:00:01.520Z","text":"INVITE sip:600@192.0.2.10 SIP/2.0\nSubject: \u001b[2J"},
	{"at":"2026-11-22T09:00:00.030Z","with":"sip","sent":false,"what":"180 Ringing\u001b[2J","method":"INVITE","peer":"udp 192.0.2.10:5060","text":""}]}`

func TestAskingTheGateway(t *testing.T) {
	address, token := api(t)
	tests := []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"calls"}, 0, []string{"c1", "active", "+34600111222", "600[2J"}},
		{[]string{"calls", "list", "--json"}, 0, []string{`"calls": [`, `"id": "c1"`}},
		{[]string{"calls", "dial", "--number", "sales", "--trunk", "pbx2", "--agent", "201", "+34600111222"}, 0, []string{"c9", "summoning", "sales", "pbx2", "201"}},
		{[]string{"calls", "dial", "--number", "sales", "--trunk", "pbx2", "--agent", "201", "--json", "+34600111222"}, 0, []string{`"id": "c9"`}},
		{[]string{"calls", "dial", "--number", "sales", "--trunk", "pbx2", "--agent", "201", "34"}, 1, []string{"has not allowed"}},
		{[]string{"calls", "show", "c1"}, 0, []string{"wacid.A", "opus, received 7"}},
		{[]string{"calls", "show", "c1", "--json"}, 0, []string{`"wacid": "wacid.A"`}},
		{[]string{"calls", "show", "c2"}, 1, []string{"there is no live call with this id"}},
		{[]string{"calls", "show", "c1", "--trace"}, 0, []string{
			"call c1, 0 ms is", "─ webhook connect ─", "◀─ pre_accept 200 ─", "took 87 ms", "─ INVITE ─", "udp 192.0.2.10:5060", "2 more until +1500 ms",
			"◀─ 180 Ringing[2J ─", "3 messages from the middle",
		}},
		{[]string{"calls", "show", "c1", "--messages"}, 0, []string{"to the PBX, udp 192.0.2.10:5060", "  INVITE sip:600@192.0.2.10 SIP/2.0\n  Subject: [2J", "from Meta"}},
		{[]string{"calls", "show", "c1", "--trace", "--json"}, 0, []string{`"what": "INVITE"`}},
		{[]string{"calls", "hangup", "c1"}, 0, []string{"c1 is being hung up"}},
		{[]string{"records"}, 0, []string{"r1", "1:02:05", "hangup", "there are more"}},
		{[]string{"records", "list", "--since", "24h", "--format", "json"}, 0, []string{`"next": "x"`}},
		{[]string{"records", "--json"}, 0, []string{`"next": "x"`}},
		{[]string{"records", "--format", "csv", "--user", "+34600111222"}, 0, []string{"r1,+34600111222"}},
	}
	for _, tt := range tests {
		code, out, errs := wagate(t, append(tt.args, "--admin", address, "--token-file", token)...)
		for _, want := range tt.want {
			if code != tt.code || !strings.Contains(out+errs, want) {
				t.Errorf("%v: exit %d, %q is missing\nout: %s\nerr: %s", tt.args, code, want, out, errs)
			}
		}
		if strings.ContainsRune(out, '\x1b') {
			t.Errorf("%v: a customer's text reaches the terminal: %q", tt.args, out)
		}
	}
	if code, _, errs := wagate(t, "calls", "--admin", address); code != 1 || !strings.Contains(errs, "--token-file") {
		t.Errorf("without a token: exit %d, %s", code, errs)
	}
}

func TestAdminAddresses(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:9464":       "http://127.0.0.1:9464",
		"0.0.0.0:9464":         "http://127.0.0.1:9464",
		"[::]:9464":            "http://[::1]:9464",
		":9464":                "http://127.0.0.1:9464",
		"https://gw.example/x": "https://gw.example/x",
	} {
		if u, err := adminURL(address); err != nil || u.String() != want {
			t.Errorf("%s: %v %v, want %s", address, u, err, want)
		}
	}
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"24h":                       now.Add(-24 * time.Hour),
		"2026-11-22":                time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		"2026-11-22 09:30":          time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC),
		"2026-11-22T09:30:00+01:00": time.Date(2026, 11, 22, 8, 30, 0, 0, time.UTC),
	} {
		if got, err := parseWhen(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
}

func TestWaitingIsSaid(t *testing.T) {
	for _, last := range []time.Duration{patience - 1, patience + 1} {
		synctest.Test(t, func(t *testing.T) {
			var errs strings.Builder
			done := terminal{err: &errs}.waiting("still reading")
			time.Sleep(last)
			synctest.Wait()
			done()
			time.Sleep(time.Minute)
			if said := errs.String() != ""; said != (last > patience) {
				t.Errorf("after %v: %q", last, &errs)
			}
		})
	}
}

func TestLengths(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0:00", 65 * time.Second: "1:05", 2*time.Hour + 3*time.Second: "2:00:03"} {
		if got := length(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

//go:build system

package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// program is wagate as it ships, built once for all system tests. The race
// detector is in it, so that a race ends a test.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wagate-bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "wagate")
	out, err := exec.CommandContext(context.Background(), "go", "build", "-race", "-tags", "nolibopusfile", "-o", path, "wagate/cmd/wagate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// daemon is the gateway in a process of its own, between simulated far ends
// that survive it.
type daemon struct {
	t     *testing.T
	meta  *fakemeta.Server
	pbx   *faketrunk.Trunk
	admin string
	hook  string // where Meta's webhooks are taken
	sip   string // address
	file  string // configuration
	env   []string
	cmd   *exec.Cmd
	log   *logBook
	waits chan error
}

// settings are what the configuration's template is filled with.
type settings struct {
	Dir, Graph, Target, Webhook, Admin, WebRTC, SIP string
	Extra                                           string
}

var configFile = template.Must(template.New("config").Parse(`node: system
data_dir: {{.Dir}}/data
log: {level: debug, format: text}
http:
  webhook: {listen: "{{.Webhook}}", path: /hook}
  admin: {listen: "{{.Admin}}"}
whatsapp:
  graph_url: {{.Graph}}
  app_secrets: [{env: TEST_APP_SECRET}]
  verify_token: {env: TEST_VERIFY_TOKEN}
  numbers:
    - {name: support, phone_number_id: "401122334455667", number: "+351210000321", access_token: {env: TEST_TOKEN}}
media:
  webrtc: {listen: "{{.WebRTC}}"}
  rtp: {bind: 127.0.0.1}
sip: {listen: ["udp://{{.SIP}}"]}
trunks:
  - {name: pbx, targets: ["{{.Target}}"], max_calls: 1000, max_cps: 1000}
routes:
  - {name: support, direction: inbound, match: {number: support}, trunk: pbx, to: "600"}
{{.Extra}}
`))

// newDaemon sets everything up and starts nothing.
func newDaemon(t *testing.T, extra string) *daemon {
	t.Helper()
	meta, err := fakemeta.New(fakemeta.Options{})
	must(t, err)
	meta.Start()
	t.Cleanup(func() { _ = meta.Close() })
	pbx, err := faketrunk.Start(context.Background(), faketrunk.Options{Tone: rig.PhoneTone, Listen: []float64{rig.CustomerTone}})
	must(t, err)
	t.Cleanup(func() { _ = pbx.Close() })
	dir := t.TempDir()
	d := &daemon{
		t: t, meta: meta, pbx: pbx, file: filepath.Join(dir, "wagate.yaml"), log: newLogBook(),
		env: append(os.Environ(), "TEST_APP_SECRET=app-secret", "TEST_VERIFY_TOKEN=verify-token", "TEST_TOKEN=access-token"),
	}
	s := settings{
		Dir: dir, Graph: meta.URL(), Target: pbx.URI("udp"), Webhook: freeTCP(t), Admin: freeTCP(t),
		WebRTC: freeUDP(t), SIP: freeUDP(t), Extra: extra,
	}
	d.admin = "http://" + s.Admin
	d.hook, d.sip = "http://"+s.Webhook+"/hook", s.SIP
	meta.SetWebhookURL(d.hook)
	d.configure(s)
	return d
}

func (d *daemon) configure(s settings) {
	d.t.Helper()
	var text bytes.Buffer
	must(d.t, configFile.Execute(&text, s))
	must(d.t, os.WriteFile(d.file, text.Bytes(), 0o600))
}

func freeTCP(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func freeUDP(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.LocalAddr().String()
}

// start runs the program until it is ready.
func (d *daemon) start(ctx context.Context) {
	d.t.Helper()
	path, err := program()
	must(d.t, err)
	d.cmd = exec.CommandContext(context.WithoutCancel(ctx), path, "serve", "--config", d.file)
	d.cmd.Env = d.env
	d.cmd.Stderr = d.log
	must(d.t, d.cmd.Start())
	cmd := d.cmd
	d.waits = make(chan error, 1)
	waits := d.waits
	go func() { waits <- cmd.Wait() }()
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		if d.t.Failed() {
			d.t.Logf("log of the gateway:\n%s", tail(d.log.String(), 60))
		}
	})
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !d.ready(ctx) {
		select {
		case err := <-d.waits:
			d.t.Fatalf("the gateway ended: %v\n%s", err, tail(d.log.String(), 30))
		case <-ctx.Done():
			d.t.Fatal("the gateway is not ready")
		case <-poll.C:
		}
	}
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n")
}

func (d *daemon) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+"/readyz", nil)
	must(d.t, err)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// kill ends the process as a power cut does, and waits until it is gone.
func (d *daemon) kill() {
	must(d.t, d.cmd.Process.Kill())
	<-d.waits
}

func (d *daemon) signal(sig syscall.Signal) { must(d.t, d.cmd.Process.Signal(sig)) }

// exited waits for the end and returns the exit code.
func (d *daemon) exited(ctx context.Context) int {
	d.t.Helper()
	select {
	case <-d.waits:
		return d.cmd.ProcessState.ExitCode()
	case <-ctx.Done():
		d.t.Fatal("the gateway does not end")
		return -1
	}
}

// run runs another command of the program against the daemon.
func (d *daemon) run(ctx context.Context, args ...string) string {
	d.t.Helper()
	path, err := program()
	must(d.t, err)
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = d.env
	out, err := cmd.Output()
	if err != nil {
		d.t.Fatalf("wagate %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// records waits until there are so many.
func (d *daemon) records(ctx context.Context, want int) []store.Record {
	d.t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.admin+"/api/v1/records?limit=1000", nil)
		must(d.t, err)
		res, err := http.DefaultClient.Do(req)
		must(d.t, err)
		var page struct{ Records []store.Record }
		must(d.t, json.NewDecoder(res.Body).Decode(&page))
		res.Body.Close()
		if len(page.Records) >= want {
			return page.Records
		}
		select {
		case <-ctx.Done():
			d.t.Fatalf("%d records of %d", len(page.Records), want)
		case <-poll.C:
		}
	}
}

func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, path, args...)
}

// logged waits for a line of the daemon's log.
func (d *daemon) logged(ctx context.Context, text string) {
	d.t.Helper()
	if !d.log.wait(ctx, text) {
		d.t.Fatalf("%q is not in the log:\n%s", text, tail(d.log.String(), 30))
	}
}

// logBook keeps what the daemon writes, and wakes who waits for a line.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{} // closed at the next write
}

func newLogBook() *logBook { return &logBook{more: make(chan struct{})} }

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.more)
	b.more = make(chan struct{})
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBook) wait(ctx context.Context, text string) bool {
	for {
		b.mu.Lock()
		found, more := strings.Contains(b.text.String(), text), b.more
		b.mu.Unlock()
		if found {
			return true
		}
		select {
		case <-more:
		case <-ctx.Done():
			return false
		}
	}
}

//go:build system || soak

package test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// program is wagate as it ships, built once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "wagate-bin")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "wagate")
	out, err := exec.CommandContext(context.Background(), "go", "build", detector, "-tags", "nolibopusfile", "-o", path, "wagate/cmd/wagate").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return path, nil
})

// daemon is the gateway in a process of its own, between simulated far ends
// that survive it.
type daemon struct {
	t       *testing.T
	meta    *fakemeta.Server
	pbx     *faketrunk.Trunk
	admin   string
	hook    string   // where Meta's webhooks are taken
	sip     string   // address
	file    string   // configuration
	data    string   // its data_dir
	program string   // that runs; "" is the one that ships
	wrap    []string // the command that runs the program; none: it runs alone
	env     []string
	cmd     *exec.Cmd
	log     *logBook
	over    chan struct{} // closed when the process is gone
}

// settings are what the configuration's template is filled with.
type settings struct {
	setup
	Dir, Graph, Webhook, Admin, WebRTC, SIP string
}

// setup is how a daemon differs from the usual one.
type setup struct {
	Extra     string // routes, and the sections after them
	Ops       string // of the admin listener, after a comma
	Limits    string // of that section, after a comma
	Number    string // of the business number, after a comma
	Media     string // lines of that section
	Trunk     string // of the trunk, after a comma
	Route     string // of the route, after a comma
	Target    string // of the trunk, %d is the port; default the simulated PBX
	GraphName string // of the simulated Meta; default its address
	Program   string // that is run; default the one that ships
	Data      string // data directory
	Wrap      []string
	Meta      fakemeta.Options
}

var configFile = template.Must(template.New("config").Parse(`node: system
data_dir: {{.Data}}
log: {level: debug, format: text}
http:
  webhook: {listen: "{{.Webhook}}", path: /hook}
  admin: {listen: "{{.Admin}}"{{.Ops}}}
whatsapp:
  graph_url: {{.Graph}}
  app_secrets: [{env: TEST_APP_SECRET}]
  verify_token: {env: TEST_VERIFY_TOKEN}
  numbers:
    - {name: support, phone_number_id: "401122334455667", number: "+351210000321", access_token: {env: TEST_TOKEN}{{.Number}}}
media:
  webrtc: {listen: "{{.WebRTC}}"}
  rtp: {bind: 127.0.0.1}
{{.Media}}
sip: {listen: ["udp://{{.SIP}}"]}
trunks:
  - {name: pbx, targets: ["{{.Target}}"], max_calls: 1000, max_cps: 1000{{.Trunk}}}
routes:
  - {name: support, direction: inbound, match: {number: support}, trunk: pbx, to: "600"{{.Route}}}
{{.Extra}}
limits: {cpu: 0{{.Limits}}}
`))

// dialOutFile lets desk phones call customers, and calls them back.
const dialOutFile = `  - {name: dial-out, direction: outbound, match: {trunk: pbx}, number: support, countries: [ES]}
permissions: {callback: true}
`

// newDaemon sets everything up and starts nothing.
func newDaemon(t *testing.T, extra string) *daemon {
	t.Helper()
	return setUp(t, setup{Extra: extra})
}

func setUp(t *testing.T, with setup) *daemon {
	t.Helper()
	meta, err := fakemeta.New(with.Meta)
	must(t, err)
	meta.Start()
	t.Cleanup(func() { _ = meta.Close() })
	pbx, err := faketrunk.Start(context.Background(), faketrunk.Options{Tone: rig.PhoneTone, Listen: []float64{rig.CustomerTone}})
	must(t, err)
	t.Cleanup(func() { _ = pbx.Close() })
	dir := t.TempDir()
	d := &daemon{
		t: t, meta: meta, pbx: pbx, file: filepath.Join(dir, "wagate.yaml"), log: newLogBook(), wrap: with.Wrap, program: with.Program,
		env: append(os.Environ(), "TEST_APP_SECRET=app-secret", "TEST_VERIFY_TOKEN=verify-token", "TEST_TOKEN=access-token"),
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the gateway:\n%s", tail(d.log.String(), 60))
		}
	})
	with.Data = cmp.Or(with.Data, filepath.Join(quickDisk(t), "data"))
	if with.Target == "" {
		with.Target = pbx.URI("udp")
	} else {
		with.Target = fmt.Sprintf(with.Target, pbx.Addr().Port())
	}
	d.data = with.Data
	s := settings{setup: with, Dir: dir, Graph: meta.URL()}
	if with.GraphName != "" {
		_, port, err := net.SplitHostPort(strings.TrimPrefix(s.Graph, "http://"))
		must(t, err)
		s.Graph = "http://" + net.JoinHostPort(with.GraphName, port)
	}
	s.Webhook, s.Admin = freeTCP(t)
	s.WebRTC, s.SIP = freeUDP(t)
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

// freeTCP returns two different addresses that nobody listens on.
func freeTCP(t *testing.T) (one, two string) {
	t.Helper()
	var lc net.ListenConfig
	first, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer first.Close()
	second, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer second.Close()
	return first.Addr().String(), second.Addr().String()
}

// freeUDP is the same of UDP.
func freeUDP(t *testing.T) (one, two string) {
	t.Helper()
	var lc net.ListenConfig
	first, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	must(t, err)
	defer first.Close()
	second, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	must(t, err)
	defer second.Close()
	return first.LocalAddr().String(), second.LocalAddr().String()
}

// start runs the program until it is ready.
func (d *daemon) start(ctx context.Context) {
	d.t.Helper()
	if err := d.tryStart(ctx); err != nil {
		d.t.Fatalf("%v\n%s", err, tail(d.log.String(), 30))
	}
}

// tryStart is start for a program that may die over it.
func (d *daemon) tryStart(ctx context.Context) error {
	d.t.Helper()
	path, err := d.program, error(nil)
	if path == "" {
		path, err = program()
	}
	must(d.t, err)
	args := append(slices.Clone(d.wrap), path, "serve", "--config", d.file)
	d.cmd = exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	d.cmd.Env = d.env
	d.cmd.Stderr = d.log
	must(d.t, d.cmd.Start())
	cmd, over := d.cmd, make(chan struct{})
	d.over = over
	go func() {
		defer close(over)
		_ = cmd.Wait() // its state tells
	}()
	d.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-over
	})
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !d.ready(ctx) {
		select {
		case <-over:
			return fmt.Errorf("the gateway ended: %v", cmd.ProcessState)
		case <-ctx.Done():
			return errors.New("the gateway is not ready")
		case <-poll.C:
		}
	}
	return nil
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

// kill ends the process as a power cut does, unless that has happened, and waits
// until it is gone.
func (d *daemon) kill() {
	if err := d.cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		must(d.t, err)
	}
	<-d.over
}

func (d *daemon) signal(sig syscall.Signal) { must(d.t, d.cmd.Process.Signal(sig)) }

// exited waits for the end and returns the exit code.
func (d *daemon) exited(ctx context.Context) int {
	d.t.Helper()
	select {
	case <-d.over:
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

func command(ctx context.Context, path string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, path, args...)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// wagate is the gateway itself, the program that users run, between the least
// of a Meta and the least of a PBX: what they cost is not the gateway's.
type wagate struct {
	label    string
	program  string
	core     int
	opus     string // complexity and fec as in the configuration
	phone    codec
	capacity int // limits.calls
	limit    int // limits.cpu

	libraries string // looked into before the system's

	proc    *process
	dir     string
	admin   string
	webhook string
	meta    *meta
	pbx     *pbx

	mu    sync.Mutex
	calls map[string]*waiting // by Meta's call id
}

// waiting is a call that is being set up.
type waiting struct {
	call     *call
	accepted chan struct{}
	refused  chan struct{}
	once     sync.Once
}

func (w *wagate) name() string      { return w.label }
func (w *wagate) process() *process { return w.proc }

const (
	numberID  = "401122334455667"
	appSecret = "app-secret"
)

// start writes a configuration and waits until the gateway is ready.
func (w *wagate) start(ctx context.Context) (err error) {
	w.calls = map[string]*waiting{}
	if w.dir, err = os.MkdirTemp("", "wagate-bench"); err != nil {
		return err
	}
	if w.meta, err = newMeta(w); err != nil {
		return err
	}
	if w.pbx, err = newPBX(w); err != nil {
		return err
	}
	var ports [4]uint16
	for i, network := range []string{"tcp4", "tcp4", "udp4", "udp4"} {
		if ports[i], err = freePort(network); err != nil {
			return err
		}
	}
	w.webhook = fmt.Sprintf("http://127.0.0.1:%d/whatsapp/webhook", ports[0])
	w.admin = fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	path := filepath.Join(w.dir, "wagate.yaml")
	if err = os.WriteFile(path, []byte(w.config(ports)), 0o600); err != nil {
		return err
	}
	env := []string{"BENCH_SECRET=" + appSecret, "BENCH_TOKEN=token", "BENCH_VERIFY=verify"}
	if w.libraries != "" {
		env = append(env, "LD_LIBRARY_PATH="+w.libraries)
	}
	if w.proc, err = spawn(w.core, env, w.program, "serve", "--config", path); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, setupPatience)
	defer cancel()
	var dead error
	err = until(ctx, "wagate does not become ready", func() bool {
		dead = w.proc.alive()
		return dead != nil || w.get(ctx, "/readyz")
	})
	return errors.Join(err, dead)
}

func (w *wagate) get(ctx context.Context, path string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.admin+path, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	return res.Body.Close() == nil && res.StatusCode == http.StatusOK
}

func (w *wagate) config(ports [4]uint16) string {
	return fmt.Sprintf(`
data_dir: %[1]s
log: {level: warn}
http:
  webhook: {listen: "127.0.0.1:%[2]d"}
  admin: {listen: "127.0.0.1:%[3]d", pprof: true}
whatsapp:
  graph_url: %[4]s
  app_secrets: [{env: BENCH_SECRET}]
  verify_token: {env: BENCH_VERIFY}
  numbers:
    - {name: support, phone_number_id: "%[5]s", number: "+351210000321", access_token: {env: BENCH_TOKEN}}
media:
  webrtc: {listen: "127.0.0.1:%[6]d"}
  rtp: {bind: 127.0.0.1, ports: 20000-25999}
  opus: {%[7]s}
sip: {listen: ["udp://127.0.0.1:%[8]d"]}
trunks:
  - {name: pbx, targets: ["sip:%[9]s"], codecs: [%[10]s], options_interval: 0s, max_calls: 10000, max_cps: 1000}
routes:
  - {name: support, direction: inbound, match: {number: support}, trunk: pbx, to: "600"}
limits: {calls: %[11]d, cpu: %[12]d}
`, filepath.Join(w.dir, "data"), ports[0], ports[1], w.meta.url(), numberID, ports[2], w.opus, ports[3],
		w.pbx.addr(), w.phone.name, w.capacity, w.limit)
}

// errRefused says that the gateway turned a call away.
var errRefused = errors.New("the gateway refused the call")

func (w *wagate) connect(ctx context.Context, c *call) error {
	wait := &waiting{call: c, accepted: make(chan struct{}), refused: make(chan struct{})}
	w.mu.Lock()
	w.calls[c.id] = wait
	w.mu.Unlock()
	if err := w.meta.announce(ctx, w.webhook, c); err != nil {
		return err
	}
	select {
	case <-wait.accepted:
		return nil
	case <-wait.refused:
		return errRefused
	case <-ctx.Done():
		return errors.New("not accepted in time")
	}
}

func (w *wagate) find(id string) *waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[id]
}

func (w *wagate) stop() {
	if w.proc != nil {
		w.proc.stop()
	}
	if w.meta != nil {
		w.meta.close()
	}
	if w.pbx != nil {
		w.pbx.close()
	}
	_ = os.RemoveAll(w.dir)
}

// freePort is a port that is free now.
func freePort(network string) (uint16, error) {
	if strings.HasPrefix(network, "tcp") {
		l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		return l.Addr().(*net.TCPAddr).AddrPort().Port(), l.Close()
	}
	c, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Port(), c.Close()
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

// save writes the CPU profile of a time.
func (w *wagate) save(ctx context.Context, path string, d time.Duration) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", w.admin, int(d.Seconds())), nil)
	if err != nil {
		return
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer func() { _ = res.Body.Close() }()
	if f, err := os.Create(path); err == nil {
		_, _ = io.Copy(f, res.Body)
		_ = f.Close()
	}
}

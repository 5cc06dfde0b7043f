package deploy_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// watched is a Prometheus that scrapes a gateway which has had calls.
type watched struct {
	t   *testing.T
	url string
	at  string // the moment that queries are about; "": now
}

// watch starts both, lets a customer call an agent, an agent call a customer,
// and others be refused for the limit of calls and for want of a permission, and
// waits until all of it was scraped.
func watch(ctx context.Context, t *testing.T) *watched {
	t.Helper()
	r, err := rig.Start(ctx, rig.Options{Config: func(c *config.Config) {
		rig.DialOut(c)
		c.Limits.Calls = 1
		second := c.Trunks[0]
		second.Name, second.Register.Enabled = "desk", true
		c.Trunks = append(c.Trunks, second)
		c.SIP.Listen = append(c.SIP.Listen, "tls://127.0.0.1:0")
		c.SIP.TLS = certificate(t)
	}})
	must(t, err)
	t.Cleanup(func() { _ = r.Close() })
	// As wagate serve does.
	r.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	w := &watched{t: t, url: "http://" + startPrometheus(ctx, t, r.Gateway.AdminAddr())}
	w.await(ctx, `up == 1`)

	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Answer(0) })
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
	must(t, err)
	must(t, customer.Wait(ctx, fakemeta.Connected))
	must(t, customer.WaitHeard(ctx, rig.PhoneTone))
	second, err := r.Meta.Call(ctx, fakemeta.CallOptions{User: fakemeta.User{Number: "34600111444"}})
	must(t, err)
	must(t, second.Wait(ctx, fakemeta.Ended)) // one call is the limit
	customer.HangUp()
	must(t, customer.Wait(ctx, fakemeta.Ended))
	must(t, r.Meta.WaitQuiet(ctx))
	must(t, r.PBX.Settled(ctx))

	w.await(ctx, `sum(wagate_calls_ended_total) >= 2 and on () sum(wagate_calls) == 0`)
	r.Meta.Callee("34600111222", fakemeta.Callee{Answer: time.Millisecond})
	must(t, dial(ctx, t, r, "34600111222", faketrunk.Up).Hangup(ctx))
	must(t, r.Meta.WaitQuiet(ctx))
	w.await(ctx, `sum(wagate_calls_ended_total) >= 3 and on () sum(wagate_calls) == 0`)
	r.Meta.Permit("34600111333", false)
	dial(ctx, t, r, "34600111333", faketrunk.Refused)
	w.at = w.await(ctx, `sum(wagate_calls_ended_total) >= 4 and on () count_over_time(up[5m]) >= 3`)
	return w
}

// certificate makes one that is good for an hour, and returns its files.
func certificate(t *testing.T) config.TLS {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	one := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, one, one, public, private)
	must(t, err)
	key, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	dir := t.TempDir()
	files := config.TLS{Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key")}
	must(t, os.WriteFile(files.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(files.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	return files
}

// dial lets an agent call a customer, and waits for what becomes of it.
func dial(ctx context.Context, t *testing.T, r *rig.Rig, who string, want faketrunk.State) *faketrunk.Call {
	t.Helper()
	call, err := r.PBX.Dial(ctx, faketrunk.Outgoing{To: "sip:+" + who + "@" + r.Gateway.SIPAddr("udp"), From: "201"})
	must(t, err)
	must(t, call.Wait(ctx, want))
	return call
}

// startPrometheus starts the real one and returns its address.
func startPrometheus(ctx context.Context, t *testing.T, target string) string {
	t.Helper()
	dir := t.TempDir()
	settings := fmt.Sprintf("global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n  - {job_name: wagate, static_configs: [{targets: [%q]}]}\n", target)
	file := filepath.Join(dir, "prometheus.yml")
	must(t, os.WriteFile(file, []byte(settings), 0o600))
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, tool(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=error")
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	must(t, cmd.Start())
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait()
	})
	return address
}

// sample is one series of an answer.
type sample struct {
	Metric map[string]string
	Value  [2]json.RawMessage // when, and how much
}

// query asks Prometheus. It returns an error while that is not up.
func (w *watched) query(ctx context.Context, expr string) ([]sample, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/v1/query?query="+url.QueryEscape(expr)+"&time="+w.at, nil)
	must(w.t, err)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		Error string
		Data  struct{ Result []sample }
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: %w", res.Status, err)
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("%s", answer.Error)
	}
	return answer.Data.Result, nil
}

// await waits until a query has a result, and returns of which moment it is.
func (w *watched) await(ctx context.Context, expr string) string {
	w.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		result, err := w.query(ctx, expr)
		if len(result) > 0 {
			return string(result[0].Value[0])
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			w.t.Fatalf("%s has no result: %v", expr, err)
		}
	}
}

//go:build system

package test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// keyring is where a gateway reads what proves who it is.
type keyring struct {
	t    *testing.T
	dir  string
	rig  *rig.Rig
	log  *lines
	ca   *certificates
	base *config.Config // of the rig
	pair config.KeyPair
}

const keyringFile = `
whatsapp:
  app_secrets: [{file: secret}, {file: older-secret}]
  verify_token: {file: verify}
  numbers: [{name: support, phone_number_id: "401122334455667", number: "+351210000321", access_token: {file: token}}]
trunks: [{name: pbx, targets: ["sip:127.0.0.1:5060"]}]
`

// write puts a secret where the gateway reads it, as a whole.
func (k *keyring) write(name, text string) {
	k.t.Helper()
	fresh := filepath.Join(k.dir, "fresh")
	must(k.t, os.WriteFile(fresh, []byte(text), 0o600))
	must(k.t, os.Rename(fresh, filepath.Join(k.dir, name)))
}

// load is the configuration of the rig with what the files say now.
func (k *keyring) load() *config.Config {
	k.t.Helper()
	c, err := config.Load(filepath.Join(k.dir, "wagate.yaml"))
	must(k.t, err)
	b := k.base
	c.WhatsApp.GraphURL, c.WhatsApp.GraphVersion = b.WhatsApp.GraphURL, b.WhatsApp.GraphVersion
	c.Node, c.DataDir, c.Log, c.HTTP, c.Media, c.SIP = b.Node, b.DataDir, b.Log, b.HTTP, b.Media, b.SIP
	c.Trunks, c.Routes, c.Permissions, c.Limits, c.Retention = b.Trunks, b.Routes, b.Permissions, b.Limits, b.Retention
	return c
}

// keyed starts a gateway with TLS whose secrets are in files.
func keyed(t *testing.T) (*keyring, context.Context) {
	t.Helper()
	k := &keyring{t: t, dir: t.TempDir(), log: newLines(), ca: newCertificates(t)}
	k.write("wagate.yaml", keyringFile)
	k.write("secret", "app-secret")
	k.write("older-secret", "unused")
	k.write("verify", "verify-token")
	k.write("token", "access-token")
	k.certify()
	pem, err := os.ReadFile(k.ca.ca())
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	r, ctx := rigged(t, rig.Options{
		Log: k.log.logger(),
		Config: func(c *config.Config) {
			unprobed(c)
			rig.DialOut(c)
			c.HTTP.Webhook.TLS = k.pair
			base := *c
			k.base = &base
			*c = *k.load()
		},
		Meta: fakemeta.Options{Client: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 4, IdleConnTimeout: 200 * time.Millisecond,
		}}},
	})
	k.rig = r
	r.Meta.SetWebhookURL("https://" + r.Gateway.WebhookAddr() + r.Config.HTTP.Webhook.Path)
	return k, ctx
}

// certify gives the webhook a new certificate.
func (k *keyring) certify() {
	k.t.Helper()
	cert, key := k.ca.of(k.t, netip.MustParseAddr("127.0.0.1"))
	k.pair = config.KeyPair{Cert: filepath.Join(k.dir, "cert.pem"), Key: filepath.Join(k.dir, "key.pem")}
	for from, to := range map[string]string{cert: "cert.pem", key: "key.pem"} {
		text, err := os.ReadFile(from)
		must(k.t, err)
		k.write(to, string(text))
	}
}

// serial is of the certificate that the webhook shows.
func (k *keyring) serial(ctx context.Context) string {
	k.t.Helper()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // looks at the certificate, sends nothing
	conn, err := d.DialContext(ctx, "tcp", k.rig.Gateway.WebhookAddr())
	must(k.t, err)
	defer conn.Close()
	leaf := conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
	return string(leaf.Signature)
}

// TestRotation: secret, token and certificate change while calls come and go,
// and none fails. What was replaced opens nothing any more.
func TestRotation(t *testing.T) {
	t.Parallel()
	k, ctx := keyed(t)
	r := k.rig
	r.PBX.Handle(answering(0))
	long, _ := talking(ctx, t, r, fakemeta.CallOptions{Patience: 2 * patience})

	stop, over := make(chan struct{}), make(chan int, 1)
	go func() { over <- busy(ctx, t, r, stop) }()
	step := func() { // calls of before and after
		n := metric(t, r, "wagate_calls_ended_total")
		awaitMetric(ctx, t, r, n+5, "wagate_calls_ended_total")
	}

	step()
	k.write("older-secret", "app-secret")
	k.write("secret", "second-secret")
	must(t, r.Gateway.Reload(k.load()))
	step()
	r.Meta.SetAppSecret("second-secret")
	step()
	k.write("older-secret", "second-secret")
	must(t, r.Gateway.Reload(k.load()))
	step()

	r.Meta.SetTokens("access-token", "second-token")
	k.write("token", "second-token")
	eventually(ctx, t, "the new token", func() bool { return k.log.has("access token changed") })
	r.Meta.SetTokens("second-token")
	step()

	before := k.serial(ctx)
	k.certify()
	must(t, r.Gateway.Reload(k.load()))
	if k.serial(ctx) == before {
		t.Error("the webhook shows its old certificate")
	}
	close(stop)
	calls := <-over

	r.Meta.SetAppSecret("app-secret")
	if status, err := r.Meta.Inject(ctx, []byte("{}")); err != nil || status != http.StatusUnauthorized {
		t.Errorf("signed with the secret that was removed: %d, %v", status, err)
	}
	r.Meta.SetAppSecret("second-secret")
	if state := long.State(); state != fakemeta.Connected {
		t.Errorf("the long call is %v", state)
	}
	long.HangUp()
	rs := settled(ctx, t, r)
	if len(rs) != calls+1 {
		t.Errorf("%d records of %d calls", len(rs), calls+1)
	}
	for _, rec := range rs {
		if rec.Cause != "hangup" || rec.AnsweredAt.IsZero() {
			t.Errorf("a call ended as %s by %s, answered %v", rec.Cause, rec.EndedBy, rec.AnsweredAt)
		}
	}
	t.Logf("%d calls through three rotations", calls)
}

// busy lets five customers a second call, talk and hang up, until it is told to
// stop, and returns how many they were.
func busy(ctx context.Context, t *testing.T, r *rig.Rig, stop <-chan struct{}) (calls int) {
	t.Helper()
	var all sync.WaitGroup
	defer all.Wait()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return calls
		case <-tick.C:
		}
		calls++
		all.Go(func() {
			c, err := r.Meta.Call(ctx, fakemeta.CallOptions{})
			if err == nil {
				err = c.Wait(ctx, fakemeta.Connected)
			}
			if err != nil {
				t.Error(err)
				return
			}
			pause(ctx, 300*time.Millisecond)
			c.HangUp()
		})
	}
}

// TestTokenEnds: somebody is called, calls are refused as a fault of the set-up,
// and a new token in the file mends it all, without a restart and without a
// call.
func TestTokenEnds(t *testing.T) {
	t.Parallel()
	k, ctx := keyed(t)
	r := k.rig
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.NoAnswer() })
	r.Meta.Callee("", fakemeta.Callee{Never: true})
	r.Meta.Grant(dialledCustomer)
	awaitMetric(ctx, t, r, 1, "wagate_permission_replies_total")

	r.Meta.SetTokens("third-token")
	began := time.Now()
	answer{status: 500, q850: 41, cause: "api_error", meta: 190}.judge(ctx, t, dial(ctx, t, r, "+"+dialledCustomer))
	awaitMetric(ctx, t, r, 1, "wagate_number_refused", "number", "support")
	t.Logf("the alarm was there %v after the first refusal, want 10s", time.Since(began))
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the alarm took %v", took)
	}
	customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{Patience: 2 * patience})
	must(t, err)
	awaitMetric(ctx, t, r, 1, "wagate_graph_requests_total", "action", "terminate")
	must(t, r.PBX.Settled(ctx))
	if customer.State() == fakemeta.Ended {
		t.Error("a call was ended with a dead token")
	}

	k.write("token", "")
	eventually(ctx, t, "a complaint about the file", func() bool { return k.log.has("cannot be read again") })
	k.write("token", "third-token")
	written := time.Now()
	eventually(ctx, t, "the end of the alarm", func() bool { return metric(t, r, "wagate_number_refused") == 0 })
	t.Logf("mended %v after the token was written", time.Since(written))
	must(t, customer.Wait(ctx, fakemeta.Ended)) // its end was owed
	out := dial(ctx, t, r, "+"+dialledCustomer)
	must(t, out.Wait(ctx, faketrunk.Rung))
	must(t, out.Hangup(ctx))
	must(t, r.Meta.WaitQuiet(ctx))
	must(t, r.PBX.Settled(ctx))
	eventually(ctx, t, "the last record", func() bool { return metric(t, r, "wagate_calls")+metric(t, r, "wagate_debts") == 0 })
	for _, secret := range []string{"third-token", "access-token", "app-secret"} {
		if k.log.has(secret) {
			t.Errorf("the log has %s in it", secret)
		}
	}
}

package gateway

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"wagate/config"
	"wagate/test/tone"
)

// TestRenewedTokenChangesNothingElse: requests have the new token and traces cut
// it out, but no other file is read again, and no reload is told of.
func TestRenewedTokenChangesNothingElse(t *testing.T) {
	var came string
	api := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { came = r.Header.Get("Authorization") }))
	defer api.Close()
	cfg := deadEnd(t)
	cfg.WhatsApp.GraphURL = api.URL
	cfg.Permissions.Prompt = filepath.Join(t.TempDir(), "prompt.wav")
	if err := tone.WriteWAV(cfg.Permissions.Prompt, 8000, make([]int16, 8000)); err != nil {
		t.Fatal(err)
	}
	g := gatewayOn(t, cfg)
	before := g.current.Load()
	g.ReloadRefused()
	if err := os.Remove(cfg.Permissions.Prompt); err != nil {
		t.Fatal(err)
	}

	g.renew("support", "EAAnew-token")
	e := g.current.Load()
	if err := e.clients["support"].PhoneNumber(t.Context()); err != nil || came != "Bearer EAAnew-token" {
		t.Errorf("asked with %q, %v", came, err)
	}
	if text := e.env.cut.own("EAAnew-token"); text != cut {
		t.Errorf("a trace would show %s", text)
	}
	if n, _ := e.cfg.Number("support"); n.AccessToken != "EAAnew-token" || before.cfg.WhatsApp.Numbers[0].AccessToken != "t" {
		t.Error("the new token is not what the file is compared with, or that of running calls' configuration changed")
	}
	if e.env.prompt.Length() != before.env.prompt.Length() {
		t.Error("the prompt has changed")
	}
	if n := counted(t, g.metrics.reloadOK); n != 0 {
		t.Error("the reload that was refused counts as one that worked")
	}
	g.renew("nobody", config.Secret("x"))
}

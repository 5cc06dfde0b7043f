package test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"wagate/config"
	"wagate/test/rig"
)

// trunkEvents subscribes to what happens and returns the names and contents of the
// events about trunks.
func trunkEvents(ctx context.Context, t *testing.T, r *rig.Rig) <-chan string {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Gateway.AdminAddr()+"/api/v1/events", nil)
	must(t, err)
	req.Header.Set("Last-Event-ID", "1") // of a run before: all that is still known is told
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	out := make(chan string, 64)
	go func() {
		defer close(out)
		topic := ""
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			switch name, value, _ := strings.Cut(lines.Text(), ": "); {
			case name == "event":
				topic = value
			case name == "data" && strings.HasPrefix(topic, "trunk."):
				_, value, _ = strings.Cut(value, `Z",`)
				out <- topic + " {" + value
			}
		}
	}()
	return out
}

// TestTrunkGoesAndComesBack: subscribers hear of it once each time, and of the
// first result too.
func TestTrunkGoesAndComesBack(t *testing.T) {
	t.Parallel()
	log := newLines()
	r, ctx := rigged(t, rig.Options{Log: log.logger(), Config: func(c *config.Config) { c.Trunks[0].OptionsInterval = 100 * time.Millisecond }})
	events := trunkEvents(ctx, t, r)
	for _, step := range []struct {
		options int // what the PBX answers from now on; 0: as before
		want    string
	}{
		{0, `trunk.up {"trunk":"pbx"}`},
		{503, `trunk.down {"trunk":"pbx"}`},
		{404, `trunk.up {"trunk":"pbx"}`},
	} {
		if step.options != 0 {
			r.PBX.SetOptions(step.options)
		}
		select {
		case got := <-events:
			if got != step.want {
				t.Fatalf("told %s, want %s", got, step.want)
			}
		case <-ctx.Done():
			t.Fatalf("not told %s", step.want)
		}
	}
	if !log.has(`"msg":"trunk down"`) || !log.has(`"msg":"trunk up"`) {
		t.Error("the log does not say so")
	}
}

package test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"wagate/store"
	"wagate/test/rig"
)

// records reads the call records over the admin API until there are as many as
// there were calls.
func records(ctx context.Context, t *testing.T, r *rig.Rig, want int) []store.Record {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		var page struct{ Records []store.Record }
		get(ctx, t, r, "/api/v1/records", &page)
		if len(page.Records) >= want {
			return page.Records
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%d records of %d", len(page.Records), want)
		case <-poll.C:
		}
	}
}

func get(ctx context.Context, t *testing.T, r *rig.Rig, path string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.Gateway.AdminAddr()+path, nil)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, res.Status)
	}
	must(t, json.NewDecoder(res.Body).Decode(into))
}

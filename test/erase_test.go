package test

import (
	"bufio"
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wagate/store"
	"wagate/test/fakemeta"
	"wagate/test/rig"
)

// request sends one request to the admin API; the answer is closed with the test.
func request(ctx context.Context, t *testing.T, r *rig.Rig, method, path string) (status int, body io.Reader) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.Gateway.AdminAddr()+path, http.NoBody)
	must(t, err)
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return res.StatusCode, res.Body
}

// TestErasedCustomer: a customer declines, and is then to be forgotten. Nothing
// of the customer is left in the data directory, but that we have asked today.
func TestErasedCustomer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r, ctx := rigged(t, rig.Options{Dir: dir, Config: rig.DialOut, Meta: fakemeta.Options{StrictPermissions: true}})
	r.Meta.Consent(dialledCustomer, fakemeta.Consent{Answer: fakemeta.Decline})
	writes(ctx, t, r.Meta)
	if status, _ := refused(ctx, t, dial(ctx, t, r, "+"+dialledCustomer)); status != 403 {
		t.Fatalf("dialled: %d", status)
	}
	_, err := r.Meta.WaitDelivery(ctx, func(d fakemeta.Delivery) bool { return d.Has(fakemeta.KindPermission, "") && d.Status == 200 })
	must(t, err)
	const path = "/api/v1/permissions/support/+" + dialledCustomer
	var state struct {
		State     string `json:"state"`
		Asked     int    `json:"requests_24h"`
		NextAskAt string `json:"next_request_at"`
	}
	eventually(ctx, t, "the answer", func() bool {
		get(ctx, t, r, path, &state)
		return state.State == "declined"
	})
	before := state.NextAskAt

	eventually(ctx, t, "the erasure", func() bool { // the call may be ending still
		status, _ := request(ctx, t, r, http.MethodDelete, "/api/v1/records?user=%2B"+dialledCustomer)
		return status == 200
	})
	var list struct{ Records []store.Record }
	get(ctx, t, r, "/api/v1/records", &list)
	if len(list.Records) != 1 || list.Records[0].User != "" || list.Records[0].To != "" || list.Records[0].SIPStatus != 403 {
		t.Errorf("records %+v", list.Records)
	}
	get(ctx, t, r, path, &state)
	if state.State != "none" || state.Asked != 1 || state.NextAskAt < before {
		t.Errorf("permission %+v, want no more than that we asked; the next not before %s", state, before)
	}
	if status, _ := request(ctx, t, r, http.MethodPost, path+"/request"); status != 429 {
		t.Errorf("asked again: %d, want 429", status)
	}
	wantNoTrace(t, dir, dialledCustomer)
	must(t, r.StopGateway())
	wantNoTrace(t, dir, dialledCustomer)
	for _, v := range r.Meta.Violations() {
		t.Errorf("Meta would complain: %+v", v)
	}
}

// wantNoTrace wants a number in no file, neither as it is nor as ids of Meta's
// have it.
func wantNoTrace(t *testing.T, dir, number string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	must(t, err)
	texts := []string{number}
	for shift := range 3 { // base64 has three forms of a text
		coded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + number + "xx"))
		texts = append(texts, coded[4:12])
	}
	for _, f := range files {
		content, err := os.ReadFile(filepath.Join(dir, f.Name()))
		must(t, err)
		for _, text := range texts {
			if strings.Contains(string(content), text) {
				t.Errorf("%s has %s in it", f.Name(), text)
			}
		}
	}
}

// TestUndeliveredRequestIsTold: the customer's app is too old for the request.
// The ledger, the subscribers and the log know, and the log says what to do.
func TestUndeliveredRequestIsTold(t *testing.T) {
	t.Parallel()
	log := newLines()
	r, ctx := rigged(t, rig.Options{Config: rig.DialOut, Meta: fakemeta.Options{StrictPermissions: true}, Log: log.logger()})
	r.Meta.Consent(dialledCustomer, fakemeta.Consent{OldApp: true})
	writes(ctx, t, r.Meta)
	_, stream := request(ctx, t, r, http.MethodGet, "/api/v1/events")
	if status, word := refused(ctx, t, dial(ctx, t, r, "+"+dialledCustomer)); status != 403 || word != "no_permission" {
		t.Errorf("refused with %d %s", status, word)
	}
	told := bufio.NewScanner(stream)
	for more := true; more && !strings.Contains(told.Text(), `"request_error":131026`); {
		more = told.Scan()
	}
	if !strings.Contains(told.Text(), `"state":"none"`) || !strings.Contains(told.Text(), dialledCustomer) {
		t.Errorf("subscribers are told %q, %v", told.Text(), told.Err())
	}
	var state struct {
		State string `json:"state"`
		Error int    `json:"request_error"`
		Asked int    `json:"requests_24h"`
	}
	get(ctx, t, r, "/api/v1/permissions/support/+"+dialledCustomer, &state)
	if state.State != "none" || state.Error != 131026 || state.Asked != 1 {
		t.Errorf("permission %+v; the request counts although it did not arrive", state)
	}
	eventually(ctx, t, "the line of the log", func() bool {
		return log.has("did not reach the customer", `"code":131026`, "updated", "*222")
	})
	if log.has(dialledCustomer) {
		t.Error("the log has the customer's number")
	}
}

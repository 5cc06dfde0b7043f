package whatsapp

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestRequestsAreTraced(t *testing.T) {
	status, answer := 200, `{"success":true}`
	client := newClient(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, answer)
	})
	var all []Exchange
	ctx := Traced(t.Context(), func(x Exchange) { all = append(all, x) })
	if err := client.PreAccept(ctx, "wacid.a", "v=0"); err != nil {
		t.Fatal(err)
	}
	status, answer = 400, `{"error":{"code":138006,"message":"no"}}`
	if err := client.Terminate(ctx, "wacid.a"); err == nil {
		t.Fatal("refusal taken for a success")
	}
	if err := client.Terminate(t.Context(), "wacid.a"); err == nil { // of another call
		t.Fatal("refusal taken for a success")
	}
	if len(all) != 2 {
		t.Fatalf("%d requests traced, want 2", len(all))
	}
	for i, want := range []Exchange{
		{Action: "pre_accept", Status: 200, Answer: []byte(`{"success":true}`)},
		{Action: "terminate", Status: 400, Answer: []byte(answer)},
	} {
		x := all[i]
		if x.Action != want.Action || x.Status != want.Status || string(x.Answer) != string(want.Answer) || (x.Err == nil) != (want.Status == 200) {
			t.Errorf("traced %+v, want %+v", x, want)
		}
		if x.Method != http.MethodPost || x.Path != "/v26.0/"+ourID+"/calls" || !strings.Contains(string(x.Request), `"action":"`+want.Action+`"`) {
			t.Errorf("the request is traced as %s %s %s", x.Method, x.Path, x.Request)
		}
		if x.Sent.IsZero() || x.Done.Before(x.Sent) {
			t.Errorf("sent at %v, done at %v", x.Sent, x.Done)
		}
	}
}

func TestRequestsWithoutAnswerAreTraced(t *testing.T) {
	client := clientFor(t, "http://[::1")
	var got Exchange
	if _, err := client.Connect(Traced(t.Context(), func(x Exchange) { got = x }), Callee{Number: "1"}, "", ""); err == nil {
		t.Fatal("no error")
	}
	if got.Action != "connect" || got.Status != 0 || got.Err == nil || got.Path != "" {
		t.Errorf("traced %+v", got)
	}
}

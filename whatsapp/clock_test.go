package whatsapp

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"wagate/config"
)

func TestClock(t *testing.T) {
	base := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name           string
		sent, received time.Duration // by our clock, from a whole second of Meta's
		date           string        // default: that second
		want           float64
		level          string // "" says nothing
	}{
		{name: "the same", sent: 200 * time.Millisecond, received: 300 * time.Millisecond},
		{name: "nearly a second ahead", sent: 1999 * time.Millisecond, received: 2 * time.Second, want: 0.999},
		{name: "ahead", sent: 3500 * time.Millisecond, received: 3600 * time.Millisecond, want: 2.5, level: "WARN"},
		{name: "behind", sent: -3 * time.Second, received: -2500 * time.Millisecond, want: -2.5, level: "WARN"},
		{name: "far behind", sent: -32 * time.Second, received: -31 * time.Second, want: -31, level: "ERROR"},
		{name: "a slow answer", sent: -time.Hour, received: -time.Hour + quickAnswer + 1},
		{name: "no date", sent: time.Hour, received: time.Hour, date: "yesterday"},
	} {
		m := NewMetrics(nil)
		var said bytes.Buffer
		log := slog.New(slog.NewTextHandler(&said, nil))
		date := base.Format(http.TimeFormat)
		if c.date != "" {
			date = c.date
		}
		for range 2 {
			m.clock.note(date, base.Add(c.sent), base.Add(c.received), log)
		}
		if got := value(t, m.clock.gauge); got != c.want {
			t.Errorf("%s: %v s, want %v", c.name, got, c.want)
		}
		if n := strings.Count(said.String(), "level="); n > 1 || n == 1 != (c.level != "") || !strings.Contains(said.String(), c.level) {
			t.Errorf("%s: said %s", c.name, &said)
		}
		if c.level == "" {
			continue
		}
		m.clock.note(date, base, base, log)
		if !strings.Contains(said.String(), "agrees") || value(t, m.clock.gauge) != 0 {
			t.Errorf("%s: that it passed is not said: %s", c.name, &said)
		}
	}
}

// Every answer tells the time, a refusal too.
func TestAnswersTellTheTime(t *testing.T) {
	client := newClient(t, func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
		rw.WriteHeader(http.StatusBadRequest)
	})
	_ = client.Terminate(t.Context(), "wacid.a")
	if got := value(t, client.metrics.clock.gauge); got < 3590 || got > 3610 {
		t.Errorf("%v s ahead, want about an hour", got)
	}
}

func TestUsageWait(t *testing.T) {
	for value, want := range map[string]time.Duration{
		``:     0,
		`{}`:   0,
		`null`: 0,
		`[1]`:  0,
		`{"1":[{"type":"messaging","call_count":100,"total_cputime":25,"total_time":25,"estimated_time_to_regain_access":19}]}`: 19 * time.Minute,
		`{"1":[{"estimated_time_to_regain_access":0}],"2":[{},{"estimated_time_to_regain_access":"3"}]}`:                        3 * time.Minute,
		`{"1":{},"2":[{"estimated_time_to_regain_access":2}]}`:                                                                  2 * time.Minute,
		`{"1":[{"estimated_time_to_regain_access":-5}]}`:                                                                        0,
		`{"1":[{"estimated_time_to_regain_access":9223372036854775807}]}`:                                                       maxRetryAfter,
	} {
		if got := usageWait(value); got != want {
			t.Errorf("%s: got %v, want %v", value, got, want)
		}
	}
	e := parseError(429, http.Header{usageHeader: {`{"1":[{"estimated_time_to_regain_access":1}]}`}, "Retry-After": {"5"}}, nil, time.Now())
	if e.RetryAfter != time.Minute {
		t.Errorf("the longer of two waits is not taken: %v", e.RetryAfter)
	}
}

// A new token is used at once, and the books of the number stay.
func TestRenew(t *testing.T) {
	var got string
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") })
	client.Renew("tok-new")
	if err := client.PhoneNumber(t.Context()); err != nil || got != "Bearer tok-new" {
		t.Errorf("%v, sent %q", err, got)
	}
	w := config.WhatsApp{GraphURL: "http://x", GraphVersion: "v1.0"}
	n := config.Number{PhoneNumberID: "1", AccessToken: "a"}
	c := clientFor(t, "http://x")
	if c.Serves(w, n) {
		t.Error("another number's client serves")
	}
	w.GraphVersion, n.PhoneNumberID = "v26.0", ourID
	if !c.Serves(w, n) {
		t.Error("the number's own client does not serve")
	}
}

// A request that is barred does not leave, and who watches hears of the others.
func TestBarredRequests(t *testing.T) {
	requests, told := 0, 0
	client := newClient(t, func(rw http.ResponseWriter, _ *http.Request) {
		requests++
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	client.Watch(func(ofCall bool, err error) {
		if !ofCall || err == nil {
			t.Errorf("told %v, %v", ofCall, err)
		}
		told++
	})
	for range 2 * rowLimit {
		_, err := client.Connect(t.Context(), Callee{Number: "1"}, "", "")
		if err == nil {
			t.Fatal("no error")
		}
	}
	if requests != rowLimit || told != rowLimit {
		t.Errorf("%d requests were made, %d told of, want %d", requests, told, rowLimit)
	}
	if n := value(t, client.guard.barred[classConnect][BarredFailing]); n != rowLimit {
		t.Errorf("%v requests counted as barred", n)
	}
	if n := value(t, client.guard.breakers[classConnect].gauge); n != float64(breakerOpen) {
		t.Errorf("the breaker's gauge is %v", n)
	}
	if client.Reachable() != nil {
		t.Error("calls of customers cannot be answered")
	}
	client.Watch(nil)
	if err := client.Terminate(t.Context(), "wacid.a"); !Sent(err) || requests != rowLimit+1 {
		t.Errorf("an end was not sent: %v", err)
	}
}

func FuzzUsage(f *testing.F) {
	f.Add(`{"1":[{"type":"messaging","call_count":100,"estimated_time_to_regain_access":19}]}`)
	f.Add(`{"1":{"estimated_time_to_regain_access":"-1e99"}}`)
	f.Fuzz(func(t *testing.T, value string) {
		if wait := usageWait(value); wait < 0 || wait > maxRetryAfter {
			t.Fatalf("wait %v", wait)
		}
	})
}

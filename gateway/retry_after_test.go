package gateway

import (
	"testing"
	"time"

	"wagate/whatsapp"
)

// TestRetryAfterOfLimits: what a PBX is told to wait where Meta has a limit.
func TestRetryAfterOfLimits(t *testing.T) {
	now := time.Unix(1_795_342_000, 0)
	for _, row := range []struct {
		name        string
		err         *whatsapp.APIError
		least, most time.Duration
		perUser     bool
	}{
		{"number-wide", &whatsapp.APIError{Status: 429, Code: 4}, 5 * time.Second, time.Minute, false},
		{"as Meta says", &whatsapp.APIError{Status: 429, Code: 80007, RetryAfter: 40 * time.Second}, 40 * time.Second, time.Minute, false},
		{"not as long as Meta says", &whatsapp.APIError{Status: 429, Code: 130429, RetryAfter: time.Hour}, time.Minute, time.Minute, false},
		{"a throttle without a code", &whatsapp.APIError{Status: 429}, 5 * time.Second, time.Minute, false},
		{"of one customer", &whatsapp.APIError{Code: 138012, Details: "next call at 1795342600"}, 10 * time.Minute, 10 * time.Minute, true},
		{"of one customer, far away", &whatsapp.APIError{Code: 138012, Details: "next call at 1795400000"}, time.Hour, time.Hour, true},
		{"of one customer, not said", &whatsapp.APIError{Code: 138012}, time.Hour, time.Hour, true},
	} {
		seen := map[time.Duration]bool{}
		for range 200 {
			c := &Call{now: now}
			c.noteLimit(row.err)
			if c.retryAfter < row.least || c.retryAfter > row.most || c.perUser != row.perUser {
				t.Errorf("%s: %v, of one customer %v", row.name, c.retryAfter, c.perUser)
			}
			seen[c.retryAfter] = true
		}
		if spread := row.least != row.most; spread != (len(seen) > 1) {
			t.Errorf("%s: %d different times", row.name, len(seen))
		}
	}
	c := &Call{now: now}
	if c.noteLimit(&whatsapp.BarredError{Why: whatsapp.BarredThrottled, Wait: 40 * time.Second}); c.retryAfter < 40*time.Second {
		t.Errorf("a pause of Meta's says %v", c.retryAfter)
	}
	c = &Call{now: now}
	if c.noteLimit(&whatsapp.BarredError{Why: whatsapp.BarredFailing, Wait: 4 * time.Second}); c.retryAfter != 0 {
		t.Errorf("a Meta that fails says %v", c.retryAfter)
	}
	if c.noteLimit(&whatsapp.APIError{Code: 138006}); c.retryAfter != 0 {
		t.Errorf("a refusal that is no limit says %v", c.retryAfter)
	}
}

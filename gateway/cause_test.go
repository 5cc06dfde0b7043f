package gateway

import (
	"regexp"
	"testing"

	"wagate/whatsapp"
)

// TestCauseComplete holds every cause to having every column.
func TestCauseComplete(t *testing.T) {
	word := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	names := map[string]Cause{}
	for c := range numCauses {
		name := c.String()
		if !word.MatchString(name) {
			t.Errorf("cause %d is called %q, want a snake_case word", c, name)
		}
		if other, taken := names[name]; taken {
			t.Errorf("causes %d and %d are both called %q", other, c, name)
		}
		names[name] = c
		code, q850 := c.sipStatus(false)
		if code < 400 || code > 699 || q850 < 0 || q850 > 127 {
			t.Errorf("%v is refused with %d and Q.850 %d", c, code, q850)
		}
		switch code, _ := c.sipStatus(true); code {
		case 480, 486, 487, 603:
		default:
			t.Errorf("%v is refused with %d after it rang, at which a PBX may ring elsewhere", c, code)
		}
		if r := c.releaseQ850(); r < 1 || r > 127 {
			t.Errorf("%v is released with Q.850 %d", c, r)
		}
	}
	if got := numCauses.String(); got != "internal" {
		t.Errorf("a cause out of range is called %q, want internal", got)
	}
}

// TestOnlyOursAre503 holds 503 to the faults of this node: a PBX takes it as
// "try the next gateway".
func TestOnlyOursAre503(t *testing.T) {
	for c := range numCauses {
		code, _ := c.sipStatus(false)
		if ours := c == Overloaded || c == Draining || c == StoreFailed; (code == 503) != ours {
			t.Errorf("%v is refused with %d", c, code)
		}
	}
}

// TestCauseToPBX is what a PBX hears about a call to a WhatsApp user.
func TestCauseToPBX(t *testing.T) {
	for _, tt := range []struct {
		cause               Cause
		code, q850, release int
	}{
		{NoPermission, 403, 21, 16},
		{NotAllowed, 403, 21, 16},
		{Overloaded, 503, 42, 31},
		{Draining, 503, 42, 31},
		{BadNumber, 484, 28, 16},
		{NoRoute, 404, 3, 16},
		{NotFound, 404, 1, 16},
		{Busy, 486, 17, 17},
		{Declined, 603, 21, 21},
		{NoAnswer, 480, 19, 19},
		{Cancelled, 487, 0, 16},
		{Limited, 480, 42, 16},
		{APIDown, 502, 38, 41},
		{APITimeout, 504, 102, 41},
		{APIError, 500, 41, 41},
		{MediaFailed, 480, 47, 41},
		{NoCodec, 488, 65, 65},
		{StoreFailed, 503, 41, 41},
		{MediaLost, 480, 41, 41},
		{MaxDuration, 480, 31, 31},
		{Internal, 500, 41, 41},
		{Hangup, 480, 16, 16},
	} {
		code, q850 := tt.cause.sipStatus(false)
		if code != tt.code || q850 != tt.q850 || tt.cause.releaseQ850() != tt.release {
			t.Errorf("%v: got %d, Q.850 %d, release %d; want %d, %d, %d", tt.cause,
				code, q850, tt.cause.releaseQ850(), tt.code, tt.q850, tt.release)
		}
	}
}

// TestCauseOfSIP is what a PBX's answer means for the call of a WhatsApp user:
// what it is called, what is tried next, what goes on record, and whether
// somebody is to be woken.
func TestCauseOfSIP(t *testing.T) {
	for _, tt := range []struct {
		status int
		cause  Cause
		retry  retry
		q850   int
		alarm  bool
	}{
		{486, Busy, retryHop, 17, false},
		{600, Busy, retryHop, 17, false},
		{480, NoAnswer, retryHop, 19, false},
		{408, NoAnswer, retryHop, 18, false},
		{487, NoAnswer, retryHop, 31, false},
		{404, NotFound, retryNever, 1, true},
		{410, NotFound, retryNever, 22, true},
		{484, NotFound, retryNever, 28, true},
		{485, NotFound, retryNever, 1, false},
		{604, NotFound, retryNever, 1, true},
		{403, Declined, retryNever, 21, false},
		{603, Declined, retryNever, 21, false},
		{607, Declined, retryNever, 21, false},
		{608, Declined, retryNever, 21, false},
		{401, TrunkAuth, retryNever, 21, true},
		{407, TrunkAuth, retryNever, 21, true},
		{488, NoCodec, retryPlain, 65, true},
		{606, NoCodec, retryPlain, 65, true},
		{415, NoCodec, retryPlain, 79, true},
		{420, NoCodec, retryPlain, 127, true},
		{500, Unreachable, retryTarget, 41, false},
		{502, Unreachable, retryTarget, 38, false},
		{503, Unreachable, retryTarget, 41, false},
		{504, Unreachable, retryTarget, 102, false},
		{0, Unreachable, retryTarget, 102, false}, // timer B, TCP, TLS
		{501, Unreachable, retryTarget, 79, false},
		{513, Unreachable, retryTarget, 127, false},
		{302, NoAnswer, retryHop, 19, false}, // to where we may not go
		{400, Declined, retryNever, 41, false},
		{481, Declined, retryNever, 41, false},
		{405, Declined, retryNever, 63, false},
		{482, Declined, retryNever, 25, false},
		{499, Declined, retryNever, 31, false},
		{699, Declined, retryNever, 31, false},
	} {
		c := causeOfSIP(tt.status, 0)
		if c != tt.cause || c.retry() != tt.retry {
			t.Errorf("%d: got %v and retry %d, want %v and %d", tt.status, c, c.retry(), tt.cause, tt.retry)
		}
		if got := q850OfSIP(tt.status, 0); got != tt.q850 {
			t.Errorf("%d: got Q.850 %d on record, want %d", tt.status, got, tt.q850)
		}
		if got := sipAlarm(tt.status); got != tt.alarm {
			t.Errorf("%d: alarm is %v, want %v", tt.status, got, tt.alarm)
		}
	}
}

// TestEveryStatusHasACause leaves no final status without a meaning.
func TestEveryStatusHasACause(t *testing.T) {
	for status := 300; status < 700; status++ {
		for q850 := range 128 {
			if causeOfSIP(status, q850) == NoCause {
				t.Fatalf("%d with Q.850 %d means nothing", status, q850)
			}
			if got := q850OfSIP(status, q850); got < 1 || got > 127 {
				t.Fatalf("%d with Q.850 %d goes on record as %d", status, q850, got)
			}
		}
	}
	for status := range 300 {
		if got := causeOfSIP(status, 0); status > 0 && got != NoCause {
			t.Fatalf("%d is no failure, got %v", status, got)
		}
	}
}

// TestReasonWins: the network's own cause is better news than the status that
// some gateway made of it.
func TestReasonWins(t *testing.T) {
	for _, tt := range []struct {
		status, q850 int
		want         Cause
	}{
		{480, 17, Busy},
		{500, 17, Busy},
		{503, 1, NotFound},
		{503, 19, NoAnswer},
		{486, 21, Declined},
		{480, 41, Unreachable},
		{480, 16, NoAnswer}, // says nothing
		{603, 17, Declined}, // a refusal by everybody stays one
		{488, 41, NoCodec},
		{401, 17, TrunkAuth},
	} {
		if got := causeOfSIP(tt.status, tt.q850); got != tt.want {
			t.Errorf("%d with Q.850 %d: got %v, want %v", tt.status, tt.q850, got, tt.want)
		}
	}
	if got := q850OfSIP(480, 17); got != 17 {
		t.Errorf("got Q.850 %d on record, want the peer's own", got)
	}
}

// TestRefusalsOfMeta: what a refused request means depends on what was asked.
func TestRefusalsOfMeta(t *testing.T) {
	const up = "Call is already in progress"
	for _, row := range []struct {
		asked        graphReq
		status, code int
		details      string
		want         graphReply
	}{
		{reqPreAccept, 400, 100, up, graphReply{}}, // the first one worked
		{reqAccept, 400, 100, up, graphReply{}},
		{reqTerminate, 400, 100, up, graphReply{Result: resultRefused}},
		{reqPreAccept, 400, 100, "SDP Validation error", graphReply{resultHopeless, APIError}},
		// accept would meet the same, so no phone rings in vain
		{reqPreAccept, 403, 10, "", graphReply{resultHopeless, APIError}},
		{reqPreAccept, 403, 200, "", graphReply{resultHopeless, APIError}},
		{reqPreAccept, 401, 190, "", graphReply{resultHopeless, APIError}},
		{reqPreAccept, 400, 131042, "", graphReply{resultHopeless, APIError}},
		{reqPreAccept, 400, 999, "", graphReply{resultRefused, APIError}},
		// a call may have begun, so it is ended on sight
		{reqConnect, 500, 138007, "", graphReply{resultTemporary, APITimeout}},
		{reqConnect, 500, 138004, "", graphReply{resultTemporary, APIDown}},
		{reqConnect, 400, 138008, "", graphReply{resultHopeless, APIError}},
		{reqConnect, 401, 138006, "", graphReply{resultHopeless, NoPermission}},
	} {
		got := replyOf(row.asked, &whatsapp.APIError{Status: row.status, Code: row.code, Details: row.details})
		if got != row.want {
			t.Errorf("%v, %d %d %s: got %+v, want %+v", row.asked, row.status, row.code, row.details, got, row.want)
		}
	}
}

// TestCauseOfMeta is the meaning of every code that Meta is known to send.
func TestCauseOfMeta(t *testing.T) {
	for want, codes := range map[Cause][]int{
		APIDown:      {1, 2, 131000, 131016, 133004, 138004},
		APITimeout:   {138007},
		Limited:      {4, 613, 80007, 130429, 138002, 138005, 138012},
		NotFound:     {138001, 131026},
		Busy:         {138003},
		NoPermission: {138006},
		MediaFailed:  {138019, 138020, 138021, 138022, 138023},
		APIError: {
			0, 10, 100, 190, 200, 299, 131044, 131055,
			138000, 138008, 138013, 138014, 138015, 138018, 999999, -1,
		},
	} {
		for _, code := range codes {
			if got := causeOfMeta(code); got != want {
				t.Errorf("%d: got %v, want %v", code, got, want)
			}
		}
	}
}

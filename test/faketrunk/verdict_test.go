package faketrunk

import (
	"fmt"
	"strings"
	"testing"
)

// TestVerdicts: what a gateway may say to a call, and what it may not.
func TestVerdicts(t *testing.T) {
	const (
		busy     = "Reason: Q.850;cause=17;text=\"busy\"\r\nX-WA-Error: busy\r\nX-WA-Call: K7\r\n"
		full     = "Reason: Q.850;cause=42\r\nX-WA-Error: overloaded\r\n"
		down     = "Reason: Q.850;cause=38\r\nX-WA-Error: api_down;meta=2\r\nX-WA-Call: K7\r\n"
		denied   = "Reason: Q.850;cause=21\r\nX-WA-Error: no_permission\r\nX-WA-Call: K7\r\n"
		gaveUp   = "X-WA-Error: cancelled\r\nX-WA-Call: K7\r\n"
		nameless = "Reason: Q.850;cause=19\r\nX-WA-Error: no_answer\r\n"
	)
	for _, row := range []struct {
		name     string
		statuses []int
		extra    string // headers of the last
		wrong    string // what the one verdict says; "": none
	}{
		{"busy after ringing", []int{100, 180, 486}, busy, ""},
		{"the node is full", []int{100, 503}, full, ""},
		{"another's fault as ours", []int{100, 503}, down, "not this gateway's own state"},
		{"elsewhere before ringing", []int{100, 502}, down, ""},
		{"elsewhere after ringing", []int{100, 180, 502}, down, "the phone has rung"},
		{"elsewhere after 183 and ringing", []int{183, 180, 403}, denied, "the phone has rung"},
		{"an announcement", []int{100, 183, 403}, denied, ""},
		{"no word of ours", []int{100, 404}, "Reason: Q.850;cause=1\r\n", "no X-WA-Error"},
		{"no cause", []int{100, 480}, "X-WA-Error: no_answer\r\n", "Reason"},
		{"given up", []int{180, 487}, gaveUp, ""},
		{"a call without its name", []int{180, 480}, nameless, "no X-WA-Call"},
		{"not a call", []int{400}, "", ""},
		{"a challenge", []int{401}, "", ""},
		{"answered", []int{180, 200}, "", ""},
	} {
		tr := &Trunk{}
		add := func(in bool, raw string) {
			m, err := parse([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			m.In = in
			tr.log = append(tr.log, m)
		}
		head := "Call-ID: c1\r\nCSeq: 1 INVITE\r\nTo: <sip:a@b>"
		add(false, "INVITE sip:a@b SIP/2.0\r\n"+head+"\r\n\r\n")
		for i, status := range row.statuses {
			extra := ""
			if i == len(row.statuses)-1 {
				extra = row.extra
			}
			for range 2 { // a repeat is judged once
				add(true, fmt.Sprintf("SIP/2.0 %d Words\r\n%s;tag=2\r\n%s\r\n", status, head, extra))
			}
		}
		got := tr.Verdicts()
		if row.wrong == "" && len(got) != 0 || row.wrong != "" && (len(got) != 1 || !strings.Contains(got[0], row.wrong)) {
			t.Errorf("%s: the verdicts are %q, want %q", row.name, got, row.wrong)
		}
	}
	bye := &Message{In: true, Method: "BYE", Headers: []Header{{"Call-ID", "c1"}, {"CSeq", "2 BYE"}}}
	if got := (&Trunk{log: []*Message{bye}}).Verdicts(); len(got) != 3 {
		t.Errorf("a BYE that says nothing: %q", got)
	}
}

package test

import (
	"strings"
	"testing"
	"unicode"

	"wagate/test/fakemeta"
	"wagate/test/faketrunk"
	"wagate/test/rig"
)

// TestHostileWords: whatever a customer is called, or came with, is one value of
// one header at the PBX.
func TestHostileWords(t *testing.T) {
	t.Parallel()
	log := newLines()
	r, ctx := rigged(t, rig.Options{Config: unprobed, Log: log.logger()})
	r.PBX.Handle(func(*faketrunk.Message) faketrunk.Script { return faketrunk.Refuse(486) })
	words := []string{
		"x\r\nX-Evil: 1",
		"x\nX-Evil: 1\n\nINVITE sip:evil@127.0.0.1 SIP/2.0\n",
		"x\r\n\r\nv=0\r\nc=IN IP4 10.9.9.9\r\n",
		"x\rX-Evil: 1",
		"x\x00X-Evil: 1",
		"x\u2028X-Evil: 1\u0085X-Evil: 1",
		`Eve" <sip:ceo@evil.example>;x="`,
		`Eve\`,
		`\"; tag=evil`,
		"<sip:evil@evil.example>",
		"%0d%0aX-Evil: 1",
		"\x1b[31mred\x1b[0m\a\b",
		"<script>alert(1)</script>",
		"Ñuria 👩‍👩‍👧 Πέτρου أحمد",
		strings.Repeat("long ", 2000),
		strings.Repeat("🙂", 3000),
		"",
	}
	before := len(r.PBX.Messages())
	for i, w := range words {
		customer, err := r.Meta.Call(ctx, fakemeta.CallOptions{
			User: fakemeta.User{Name: w, Username: w, UserID: "ES.2" + w}, Payload: w, DeepLink: w,
		})
		must(t, err)
		must(t, customer.Wait(ctx, fakemeta.Ended))
		rec := recordOf(t, settled(ctx, t, r), customer)
		wantRecord(t, rec, "busy", "pbx")
		if phones := r.PBX.Calls(); len(phones) != i+1 {
			t.Fatalf("%q: %d INVITEs, want %d", clip(w), len(phones), i+1)
		}
	}
	for _, m := range r.PBX.Messages()[before:] {
		if m.In {
			wantClean(t, m)
		}
	}
	if log.has("X-Evil", `"level":"ERROR"`) {
		t.Error("an error in the log repeats a stranger's words")
	}
}

// wantClean asserts that a request has the headers that we send, once each, and
// nothing that a line could end in.
func wantClean(t *testing.T, m *faketrunk.Message) {
	t.Helper()
	known := map[string]bool{}
	for name := range strings.FieldsSeq(`Via Max-Forwards From To Call-ID CSeq Contact P-Asserted-Identity Privacy Allow User-Agent
		X-WA-Call X-WA-ID X-WA-Number X-WA-User-ID X-WA-Payload X-WA-Loop Content-Type Content-Length Supported Accept Session-Expires Min-SE`) {
		known[strings.ToLower(name)] = true
	}
	seen := map[string]int{}
	size := 0
	for _, h := range m.Headers {
		name := strings.ToLower(h.Name)
		seen[name]++
		size += len(h.Name) + len(h.Value)
		if !known[name] {
			t.Errorf("%s: a header that is not ours: %s: %q", m, h.Name, clip(h.Value))
		}
		if seen[name] > 1 {
			t.Errorf("%s: %d headers %s", m, seen[name], h.Name)
		}
		for _, r := range h.Value {
			if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar {
				t.Errorf("%s: %s has %U", m, h.Name, r)
			}
		}
	}
	if size > 4096 {
		t.Errorf("%s: %d bytes of headers", m, size)
	}
	if strings.Contains(string(m.Body), "10.9.9.9") {
		t.Errorf("%s: a stranger wrote the body", m)
	}
	from := m.Get("From")
	if uri := from[strings.LastIndex(from, "<")+1:]; m.Method == "INVITE" && (!strings.HasPrefix(uri, "sip:+346") || strings.Count(from, "tag=") > 1 && !strings.HasPrefix(from, `"`)) {
		t.Errorf("%s: From is %q", m, from)
	}
	if strings.HasPrefix(from, `"`) {
		end := closingQuote(from)
		if end < 0 || !strings.HasPrefix(strings.TrimSpace(from[end+1:]), "<") {
			t.Errorf("%s: the name of From is not one quoted string: %q", m, clip(from))
		}
	}
}

// closingQuote finds the end of the quoted string that begins a text.
func closingQuote(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

func clip(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// TestCustomerWithoutANumber: a user who hides the number behind a user name is
// anonymous at the PBX, and known by the id.
func TestCustomerWithoutANumber(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{
		User: fakemeta.User{Name: "Nuria", Username: "nuria.p", UserID: "ES.20914466382001574", Private: true},
	})
	customer.HangUp()
	rec := recordOf(t, settled(ctx, t, r), customer)
	wantRecord(t, rec, "hangup", "customer")
	if rec.User != "" || rec.UserID != "ES.20914466382001574" {
		t.Errorf("the record says user %q, id %q", rec.User, rec.UserID)
	}
	invite := phone.Invite()
	if from := invite.Get("From"); !strings.Contains(from, "<sip:anonymous@anonymous.invalid>") {
		t.Errorf("From is %q", from)
	}
	if invite.Get("Privacy") != "id" || invite.Get("P-Asserted-Identity") != "" {
		t.Errorf("Privacy is %q, P-Asserted-Identity %q", invite.Get("Privacy"), invite.Get("P-Asserted-Identity"))
	}
	if got := invite.Get("X-WA-User-ID"); got != "ES.20914466382001574" {
		t.Errorf("X-WA-User-ID is %q", got)
	}
	if got := invite.Get("X-WA-ID"); got != customer.ID() {
		t.Errorf("X-WA-ID is %q, want %q", got, customer.ID())
	}
}

// TestCallerIsShown: a customer with a number is shown by it, in From and in
// P-Asserted-Identity, with the call's names beside.
func TestCallerIsShown(t *testing.T) {
	t.Parallel()
	r, ctx := rigged(t, rig.Options{Config: unprobed})
	r.PBX.Handle(answering(0))
	customer, phone := talking(ctx, t, r, fakemeta.CallOptions{User: fakemeta.User{Name: "Nuria P.", Number: "34600111222"}, DeepLink: "web-footer"})
	customer.HangUp()
	rec := recordOf(t, settled(ctx, t, r), customer)
	invite := phone.Invite()
	for _, name := range []string{"From", "P-Asserted-Identity"} {
		if got := invite.Get(name); !strings.HasPrefix(got, `"Nuria P." <sip:+34600111222@`) {
			t.Errorf("%s is %q", name, got)
		}
	}
	for name, want := range map[string]string{
		"X-WA-Call": rec.ID, "X-WA-ID": customer.ID(), "X-WA-Number": "support", "X-WA-User-ID": customer.User().UserID, "X-WA-Payload": "web-footer",
	} {
		if got := invite.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(invite.URI, "sip:600@") {
		t.Errorf("the Request-URI is %s", invite.URI)
	}
}

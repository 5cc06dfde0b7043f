package whatsapp

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Every file in testdata is a delivery; its golden file is what we make of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			b, err := parse(sample(t, name), map[string]bool{ourID: true})
			if err != nil {
				t.Fatal(err)
			}
			got := describe(t, b)
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func describe(t *testing.T, b batch) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, ev := range b.events {
		text, err := json.MarshalIndent(ev, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s %s\n", ev.Kind(), text)
	}
	for _, e := range b.errors {
		fmt.Fprintf(&out, "error %d: %s\n", e.Code, e.Details)
	}
	for _, d := range b.dropped {
		fmt.Fprintf(&out, "dropped %s %s: %v\n", d.kind, d.outcome, d.err)
	}
	return out.Bytes()
}

// Equal events have equal keys, and no others.
func TestKeys(t *testing.T) {
	base := key("1", "wacid.a", "status", "RINGING", "5")
	if base != key("1", "wacid.a", "status", "RINGING", "5") || len(base) != 64 {
		t.Error("a key changes")
	}
	for _, other := range [][]string{
		{"2", "wacid.a", "status", "RINGING", "5"},
		{"1", "wacid.a=", "status", "RINGING", "5"},
		{"1", "wacid.a", "status", "ACCEPTED", "5"},
		{"1", "wacid.a", "status", "RINGING", "6"},
		{"1wacid.a", "", "status", "RINGING", "5"},
		{"1", "wacid.as", "tatus", "RINGING", "5"},
	} {
		if key(other...) == base {
			t.Errorf("%v has the same key", other)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.json")
	for _, file := range files {
		f.Add(sample(f, strings.TrimSuffix(filepath.Base(file), ".json")))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := parse(raw, map[string]bool{ourID: true})
		if err != nil && len(b.events) > 0 {
			t.Fatal("events in spite of an error")
		}
		for _, ev := range b.events {
			m := ev.About()
			if len(m.Key) != 64 || m.NumberID != ourID || m.CallID == "" && aboutCall(ev) {
				t.Fatalf("incomplete: %+v", ev)
			}
			if strings.ContainsAny(string(m.CallID)+m.Tag, "\r\n\x00") {
				t.Fatalf("control characters: %+v", ev)
			}
			text, err := body(ev)
			if err != nil {
				t.Fatal(err)
			}
			back, err := ParseEvent(text)
			if err != nil || back.About() != m || back.Kind() != ev.Kind() {
				t.Fatalf("journal gives %+v, %v for %+v", back, err, ev)
			}
		}
	})
}

func aboutCall(ev Event) bool {
	switch ev.(type) {
	case Offer, Answer, Status, Terminate:
		return true
	case PermissionReply, Spoke, MessageFailed, UserMoved:
	}
	return false
}

package whatsapp

import (
	"strings"
	"testing"
)

// TestMetasWordsAreCut: Meta quotes what it was asked.
func TestMetasWordsAreCut(t *testing.T) {
	for words, want := range map[string]string{
		"(#131030) Recipient +34600111222 not in allowed list": "(#131030) Recipient +***222 not in allowed list",
		"call wacid.HBgLMzQ2MDAxMTEyMjIVAgASGCA= has ended":    "call wacid.*** has ended",
		"at 18:05 of 2026-11-22, 120 left":                     "at 18:05 of 2026-11-22, 120 left",
		"":                                                     "",
	} {
		if got := quotable(words); got != want {
			t.Errorf("%q is quoted as %q, want %q", words, got, want)
		}
	}
	e := &APIError{Status: 400, Code: 190, Details: hush("Malformed access token EAAx7 for 34600111222", "EAAx7")}
	if text := e.Error(); strings.Contains(text, "EAAx7") || strings.Contains(text, "600111222") || !strings.Contains(text, "Malformed access token <secret> for ***222") {
		t.Errorf("the error says %s", text)
	}
	if hush("kept", "") != "kept" {
		t.Error("without a token something is cut")
	}
}

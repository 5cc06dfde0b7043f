package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretsDoNotPrint(t *testing.T) {
	const word = "hunter2"
	n := Number{Name: "support", AccessToken: word}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("number", slog.Any("number", n), slog.Any("token", n.AccessToken))
	asJSON, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(n), fmt.Sprintf("%v %+v %#v %s %q", n, n, n, n.AccessToken, n.AccessToken), logged.String(), string(asJSON),
	} {
		if strings.Contains(text, word) {
			t.Errorf("the secret shows: %s", text)
		}
	}
	if n.AccessToken.Reveal() != word {
		t.Error("Reveal does not")
	}
}

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		write(t, filepath.Join(dir, name), content, mode)
		return name
	}
	tests := []struct {
		ref         secretRef
		value, says string
	}{
		{ref: secretRef{file: file("good", "  token\n", 0o600)}, value: "token"},
		{ref: secretRef{file: file("read-only", "token", 0o400)}, value: "token"},
		{ref: secretRef{file: file("group", "token", 0o640)}, says: "open to other users (mode 0640)"},
		{ref: secretRef{file: file("world", "token", 0o604)}, says: "open to other users (mode 0604)"},
		{ref: secretRef{file: file("empty", "\n", 0o600)}, says: "is empty"},
		{ref: secretRef{file: file("large", strings.Repeat("x", maxSecret+1), 0o600)}, says: "too large"},
		{ref: secretRef{file: "nowhere"}, says: "does not exist"},
		{ref: secretRef{file: "."}, says: "is not a file"},
		{ref: secretRef{env: "WAGATE_NOT_SET"}, says: "is not set"},
	}
	for _, tt := range tests {
		value, hint, err := tt.ref.fetch(dir)
		switch {
		case tt.says == "" && (err != nil || value != tt.value):
			t.Errorf("%+v: %q, %v", tt.ref, value, err)
		case tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says) || hint == ""):
			t.Errorf("%+v: %v; %s", tt.ref, err, hint)
		}
	}
}

// TestTokenFiles: a number's token that is from a file can be read there again.
func TestTokenFiles(t *testing.T) {
	setSecrets(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), "first", 0o600)
	text, err := os.ReadFile("testdata/good.yml")
	if err != nil {
		t.Fatal(err)
	}
	inFile := strings.Replace(string(text), "env: WAGATE_TOKEN_SUPPORT", "file: token", 1)
	for text, want := range map[string]string{string(text): "", inFile: filepath.Join(dir, "token")} {
		c, err := Parse([]byte(text), dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.TokenFile("support"); got != want || c.TokenFile("sales") != "" {
			t.Errorf("the token is from %q, want %q", got, want)
		}
	}
	write(t, filepath.Join(dir, "token"), "second\n", 0o600)
	if token, err := ReadSecret(filepath.Join(dir, "token")); err != nil || token != "second" {
		t.Errorf("read again: %v", err)
	}
	if _, err := ReadSecret(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// TestCredentials: what systemd keeps for one service counts as closed, although
// its access list shows as permissions of the group.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		where string
		mode  os.FileMode
		taken bool
	}{
		{dir, 0o440, true},
		{dir + "/", 0o400, true},
		{dir, 0o444, false},
		{dir, 0o460, false},
		{filepath.Dir(dir), 0o440, false},
		{"", 0o440, false},
	} {
		t.Setenv("CREDENTIALS_DIRECTORY", tt.where)
		name := filepath.Join(dir, fmt.Sprintf("secret_%04o", tt.mode))
		write(t, name, "token", tt.mode)
		if value, _, err := (secretRef{file: name}).fetch("."); (err == nil) != tt.taken || tt.taken && value != "token" {
			t.Errorf("credentials in %q, mode %04o: %q, %v", tt.where, tt.mode, value, err)
		}
	}
}

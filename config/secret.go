package config

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Secret is a token or password, read from a file or the environment. It
// prints as a placeholder wherever it is formatted or logged.
type Secret string

const redacted = "<secret>"

// String returns a placeholder.
func (Secret) String() string { return redacted }

// GoString returns a placeholder.
func (Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer with a placeholder.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps the secret out of JSON, YAML and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Reveal returns the secret itself, for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// maxSecret is the largest secret file, in bytes.
const maxSecret = 64 << 10

// secretHint says how a secret is written.
const secretHint = "write {file: PATH} or {env: NAME}"

// secretRef is a secret that is named in the file and still to be fetched:
// fetching waits until it is known whether the secret is used at all.
type secretRef struct {
	path      string
	line      int
	file, env string
	dst       *Secret
}

// secret notes where a secret is to be found. A literal is refused without
// repeating it.
func (d *decoder) secret(n ast.Node, dst *Secret, path string) {
	entries, ok := d.entries(n, path)
	if !ok {
		d.addAt(path, lineOf(n), secretHint, "a secret may not stand in this file")
		return
	}
	ref := secretRef{path: path, line: lineOf(n), dst: dst}
	for _, e := range entries {
		value, ok := d.resolve(e.value, path)
		if !ok {
			return
		}
		text, ok := scalar(value)
		switch {
		case e.key != "file" && e.key != "env":
			d.addAt(join(path, e.key), e.line, secretHint, "unknown key")
			return
		case !ok || text == "":
			d.addAt(join(path, e.key), e.line, secretHint, "names nothing")
			return
		case e.key == "file":
			ref.file = text
		default:
			ref.env = text
		}
	}
	if (ref.file == "") == (ref.env == "") {
		d.addAt(path, ref.line, secretHint, "needs one of file and env")
		return
	}
	d.secrets = append(d.secrets, ref)
}

// forgetSecrets drops what was noted below path.
func (d *decoder) forgetSecrets(path string) {
	kept := d.secrets[:0]
	for _, ref := range d.secrets {
		if !strings.HasPrefix(ref.path, path+".") {
			kept = append(kept, ref)
		}
	}
	d.secrets = kept
}

// tokenFiles tells where the access tokens of the numbers are read from.
func (d *decoder) tokenFiles(c *Config, dir string) map[string]string {
	var files map[string]string
	for i, n := range c.WhatsApp.Numbers {
		for _, ref := range d.secrets {
			if ref.path == fmt.Sprintf("whatsapp.numbers[%d].access_token", i) && ref.file != "" {
				if files == nil {
					files = map[string]string{}
				}
				files[n.Name] = resolvePath(dir, ref.file)
			}
		}
	}
	return files
}

// TokenFile is the file that the access token of a number is read from, "" if it
// is not from one.
func (c *Config) TokenFile(number string) string { return c.tokenFiles[number] }

// fetchSecrets reads every noted secret; files are relative to dir.
func (d *decoder) fetchSecrets(dir string) {
	for _, ref := range d.secrets {
		value, hint, err := ref.fetch(dir)
		if err != nil {
			d.addAt(ref.path, ref.line, hint, "%s", err.Error())
			continue
		}
		*ref.dst = Secret(value)
	}
}

func (ref secretRef) fetch(dir string) (value, hint string, err error) {
	if ref.env != "" {
		value = strings.TrimSpace(os.Getenv(ref.env))
		if value == "" {
			return "", "set it before the start", fmt.Errorf("environment variable %s is not set", ref.env)
		}
		return value, "", nil
	}
	return readSecret(resolvePath(dir, ref.file))
}

// ReadSecret reads a secret's file again, as Load does.
func ReadSecret(path string) (Secret, error) {
	value, _, err := readSecret(path)
	return Secret(value), err
}

func readSecret(name string) (value, hint string, err error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "create it, or correct the path", fmt.Errorf("secret file %s does not exist", name)
	case err != nil:
		return "", "let the gateway's user read it", fmt.Errorf("secret file: %w", err)
	case !info.Mode().IsRegular():
		return "", "name a regular file", fmt.Errorf("secret file %s is not a file", name)
	case info.Mode().Perm()&forbidden(name) != 0:
		return "", "chmod 600 " + name, fmt.Errorf("secret file %s is open to other users (mode %04o)", name, info.Mode().Perm())
	case info.Size() > maxSecret:
		return "", "name the file that has only the secret", fmt.Errorf("secret file %s is too large", name)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return "", "let the gateway's user read it", fmt.Errorf("secret file: %w", err)
	}
	if value = strings.TrimSpace(string(content)); value == "" {
		return "", "write the secret into it", fmt.Errorf("secret file %s is empty", name)
	}
	return value, "", nil
}

// forbidden are the permissions that a secret file may not have: those of other
// users. systemd keeps the files of LoadCredential for one service, but lets it
// in by an access list, and that shows as permissions of the group.
func forbidden(name string) fs.FileMode {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir != "" && filepath.Dir(filepath.Clean(name)) == filepath.Clean(dir) {
		return 0o037
	}
	return 0o077
}

// resolvePath makes a path of the file relative to the file's folder.
func resolvePath(dir, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Bounds of the text before it is parsed.
const (
	maxFile    = 128 << 10 // bytes
	maxNesting = 256       // brackets in comments and strings count too
)

// Load reads and checks a configuration file. What it returns is usable; an
// error is Faults with everything that is wrong, or says why the file could
// not be read. Relative paths in the file are relative to its folder.
func Load(path string) (*Config, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return Parse(text, dir)
}

// LoadAdmin reads only http.admin of a configuration file, for a program that
// talks to the running gateway: faults elsewhere and secrets that it cannot
// read do not matter to it.
func LoadAdmin(path string) (Admin, error) {
	text, err := readFile(path)
	if err != nil {
		return Admin{}, fmt.Errorf("read configuration: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Admin{}, fmt.Errorf("read configuration: %w", err)
	}
	d, c := newDecoder(), Default()
	root, ok := d.parse(text)
	if ok {
		d.value(root, reflect.ValueOf(c).Elem(), "")
	} else if len(d.faults) > 0 {
		return Admin{}, d.err()
	}
	const section = "http.admin"
	d.secrets = slices.DeleteFunc(d.secrets, func(ref secretRef) bool { return ref.path != section+".token" })
	d.fetchSecrets(dir)
	d.faults = slices.DeleteFunc(d.faults, func(f Fault) bool { return !strings.HasPrefix(f.Path, section) })
	return c.HTTP.Admin, d.err()
}

func newDecoder() *decoder {
	return &decoder{
		faultLog: faultLog{lines: make(map[string]int)},
		anchors:  make(map[string]ast.Node),
	}
}

// readFile reads a little more than a configuration may have.
func readFile(path string) (text []byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	return text, errors.Join(err, f.Close())
}

// Parse is Load for a text that is in memory; dir is where relative paths
// start.
func Parse(text []byte, dir string) (*Config, error) {
	d, c := newDecoder(), Default()
	if root, ok := d.parse(text); ok {
		d.value(root, reflect.ValueOf(c).Elem(), "")
	}
	if len(d.faults) > 0 && len(d.lines) == 0 {
		return nil, d.err() // not even YAML: what is missing is not the point
	}
	d.fetchSecrets(dir)
	c.tokenFiles = d.tokenFiles(c, dir)
	c.resolvePaths(dir)
	for i := range c.Routes {
		if !d.written(fmt.Sprintf("routes[%d].ring_timeout", i)) {
			c.Routes[i].RingTimeout = c.Routes[i].ringDefault()
		}
	}
	c.check(&d.faultLog)
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// parse turns the text into a tree; ok is false when there is nothing to read.
func (d *decoder) parse(text []byte) (root ast.Node, ok bool) {
	if len(text) > maxFile {
		d.addAt("", 0, "split off what is not configuration", "the file is larger than %d KiB", maxFile>>10)
		return nil, false
	}
	if nesting(text) > maxNesting {
		d.addAt("", 0, "write it flat", "nested too deeply")
		return nil, false
	}
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var at yaml.Error
		line, what := 0, err.Error()
		if errors.As(err, &at) {
			what = at.GetMessage()
			if t := at.GetToken(); t != nil && t.Position != nil {
				line = t.Position.Line
			}
		}
		d.addAt("", line, "mind indentation and quotes", "not YAML: %s", what)
		return nil, false
	}
	var docs []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			docs = append(docs, doc.Body)
		}
	}
	switch len(docs) {
	case 0:
		return nil, false
	case 1:
		return docs[0], true
	default:
		d.addAt("", lineOf(docs[1]), "keep one", "the file has several documents")
		return nil, false
	}
}

// nesting is an upper bound of how deep the parser would have to go: open
// brackets, and dashes or question marks in a row on one line.
func nesting(text []byte) int {
	deepest, open := 0, 0
	for line := range strings.Lines(string(text)) {
		nested := 0
		for rest := strings.TrimLeft(line, " "); len(rest) > 1 && (rest[0] == '-' || rest[0] == '?' || rest[0] == ':') && rest[1] == ' '; nested++ {
			rest = strings.TrimLeft(rest[1:], " ")
		}
		for _, r := range line {
			switch r {
			case '[', '{':
				open++
			case ']', '}':
				open = max(0, open-1)
			}
			deepest = max(deepest, open+nested)
		}
	}
	return deepest
}

// resolvePaths makes every path of the file absolute.
func (c *Config) resolvePaths(dir string) {
	paths := []*string{
		&c.DataDir, &c.HTTP.Webhook.TLS.Cert, &c.HTTP.Webhook.TLS.Key,
		&c.SIP.TLS.Cert, &c.SIP.TLS.Key, &c.SIP.TLS.CA, &c.Permissions.Prompt,
	}
	for i := range c.Trunks {
		t := &c.Trunks[i].TLS
		paths = append(paths, &t.Cert, &t.Key, &t.CA)
	}
	for _, p := range paths {
		*p = resolvePath(dir, *p)
	}
}

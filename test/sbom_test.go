//go:build system

package test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBillOfMaterials: valid CycloneDX, every module and library once, the same
// for the same binary.
func TestBillOfMaterials(t *testing.T) {
	t.Parallel()
	path, err := program()
	must(t, err)
	tool := filepath.Join(t.TempDir(), "sbom")
	out, err := command(t.Context(), "go", "build", "-o", tool, "wagate/deploy/sbom").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first, err := command(t.Context(), tool, path).Output()
	must(t, err)
	second, err := command(t.Context(), tool, path).Output()
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same binary gave another text, or %v", err)
	}
	type component struct {
		Ref        string `json:"bom-ref"`
		Type       string
		Name       string
		PURL       string
		Properties []struct{ Value string }
	}
	var b struct {
		Format   string `json:"bomFormat"`
		Spec     string `json:"specVersion"`
		Serial   string `json:"serialNumber"`
		Version  int
		Metadata struct {
			Component struct {
				Hashes []struct{ Alg, Content string }
			}
		}
		Components   []component
		Dependencies []struct{ DependsOn []string }
	}
	must(t, json.Unmarshal(first, &b))
	serial := regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if b.Format != "CycloneDX" || b.Spec != "1.5" || b.Version != 1 || !serial.MatchString(b.Serial) {
		t.Errorf("%s %s, version %d, serial %s", b.Format, b.Spec, b.Version, b.Serial)
	}
	seen := map[string]component{}
	purl := regexp.MustCompile(`^pkg:golang/[a-z][\w.~/-]*@v?\d[\w.+-]*$`)
	for _, c := range b.Components {
		if _, twice := seen[c.Ref]; twice {
			t.Errorf("%s is there twice", c.Ref)
		}
		seen[c.Ref] = c
		if c.Type != "library" || c.Name == "" || c.PURL != "" && !purl.MatchString(c.PURL) {
			t.Errorf("a component is %+v", c)
		}
	}
	mod, err := os.ReadFile("../go.mod")
	must(t, err)
	for _, path := range []string{"github.com/pion/dtls/v3", "github.com/pion/ice/v4", "modernc.org/sqlite", "github.com/hraban/opus"} {
		version := regexp.MustCompile(regexp.QuoteMeta(path) + ` (\S+)`).FindStringSubmatch(string(mod))
		if version == nil {
			t.Fatalf("%s is not in go.mod", path)
		}
		if c := seen[path+"@"+version[1]]; len(c.Properties) != 1 || !strings.HasPrefix(c.Properties[0].Value, "h1:") {
			t.Errorf("%s %s is described as %+v", path, version[1], c)
		}
	}
	for _, library := range []string{"libopus.so.0", "libspandsp.so.2", "libc.so.6"} {
		if seen[library].Name != library {
			t.Errorf("%s is missing", library)
		}
	}
	if len(b.Dependencies) != 1 || len(b.Dependencies[0].DependsOn) != len(b.Components) || len(b.Metadata.Component.Hashes) != 1 {
		t.Errorf("dependencies %+v", b.Dependencies)
	}
	for _, args := range [][]string{nil, {filepath.Join(t.TempDir(), "none")}, {"../go.mod"}} {
		if command(t.Context(), tool, args...).Run() == nil {
			t.Errorf("%v is no binary, and that is no error", args)
		}
	}
}

// Command sbom writes what a wagate binary is made of, as CycloneDX JSON: the
// Go modules that are in it with their checksums, the Go release, and the
// shared libraries that it loads. The same binary gives the same text.
//
//	go run ./deploy/sbom bin/wagate >bin/wagate.cdx.json
package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// bom is the part of CycloneDX 1.5 that is written.
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

func main() {
	if err := write(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(args []string, to io.Writer) error {
	if len(args) != 1 {
		return errors.New("name the binary, such as bin/wagate")
	}
	b, err := describe(args[0])
	if err != nil {
		return err
	}
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(b)
}

// describe reads a binary.
func describe(file string) (bom, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return bom{}, err
	}
	info, err := buildinfo.ReadFile(file)
	if err != nil {
		return bom{}, fmt.Errorf("%s: %w", file, err)
	}
	image, err := elf.Open(file)
	if err != nil {
		return bom{}, fmt.Errorf("%s: %w", file, err)
	}
	defer func() { _ = image.Close() }()
	libraries, err := image.ImportedLibraries()
	if err != nil {
		return bom{}, fmt.Errorf("%s: %w", file, err)
	}

	sum := sha256.Sum256(content)
	main := component{
		Ref: "wagate", Type: "application", Name: "wagate", Version: info.Main.Version,
		Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision", "GOOS", "GOARCH", "CGO_ENABLED", "-tags", "-trimpath":
			main.Properties = append(main.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	b := bom{
		Format: "CycloneDX", Spec: "1.5", Version: 1, Serial: serial(sum), Metadata: metadata{main},
		Components: []component{release(info.GoVersion)},
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		b.Components = append(b.Components, component{
			Ref: m.Path + "@" + m.Version, Type: "library", Name: m.Path, Version: m.Version,
			PURL: "pkg:golang/" + m.Path + "@" + m.Version, Properties: []property{{"go:sum", m.Sum}},
		})
	}
	slices.Sort(libraries)
	for _, name := range libraries {
		b.Components = append(b.Components, component{Ref: name, Type: "library", Name: name})
	}
	all := dependency{Ref: main.Ref}
	for _, c := range b.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	b.Dependencies = []dependency{all}
	return b, nil
}

// release is the Go that compiled it, whose standard library is in it.
func release(version string) component {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "go"), " ")
	return component{Ref: "std@" + version, Type: "library", Name: "std", Version: version, PURL: "pkg:golang/std@" + version}
}

// serial is a UUID that follows from the binary.
func serial(sum [sha256.Size]byte) string {
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x80 // version 8: by a rule of our own (RFC 9562)
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

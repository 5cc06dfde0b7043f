package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// setSecrets gives the test files what they name in the environment.
func setSecrets(t *testing.T) {
	t.Helper()
	t.Setenv("WAGATE_APP_SECRET", "app-secret")
	t.Setenv("WAGATE_VERIFY_TOKEN", "verify-token")
	t.Setenv("WAGATE_TOKEN_SUPPORT", "graph-token")
	t.Setenv("WAGATE_ADMIN_TOKEN", "admin-token")
	t.Setenv("PBX_PASSWORD", "")
	t.Setenv("PBX_INBOUND", "")
}

func TestSmallestFileHasEveryDefault(t *testing.T) {
	setSecrets(t)
	c, err := Load("testdata/good.yml")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.WhatsApp.AppSecrets = []Secret{"app-secret"}
	want.WhatsApp.VerifyToken = "verify-token"
	want.WhatsApp.Numbers = []Number{{
		Name: "support", PhoneNumberID: "401122334455667", Number: "+351210000321",
		AccessToken: "graph-token", Codecs: []string{"opus"},
	}}
	trunk := DefaultTrunk()
	trunk.Name, trunk.Targets = "pbx", []Target{{URI: "sip:10.0.0.5:5060"}}
	want.Trunks = []Trunk{trunk}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if err := c.Validate(); err != nil {
		t.Errorf("valid when loaded, but not later: %v", err)
	}
}

// fullConfig loads a file with every key, together with the secret file that
// it names.
func fullConfig(t *testing.T, replace ...string) (*Config, error) {
	t.Helper()
	setSecrets(t)
	text, err := os.ReadFile("testdata/good-full.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"tls.crt", "tls.key"} {
		pem, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(pem), 0o600)
	}
	write(t, filepath.Join(dir, "admin-token"), "from-file\n", 0o600)
	return Parse([]byte(strings.NewReplacer(replace...).Replace(string(text))), dir)
}

func write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	c, err := fullConfig(t)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.HTTP.Admin.Token.Reveal(); got != "from-file" {
		t.Errorf("admin token %q", got)
	}
	trunk, ok := c.Trunk("pbx")
	if !ok || !slices.Equal(trunk.Sources, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}) {
		t.Errorf("trunk sources %v", trunk.Sources)
	}
	if n, ok := c.Number("support"); !ok || n.Number != "+351210000321" {
		t.Errorf("number support: %v %v", n, ok)
	}
	for i, want := range []time.Duration{28 * time.Second, 28 * time.Second, 45 * time.Second} {
		if got := c.Routes[i].RingTimeout; got != want {
			t.Errorf("route %d rings %v, want %v", i, got, want)
		}
	}
	if got := c.Routes[2].Number; !slices.Equal(got, Names{"support"}) {
		t.Errorf("outbound numbers %v", got)
	}
}

func TestRingTimeoutIsShorterWithOverflow(t *testing.T) {
	c, err := fullConfig(t, "    ring_timeout: 28s", "    #")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Routes[0].RingTimeout; got != 20*time.Second {
		t.Errorf("with overflow a target rings %v", got)
	}
}

func TestSpellings(t *testing.T) {
	c, err := fullConfig(t,
		"complexity: auto", "complexity: 7",
		"fec: auto", "fec: true",
		"call_window: 72h", "call_window: meta",
		"sources: [10.0.0.0/24]", "sources: [10.0.0.5, 2001:db8::1, 10.1.0.0/16]",
		`targets: ["sip:10.0.0.5:5060;transport=udp"]`, `targets: [{uri: "sip:pbx.example:5070;transport=tcp", weight: 2}, "sip:[2001:db8::1]"]`,
		"caller_format: e164", "caller_format: 00",
		`public_host: ""`, `public_host: "[fd00::2]:5070"`,
		`listen: ["udp://0.0.0.0:5060"]`, `listen: ["udp://[::]:5060"]`,
		"number: support             #", "number: [support] #",
		`number: "+351210000321"`, `number: +351210000321`,
	)
	if err != nil {
		t.Fatal(err)
	}
	if o := c.Media.Opus; o.Complexity != 7 || o.FEC != On {
		t.Errorf("opus %+v", o)
	}
	if c.Permissions.CallWindow != 0 {
		t.Errorf("call window %v", c.Permissions.CallWindow)
	}
	trunk := c.Trunks[0]
	if len(trunk.Sources) != 3 || trunk.Sources[1] != netip.MustParsePrefix("2001:db8::1/128") {
		t.Errorf("sources %v", trunk.Sources)
	}
	want := []Target{{URI: "sip:pbx.example:5070;transport=tcp", Weight: 2}, {URI: "sip:[2001:db8::1]"}}
	if !slices.Equal(trunk.Targets, want) {
		t.Errorf("targets %v", trunk.Targets)
	}
	if trunk.CallerFormat != "00" || c.WhatsApp.Numbers[0].Number != "+351210000321" {
		t.Errorf("text that looks like a number changed: %q %q", trunk.CallerFormat, c.WhatsApp.Numbers[0].Number)
	}
}

func TestAliasesAndMergeKeys(t *testing.T) {
	setSecrets(t)
	text, err := os.ReadFile("testdata/good.yml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse([]byte(strings.Replace(string(text), "  - name: pbx", "  - &first\n    name: pbx\n    nat: true", 1)+
		"  - <<: *first\n    name: second\n    max_calls: 7\n"), "")
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Trunks[1]; s.Name != "second" || !s.NAT || s.MaxCalls != 7 || len(s.Targets) != 1 {
		t.Errorf("merged trunk %+v", s)
	}
}

func TestAdminAloneNeedsNoOtherSecret(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "wagate.yaml")
	write(t, filepath.Join(dir, "token"), "t0ken", 0o600)
	write(t, name, "http: {admin: {listen: \"127.0.0.1:7\", token: {file: token}}}\nwhatsapp: {verify_token: {env: WAGATE_NOT_SET}}\nunknown: 1\n", 0o600)
	a, err := LoadAdmin(name)
	if err != nil || a.Listen != "127.0.0.1:7" || a.Token.Reveal() != "t0ken" {
		t.Errorf("%+v, %v", a, err)
	}
	write(t, filepath.Join(dir, "token"), "t0ken", 0o644)
	if _, err := LoadAdmin(name); err == nil {
		t.Error("an open token file is taken")
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load("testdata/nowhere.yml")
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestExampleAtTheRootLoads(t *testing.T) {
	setSecrets(t)
	c, err := Load("../wagate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Routes) == 0 || len(c.Trunks) == 0 {
		t.Error("the example shows no route or no trunk")
	}
}

// TestExampleNamesEveryKey keeps the reference complete.
func TestExampleNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile("../wagate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(typ reflect.Type)
	seen := make(map[string]bool)
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for f := range typ.Fields() {
			name := f.Tag.Get("yaml")
			if name == "" || seen[name] {
				continue
			}
			seen[name] = true
			if !strings.Contains(string(text), name+":") {
				t.Errorf("%s.%s is missing", typ.Name(), name)
			}
			walk(f.Type)
		}
	}
	walk(reflect.TypeFor[Config]())
}

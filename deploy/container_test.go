package deploy_test

import (
	"debug/elf"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instructions are those of the last stage of the container file, which is what
// runs.
func instructions(t *testing.T) (all [][2]string) {
	t.Helper()
	text, err := os.ReadFile("container/Containerfile")
	must(t, err)
	joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(text), "")
	for line := range strings.Lines(joined) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if name == "FROM" {
			all = nil
		}
		all = append(all, [2]string{name, rest})
	}
	return all
}

func instruction(t *testing.T, name string) string {
	t.Helper()
	all := instructions(t)
	i := slices.IndexFunc(all, func(p [2]string) bool { return p[0] == name })
	if i < 0 {
		t.Fatalf("no %s in the last stage", name)
	}
	return all[i][1]
}

// TestContainerIsNotRoot, and is told to end as systemd would.
func TestContainerIsNotRoot(t *testing.T) {
	t.Parallel()
	if user := instruction(t, "USER"); !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("USER %s: want numbers, and not root's", user)
	}
	if s := instruction(t, "STOPSIGNAL"); s != "SIGTERM" {
		t.Errorf("STOPSIGNAL %s", s)
	}
	if s := instruction(t, "ENTRYPOINT"); s != `["/usr/local/bin/wagate"]` {
		t.Errorf("ENTRYPOINT %s", s)
	}
	for _, p := range instructions(t) {
		if p[0] == "ADD" || p[0] == "ARG" || p[0] == "COPY" && !strings.HasPrefix(p[1], "--from=build ") {
			t.Errorf("%s %s: nothing but the program goes into what runs", p[0], p[1])
		}
	}
}

// TestContainerHasTheLibraries: the packages of the last stage are those that
// own the libraries that the gateway loads, beside what every Debian has. This
// test is linked to the gateway, so it loads the same.
func TestContainerHasTheLibraries(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("not a Debian system: nobody knows whose a library is")
	}
	self, err := os.Executable()
	must(t, err)
	image, err := elf.Open(self)
	must(t, err)
	defer image.Close()
	libraries, err := image.ImportedLibraries()
	must(t, err)
	_, list, _ := strings.Cut(instruction(t, "RUN"), "--no-install-recommends ")
	list, _, _ = strings.Cut(list, "&&")
	packages := strings.Fields(list)
	used := map[string]bool{"ca-certificates": true, "libc6": true} // HTTPS to Meta; in the base
	for _, library := range libraries {
		out, err := run(t, "dpkg-query", "-S", "*/"+library)
		must(t, err)
		owner, _, _ := strings.Cut(out, ":")
		used[owner] = true
		if owner != "libc6" && !slices.Contains(packages, owner) {
			t.Errorf("%s is in %s, which is not installed", library, owner)
		}
	}
	for _, p := range packages {
		if !used[p] {
			t.Errorf("%s is installed, and nothing needs it", p)
		}
	}
	if !used["libopus0"] || !used["libspandsp2"] {
		t.Errorf("this test is not linked to the codecs: %v", libraries)
	}
}

// TestContainerHealthcheck runs the probe against a server that is well and one
// that is not.
func TestContainerHealthcheck(t *testing.T) {
	t.Parallel()
	_, text, found := strings.Cut(instruction(t, "HEALTHCHECK"), "CMD ")
	var probe []string
	if err := json.Unmarshal([]byte(text), &probe); !found || err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	for status, well := range map[int]bool{http.StatusOK: true, http.StatusServiceUnavailable: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/healthz" || r.Host != "localhost" {
				t.Errorf("asked for %s of %s", r.URL.Path, r.Host)
			}
			w.WriteHeader(status)
		}))
		port := server.URL[strings.LastIndex(server.URL, ":")+1:]
		script := strings.Replace(probe[2], "/9464", "/"+port, 1)
		err := exec.CommandContext(t.Context(), probe[0], probe[1], script).Run()
		if (err == nil) != well {
			t.Errorf("status %d: %v", status, err)
		}
		server.Close()
		if exec.CommandContext(t.Context(), probe[0], probe[1], script).Run() == nil {
			t.Error("well, although nobody listens")
		}
	}
}

// Package deploy_test holds what operators install – the systemd unit, the
// container file, alerts and the dashboard – to the program as it is.
package deploy_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"wagate/config"
	_ "wagate/gateway" // its libraries are those of the container
	"wagate/test/leak"
)

func TestMain(m *testing.M) { os.Exit(leak.Main(m)) }

// patience is how long a test waits for what must happen.
const patience = 60 * time.Second

const unitFile = "systemd/wagate.service"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool finds a program that test/tools/setup.sh provides. Without it a test
// fails, but where setup.sh has no way to provide it: on another system than
// Debian.
func tool(t *testing.T, name string) string {
	t.Helper()
	unpacked, err := filepath.Abs("../.cache/prometheus/bin/" + name)
	must(t, err)
	if _, err := os.Stat(unpacked); err == nil {
		return unpacked
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skipf("no %s here, and no Debian to get it from", name)
	}
	t.Fatalf("no %s: run make setup", name)
	return ""
}

// run runs a tool and returns what it wrote.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, tool(t, name), args...).CombinedOutput()
	return string(out), err
}

// TestUnitIsHardened: systemd rates how much a service is exposed, from 0 to 10.
func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	const most = "25" // tenths
	out, err := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+most, unitFile)
	if err != nil {
		t.Errorf("exposed more than %s tenths: %v\n%s", most, err, out)
	}
	if i := strings.LastIndex(out, "Overall exposure"); i >= 0 {
		t.Log(strings.TrimSpace(out[i:]))
	}
}

// TestUnitIsUnderstood: systemd finds no fault in the unit, once its program is
// there.
func TestUnitIsUnderstood(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(unitFile)
	must(t, err)
	text = bytes.ReplaceAll(text, []byte("/usr/local/bin/wagate"), []byte("/bin/true"))
	file := filepath.Join(t.TempDir(), "wagate.service")
	must(t, os.WriteFile(file, text, 0o600))
	if out, err := run(t, "systemd-analyze", "verify", "--man=no", file); err != nil || strings.Contains(out, "wagate.service") {
		t.Errorf("%v\n%s", err, out)
	}
}

// settings are the lines of the unit, by name.
func settings(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(unitFile)
	must(t, err)
	all := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			all[name] = append(all[name], value)
		}
	}
	return all
}

// TestUnitFitsTheProgram: what the unit and the program have to agree on.
func TestUnitFitsTheProgram(t *testing.T) {
	t.Parallel()
	unit := settings(t)
	one := func(name string) string {
		t.Helper()
		if len(unit[name]) != 1 {
			t.Fatalf("%s is there %d times", name, len(unit[name]))
		}
		return unit[name][0]
	}
	for name, want := range map[string]string{
		"Type": "notify", "WatchdogSec": "10", "Restart": "always", "KillMode": "mixed", "LimitCORE": "0", "UMask": "0077",
		"CapabilityBoundingSet": "", "NoNewPrivileges": "yes", "MemoryDenyWriteExecute": "yes", "ProtectSystem": "strict",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX AF_NETLINK", "StateDirectory": "wagate",
		"ExecReload": "/bin/kill -HUP $MAINPID",
	} {
		if got := one(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if unit["RestartPreventExitStatus"] != nil {
		t.Error("a panic and the watchdog's abort end Go with the exit code of a bad configuration: none may keep it from coming back")
	}
	defaults := config.Default()
	stop, err := time.ParseDuration(strings.TrimSuffix(one("TimeoutStopSec"), "in"))
	must(t, err)
	if drain := defaults.Limits.DrainTimeout; stop < drain+time.Minute {
		t.Errorf("TimeoutStopSec is %v, and a drain may take %v and then some", stop, drain)
	}
	if want := "/var/lib/" + one("StateDirectory"); defaults.DataDir != want {
		t.Errorf("the store is in %s, the unit keeps %s", defaults.DataDir, want)
	}
	most, err := strconv.ParseFloat(strings.TrimSuffix(one("MemoryMax"), "G"), 64)
	must(t, err)
	limit, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimPrefix(one("Environment"), "GOMEMLIMIT="), "MiB"), 64)
	must(t, err)
	if share := limit / 1024 / most; share < 0.88 || share > 0.91 {
		t.Errorf("GOMEMLIMIT is %.2f of MemoryMax, want nine tenths", share)
	}
	// A pair of ports of two sockets for each call, one more for each customer.
	if files, err := strconv.Atoi(one("LimitNOFILE")); err != nil || files < 10*defaults.Limits.Calls {
		t.Errorf("LimitNOFILE %d for %d calls", files, defaults.Limits.Calls)
	}
}

//go:build soak

package test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// booted is what a systemd of its own runs: the shipped unit, and the demo under
// the same restrictions.
const booted = `#!/bin/bash
exec >/var/log/probe.log 2>&1
chown root:wagate /etc/wagate/wagate.yaml
systemctl start wagate && echo STARTED
systemctl reload wagate && echo RELOADED
echo "FACES $(grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/$(systemctl show -P MainPID wagate)/status | tr -s '\t\n' ' ')"
systemctl kill -s STOP wagate; stopped=$(date +%s%N)
until [ "$(systemctl show -P NRestarts wagate)" = 1 ] && [ "$(systemctl show -P ActiveState wagate)" = active ]; do
  sleep 0.2
done
echo "RESTARTED after $((($(date +%s%N) - stopped) / 1000000)) ms"
systemctl stop wagate && echo STOPPED
systemctl start demo && echo HEARD
systemctl poweroff
`

// TestSoakUnit boots the shipped systemd unit in a container: it starts with its
// credentials, reloads, is started anew by the watchdog when it hangs, stops, and
// under the same restrictions calls are heard both ways, codecs and all.
func TestSoakUnit(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can boot a systemd")
	}
	if _, err := exec.LookPath("systemd-nspawn"); err != nil {
		t.Skip("no systemd-nspawn: apt-get install systemd-container")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	root := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, name), []byte(text), mode))
	}
	copied := func(from, to string) string {
		t.Helper()
		text, err := os.ReadFile(from)
		must(t, err)
		write(to, string(text), 0o644)
		return string(text)
	}
	for _, dir := range []string{"usr", "var/log", "tmp", "run", "proc", "sys", "dev", "root", "opt"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib64"} {
		must(t, os.Symlink("usr/"+link, filepath.Join(root, link)))
	}
	write("etc/os-release", "ID=test\n", 0o644)
	write("etc/machine-id", strings.Repeat("0123456789abcdef", 2)+"\n", 0o644)
	write("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n", 0o644)
	write("etc/group", "root:x:0:\nnogroup:x:65534:\n", 0o644)
	unit := copied("../deploy/systemd/wagate.service", "etc/systemd/system/wagate.service")
	copied("../deploy/systemd/sysusers.conf", "etc/sysusers.d/wagate.conf")
	copied("../deploy/systemd/tmpfiles.conf", "etc/tmpfiles.d/wagate.conf")
	write("etc/systemd/system/wagate.service.d/program.conf", "[Service]\nExecStart=\nExecStart=/opt/wagate serve --config /etc/wagate/wagate.yaml\n", 0o644)
	write("etc/systemd/system/demo.service", "[Service]\nType=oneshot\nExecStart=/opt/wagate demo\nStandardOutput=file:/var/log/demo.log\n"+restrictions(unit), 0o644)
	write("etc/systemd/system/default.target", "[Unit]\nRequires=basic.target probe.service\nAfter=basic.target\n", 0o644)
	write("etc/systemd/system/probe.service", "[Unit]\nAfter=basic.target\n[Service]\nExecStart=/opt/probe.sh\n", 0o644)
	write("opt/probe.sh", booted, 0o755)
	for _, secret := range []string{"app", "verify", "token"} {
		write("etc/wagate/secrets/"+secret, secret+"-secret\n", 0o600)
	}
	write("etc/wagate/wagate.yaml", `whatsapp:
  graph_url: http://127.0.0.1:9
  app_secrets: [{file: /run/credentials/wagate.service/secret_app}]
  verify_token: {file: /run/credentials/wagate.service/secret_verify}
  numbers: [{name: support, phone_number_id: "401122334455667", number: "+351210000321", access_token: {file: /run/credentials/wagate.service/secret_token}}]
trunks: [{name: pbx, targets: ["sip:127.0.0.1:5070"]}]
routes: [{name: support, direction: inbound, match: {number: support}, trunk: pbx, to: "600"}]
`, 0o640)
	out, err := command(ctx, "go", "build", "-tags", "nolibopusfile", "-o", filepath.Join(root, "opt/wagate"), "wagate/cmd/wagate").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	// /usr is the host's, in a mount namespace that goes with the container.
	out, err = command(ctx, "unshare", "-m", "bash", "-c", `mount --bind /usr "$0/usr" && mount -o remount,ro,bind "$0/usr" &&
		exec systemd-nspawn -q -D "$0" --private-network --register=no --keep-unit -b`, root).CombinedOutput()
	said, _ := os.ReadFile(filepath.Join(root, "var/log/probe.log"))
	if err != nil || len(said) == 0 {
		t.Fatalf("the container did not boot: %v\n%s", err, tail(string(out), 30))
	}
	for _, want := range []string{"STARTED", "RELOADED", "CapBnd: 0000000000000000 NoNewPrivs: 1 Seccomp: 2", "RESTARTED", "STOPPED", "HEARD"} {
		if !strings.Contains(string(said), want) {
			t.Errorf("%s is not among\n%s", want, said)
		}
	}
	heard, err := os.ReadFile(filepath.Join(root, "var/log/demo.log"))
	if err != nil || !strings.Contains(string(heard), "2 of 2 calls with audio both ways") {
		t.Errorf("under the unit's restrictions: %v\n%s", err, heard)
	}
	t.Logf("%s", said)
}

// restrictions are the lines of a unit that say who it is and what it may do.
func restrictions(unit string) string {
	_, service, _ := strings.Cut(unit, "[Service]")
	service, _, _ = strings.Cut(service, "[Install]")
	var kept strings.Builder
	for line := range strings.Lines(service) {
		name, _, _ := strings.Cut(line, "=")
		switch name {
		case "Type", "ExecStart", "ExecReload", "Restart", "RestartSec", "TimeoutStartSec", "TimeoutStopSec", "WatchdogSec", "LoadCredential":
		default:
			kept.WriteString(line)
		}
	}
	return kept.String()
}

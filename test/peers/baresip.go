package peers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"wagate/test/tone"
)

// Baresip is a running baresip: a soft phone that answers every call, plays a
// WAV file and records what it hears.
type Baresip struct {
	Addr    netip.AddrPort // where it listens, UDP and TCP
	p       *process
	dir     string
	control string
}

const baresipConfig = `poll_method epoll
sip_listen %[1]s:%[2]d
net_interface %[1]s
call_local_timeout 120
call_max_calls 10
audio_player aubridge,nowhere
audio_alert aubridge,nowhere
audio_source aufile,%[3]s
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports %[4]d-%[5]d
rtcp_mux no
jitter_buffer_delay 1-5
rtp_stats no
module_path %[8]s
module g711.so
module sndfile.so
module aufile.so
module aubridge.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen %[1]s:%[6]d
snd_path %[7]s
%[9]s`

const baresipAccount = "<sip:" + Extension + "@%s%s>;regint=0;answermode=auto;audio_codecs=PCMA/8000/1,PCMU/8000/1%s\n"

// Extension is the user part that baresip answers to; SIPp takes any.
const Extension = "600"

// modules finds the folder of baresip's modules.
func modules(tb testing.TB) string {
	tb.Helper()
	for _, pattern := range []string{"/usr/lib/baresip/modules", "/usr/lib/*/baresip/modules", "/usr/local/lib/baresip/modules"} {
		if found, err := filepath.Glob(filepath.Join(pattern, "g711.so")); err == nil && len(found) > 0 {
			return filepath.Dir(found[0])
		}
	}
	tb.Fatal("baresip's modules are not where Debian puts them")
	return ""
}

// StartBaresip starts baresip at a port of 127.0.0.1 (0: a free one) with its
// files in dir ("": a folder of the test's) and returns when it listens. It
// plays the WAV file, mono at 8 kHz; "": ToneFreq for a minute. When the file
// is over, baresip hangs up.
func StartBaresip(tb testing.TB, dir string, port int, wav string) *Baresip {
	tb.Helper()
	return startBaresip(tb, dir, port, wav, phone{})
}

// StartBaresipAs starts a baresip that has an account for digest challenges.
func StartBaresipAs(tb testing.TB, user, password string) *Baresip {
	tb.Helper()
	return startBaresip(tb, "", 0, "", phone{account: ";auth_user=" + user + ";auth_pass=" + password})
}

// StartSecureBaresip starts a baresip that speaks TLS, with the certificate of
// that file and its key, and encrypts its sound or has none (SDES). It listens
// at Addr in the clear and for TLS one port above it.
func StartSecureBaresip(tb testing.TB, cert, key string) *Baresip {
	tb.Helper()
	dir := tb.TempDir()
	both := filepath.Join(dir, "phone.pem")
	var pem []byte
	for _, file := range []string{cert, key} {
		part, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		pem = append(pem, part...)
	}
	write(tb, both, pem)
	return startBaresip(tb, dir, 0, "", phone{
		config: "sip_certificate " + both + "\nmodule srtp.so\n", uri: ";transport=tls", account: ";mediaenc=srtp-mand",
	})
}

// phone is what makes one baresip another than the next.
type phone struct {
	config  string // more lines of it
	uri     string // parameters of its address
	account string // parameters of its account
}

func startBaresip(tb testing.TB, dir string, port int, wav string, is phone) *Baresip {
	tb.Helper()
	path := Need(tb, "baresip")
	if dir == "" {
		dir = tb.TempDir()
	}
	if port == 0 {
		port = freePorts(tb, 2)
	}
	if wav == "" {
		wav = filepath.Join(dir, "tone.wav")
		pcm := make([]int16, toneSeconds*8000)
		tone.NewSource(ToneFreq, 8000).Read(pcm)
		if err := tone.WriteWAV(wav, 8000, pcm); err != nil {
			tb.Fatal(err)
		}
	}
	rtp, control := freePorts(tb, 20), freeTCP(tb)
	write(tb, filepath.Join(dir, "config"), fmt.Appendf(nil, baresipConfig, host, port, wav, rtp, rtp+19, control, dir, modules(tb), is.config))
	write(tb, filepath.Join(dir, "accounts"), fmt.Appendf(nil, baresipAccount, host, is.uri, is.account))
	write(tb, filepath.Join(dir, "contacts"), nil)
	b := &Baresip{
		Addr: netip.AddrPortFrom(netip.MustParseAddr(host), uint16(port)), dir: dir,
		control: net.JoinHostPort(host, strconv.Itoa(control)),
		p:       run(tb, dir, path, "-4", "-f", dir),
	}
	ctx, cancel := context.WithTimeout(tb.Context(), readyIn)
	defer cancel()
	if err := b.p.out.wait(ctx, "baresip is ready", b.p.done); err != nil {
		tb.Fatalf("baresip did not get ready: %v", err)
	}
	return b
}

// Hangup lets the phone hang up.
func (b *Baresip) Hangup(ctx context.Context) error { return b.command(ctx, "hangup", "") }

// Dial lets the phone place a call to a SIP URI.
func (b *Baresip) Dial(ctx context.Context, uri string) error { return b.command(ctx, "dial", uri) }

// WaitPrinted waits until the phone has told its user a text.
func (b *Baresip) WaitPrinted(ctx context.Context, text string) error {
	return b.p.out.wait(ctx, text, b.p.done)
}

// command gives one of baresip's commands and waits for its reply. The protocol
// is JSON in netstrings.
func (b *Baresip) command(ctx context.Context, name, params string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", b.control)
	if err != nil {
		return fmt.Errorf("baresip %s: %w", name, err)
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	body, err := json.Marshal(map[string]string{"command": name, "params": params, "token": "test"})
	if err != nil {
		return fmt.Errorf("baresip %s: %w", name, err)
	}
	if _, err := fmt.Fprintf(conn, "%d:%s,", len(body), body); err != nil {
		return fmt.Errorf("baresip %s: %w", name, err)
	}
	for r := bufio.NewReader(conn); ; {
		m, err := netstring(r)
		if err != nil {
			return fmt.Errorf("baresip %s: %w", name, err)
		}
		var reply struct {
			Response bool
			OK       bool
			Data     string
		}
		if json.Unmarshal(m, &reply) != nil || !reply.Response { // an event
			continue
		}
		if !reply.OK {
			return fmt.Errorf("baresip %s: %s", name, reply.Data)
		}
		return nil
	}
}

func netstring(r *bufio.Reader) ([]byte, error) {
	length, err := r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(length[:len(length)-1])
	if err != nil || n < 0 || n > keepOutput {
		return nil, fmt.Errorf("netstring of %q bytes", length)
	}
	b := make([]byte, n+1) // with the comma
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b[:n], nil
}

// Heard stops the phone and returns what it heard in its only call, at rate
// samples per second.
func (b *Baresip) Heard(tb testing.TB) (pcm []int16, rate int) {
	tb.Helper()
	b.p.stop(syscall.SIGTERM)
	files, err := filepath.Glob(filepath.Join(b.dir, "dump-*-dec.wav"))
	if err != nil || len(files) != 1 {
		tb.Fatalf("recordings of one call: got %v, %v", files, err)
	}
	pcm, rate, err = tone.ReadWAV(files[0])
	if err != nil {
		tb.Fatal(err)
	}
	return pcm, rate
}

func freeTCP(tb testing.TB) int {
	tb.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(host)})
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

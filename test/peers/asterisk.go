package peers

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wagate/test/tone"
)

// What Asterisk plays: the music on hold and the IVR's question, in Hz.
const (
	MusicTone    = 1040.0
	QuestionTone = 1320.0
)

const (
	sipPort     = 5060
	managerPort = 5038
	musicLength = 120 // s
)

// AsteriskOptions change what StartAsterisk sets up; the zero value is a trunk
// by address without phones.
type AsteriskOptions struct {
	Trunk  string // how both prove who they are: a label of the guide's blocks; default address
	Phones []string
	Change func(Files)     // the last word on the configuration
	Beside func(*Asterisk) // starts what must be there before; the addresses are known
}

// Asterisk is a running Asterisk, configured as docs/pbx/asterisk.md says, on an
// address of the loopback that nobody else uses.
type Asterisk struct {
	Addr    netip.AddrPort // SIP, UDP
	Gateway netip.Addr     // where it expects the gateway
	Phones  netip.Addr     // where its phones may be
	Proxy   netip.Addr     // where a proxy may be
	Wagate  string         // the gateway's settings as the guide has them

	p   *process
	ami *manager
	dir string
}

// Password is that of a phone, or of one of the trunk's two accounts.
func Password(user string) string { return "change-me-" + user }

// StartAsterisk returns when Asterisk takes calls.
func StartAsterisk(tb testing.TB, o AsteriskOptions) *Asterisk {
	tb.Helper()
	path := needPBX(tb, "asterisk")
	dir := tb.TempDir()
	at := Loopback(tb)
	a := &Asterisk{Addr: netip.AddrPortFrom(at(10), sipPort), Gateway: at(20), Phones: at(30), Proxy: at(40), dir: dir}
	if o.Beside != nil {
		o.Beside(a)
	}
	a.configure(tb, o)
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("Asterisk's log:\n%s", a.Log())
		}
	})
	a.p = run(tb, dir, path, "-f", "-C", filepath.Join(dir, "asterisk.conf"))
	control := netip.AddrPortFrom(a.Addr.Addr(), managerPort).String()
	a.p.until(tb, "manager interface", func() bool { return listening(tb, control) })
	ctx, cancel := context.WithTimeout(tb.Context(), readyIn)
	defer cancel()
	var err error
	if a.ami, err = login(ctx, tb, control); err == nil {
		_, err = a.WaitEvent(ctx, "FullyBooted")
	}
	if err != nil {
		tb.Fatalf("Asterisk did not get ready: %v", err)
	}
	return a
}

// configure writes Asterisk's folder.
func (a *Asterisk) configure(tb testing.TB, o AsteriskOptions) {
	tb.Helper()
	if o.Trunk == "" {
		o.Trunk = "address"
	}
	blocks := readGuide(tb, "asterisk.md")
	f := files(tb, blocks, "", o.Trunk)
	for _, extension := range o.Phones {
		f["pjsip.conf"] += strings.ReplaceAll(files(tb, blocks, "phone")["pjsip.conf"], "201", extension)
	}
	music, share := filepath.Join(a.dir, "moh"), filepath.Join(root(tb), ".cache", "pbx", "usr", "share", "asterisk")
	f.Replace(tb, "musiconhold.conf", "/var/lib/asterisk/moh", music)
	// It asks for the gateway before there is one, and must not learn in the middle
	// of a test that nobody answered: it asks on until somebody does.
	f.Replace(tb, "pjsip.conf", "qualify_frequency=30", "qualify_frequency=30\nqualify_timeout=30")
	f["pjsip.conf"] += "[global]\ntype=global\ndebug=yes\n"
	lib, err := filepath.Glob(filepath.Join(root(tb), ".cache/pbx/usr/lib/*/asterisk/modules"))
	if err != nil || len(lib) != 1 {
		tb.Fatalf("Asterisk's modules are not where Debian puts them: %v, %v", lib, err)
	}
	f["asterisk.conf"] = fmt.Sprintf(asteriskConf, a.dir, lib[0])
	f["modules.conf"] = "[modules]\nautoload=no\n"
	for m := range strings.FieldsSeq(asteriskModules) {
		f["modules.conf"] += "load=" + m + ".so\n"
	}
	f["logger.conf"] = "[logfiles]\nfull => notice,warning,error,verbose(3)\n"
	f["manager.conf"] = fmt.Sprintf("[general]\nenabled=yes\nbindaddr=%s\nport=%d\n[test]\nsecret=test\nread=all\nwrite=all\n", guidePBX, managerPort)
	f["rtp.conf"] = "[general]\nrtpstart=10000\nrtpend=20000\n"
	if o.Change != nil {
		o.Change(f)
	}
	addresses := strings.NewReplacer(guidePBX, a.Addr.Addr().String(), guideGateway, a.Gateway.String(), guideProxy, a.Proxy.String())
	for name, text := range f {
		write(tb, filepath.Join(a.dir, name), []byte(addresses.Replace(text)))
	}
	a.Wagate = addresses.Replace(f["wagate.yaml"])
	for _, d := range []string{"moh", "sounds/en", "log", "spool", "run"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	// Asterisk checks its settings against its documentation.
	if err := os.Symlink(filepath.Join(share, "documentation"), filepath.Join(a.dir, "documentation")); err != nil {
		tb.Fatal(err)
	}
	writeTone(tb, filepath.Join(music, "music.wav"), MusicTone, musicLength)
	writeTone(tb, filepath.Join(a.dir, "sounds", "en", "order-number.wav"), QuestionTone, 1)
}

func writeTone(tb testing.TB, path string, freq float64, seconds int) {
	tb.Helper()
	pcm := make([]int16, seconds*8000)
	tone.NewSource(freq, 8000).Read(pcm)
	if err := tone.WriteWAV(path, 8000, pcm); err != nil {
		tb.Fatal(err)
	}
}

const asteriskConf = `[directories]
astetcdir => %[1]s
astmoddir => %[2]s
astvarlibdir => %[1]s
astdbdir => %[1]s
astkeydir => %[1]s
astdatadir => %[1]s
astagidir => %[1]s
astspooldir => %[1]s/spool
astrundir => %[1]s/run
astlogdir => %[1]s/log
[options]
verbose = 3
documentation_language = en_US
`

// asteriskModules are those that the guide's configuration needs: all of them
// would take seconds to start.
const asteriskModules = `
	res_timing_timerfd res_crypto res_pjproject res_sorcery_config res_sorcery_memory res_sorcery_astdb
	res_statsd res_pjsip res_pjsip_session res_pjsip_pubsub
	res_pjsip_acl res_pjsip_authenticator_digest res_pjsip_caller_id res_pjsip_diversion res_pjsip_dtmf_info
	res_pjsip_endpoint_identifier_ip res_pjsip_endpoint_identifier_user res_pjsip_header_funcs res_pjsip_logger
	res_pjsip_nat res_pjsip_outbound_authenticator_digest res_pjsip_outbound_registration res_pjsip_path
	res_pjsip_refer res_pjsip_registrar res_pjsip_rfc3326 res_pjsip_sdp_rtp res_pjsip_maintenance
	res_rtp_asterisk res_srtp res_musiconhold chan_pjsip
	bridge_builtin_features bridge_builtin_interval_features bridge_holding bridge_simple bridge_softmix bridge_native_rtp
	codec_alaw codec_ulaw codec_g722 codec_opus_open_source codec_resample codec_a_mu res_format_attr_opus format_pcm format_wav
	pbx_config app_dial app_queue app_read app_playback app_stack app_verbose app_transfer app_echo
	func_callerid func_cdr func_channel func_logic func_strings func_hangupcause
`

// WaitEvent returns the first event of that name, since the start, in which every
// pair of key and value is so.
func (a *Asterisk) WaitEvent(ctx context.Context, name string, pairs ...string) (Event, error) {
	return a.ami.wait(ctx, name+" "+strings.Join(pairs, " "), func(e Event) bool {
		if e["Event"] != name {
			return false
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			if e[pairs[i]] != pairs[i+1] {
				return false
			}
		}
		return true
	})
}

// Command runs a line of Asterisk's command line and returns what it prints.
func (a *Asterisk) Command(ctx context.Context, line string) (string, error) {
	e, err := a.ami.act(ctx, "Command", "Command: "+line)
	return e["Output"], err
}

// Log is what Asterisk has written so far, every SIP message included.
func (a *Asterisk) Log() string {
	b, err := os.ReadFile(filepath.Join(a.dir, "log", "full"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func listening(tb testing.TB, addr string) bool {
	tb.Helper()
	var d net.Dialer
	conn, err := d.DialContext(tb.Context(), "tcp", addr)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

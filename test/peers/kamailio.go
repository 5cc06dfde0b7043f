package peers

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"
)

// Kamailio is a running Kamailio: a proxy that stays on the way of every call by
// Record-Route and knows nothing of what it carries.
type Kamailio struct {
	Addr netip.AddrPort // UDP
	p    *process
}

const kamailioConf = `debug=2
log_stderror=yes
children=2
disable_tcp=yes
auto_aliases=no
listen=udp:%[1]v
mpath="%[2]s"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "siputils.so"
loadmodule "corex.so"
loadmodule "textops.so"

request_route {
	if (!mf_process_maxfwd_header("70")) {
		sl_send_reply("483", "Too Many Hops");
		exit;
	}
	if (has_totag()) {
		if (loose_route()) {
			t_relay();
		} else if (method != "ACK") {
			sl_send_reply("404", "Not Here");
		} else if (t_check_trans()) {
			t_relay();
		}
		exit;
	}
	if (method == "CANCEL") {
		if (t_check_trans()) {
			t_relay();
		}
		exit;
	}
	if (method == "OPTIONS") {
		sl_send_reply("200", "OK");
		exit;
	}
	t_check_trans();
	record_route();
	%[3]s
	t_relay();
}
`

// StartKamailio starts a proxy at SIP's port of an address. relay says, in
// Kamailio's language, where a call goes that begins.
func StartKamailio(tb testing.TB, at netip.Addr, relay string) *Kamailio {
	tb.Helper()
	path := needPBX(tb, "kamailio")
	modules, err := filepath.Glob(filepath.Join(root(tb), ".cache/pbx/usr/lib/*/kamailio/modules"))
	if err != nil || len(modules) != 1 {
		tb.Fatalf("Kamailio's modules are not where Debian puts them: %v, %v", modules, err)
	}
	dir := tb.TempDir()
	k := &Kamailio{Addr: netip.AddrPortFrom(at, sipPort)}
	write(tb, filepath.Join(dir, "kamailio.cfg"), fmt.Appendf(nil, kamailioConf, k.Addr, modules[0], relay))
	k.p = run(tb, dir, path, "-f", "kamailio.cfg", "-DD", "-E", "-m", "32", "-M", "4", "-Y", dir)
	k.p.until(tb, "listening", func() bool { return boundAt(k.Addr) })
	return k
}

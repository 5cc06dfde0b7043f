package strace

import (
	"strings"
	"testing"
)

const (
	note    = `11 pwrite64(8</d/wagate.db-wal>, "\0\1call-1\0", 4096, 32) = 4096` + "\n"
	sync    = `11 fdatasync(8</d/wagate.db-wal>) = 0` + "\n"
	deed    = `12 sendto(9<UDP:[127.0.0.1:5060]>, "INVITE sip:600@x SIP/2.0\r\nCall-ID: call-1\r\n", 44, 0, {sa_family=AF_INET}, 16) = 44` + "\n"
	syncIn  = `11 fdatasync(8</d/wagate.db-wal> <unfinished ...>` + "\n"
	syncOut = `11 <... fdatasync resumed>) = 0` + "\n"
	other   = `11 fdatasync(7</d/wagate.db>) = 0` + "\n"
	signal  = `12 --- SIGURG {si_signo=SIGURG, si_code=SI_TKILL} ---` + "\n"
	graph   = `13 write(9<TCP:[127.0.0.1:5->127.0.0.1:6]>, "POST /calls HTTP/1.1\r\n\r\n{\"action\":\"connect\"}", 46) = 46` + "\n"
)

func TestDurable(t *testing.T) {
	for name, row := range map[string]struct {
		trace string
		fault string // "" for none
	}{
		"in order":                       {note + sync + deed, ""},
		"with others in between":         {note + signal + syncIn + graph + syncOut + deed, ""},
		"never done":                     {note + sync, "never done"},
		"never written":                  {sync + deed, "not written"},
		"written too late":               {sync + deed + note + sync, "not written"},
		"not synced":                     {note + deed, "no sync"},
		"synced before":                  {sync + note + deed, "no sync"},
		"synced after":                   {note + deed + sync, "no sync"},
		"another file synced":            {note + other + deed, "no sync"},
		"the sync has not returned":      {note + syncIn + deed + syncOut, "no sync"},
		"the sync began before the note": {syncIn + strings.Replace(note, "11", "14", 1) + syncOut + deed, "no sync"},
	} {
		t.Run(name, func(t *testing.T) {
			calls, err := Parse(strings.NewReader(row.trace))
			if err != nil {
				t.Fatal(err)
			}
			err = Durable(calls, "wagate.db-wal", Has("", "call-1"), Has("UDP", "INVITE", "Call-ID: call-1\r\n"))
			if row.fault == "" && err != nil || row.fault != "" && (err == nil || !strings.Contains(err.Error(), row.fault)) {
				t.Errorf("%v, want %q", err, row.fault)
			}
		})
	}
}

func TestHas(t *testing.T) {
	calls, err := Parse(strings.NewReader(graph + note))
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := First(calls, Has("->127.0.0.1:6", `"action":"connect"`)); !ok || c.Thread != "13" || c.Began != 1 {
		t.Errorf("found %+v, %v", c, ok)
	}
	if c, ok := First(calls, Has("->127.0.0.1:7", `"action":"connect"`)); ok {
		t.Errorf("found %+v", c)
	}
}

func TestParseNothing(t *testing.T) {
	if _, err := Parse(strings.NewReader(signal)); err == nil {
		t.Error("a trace without a call is read without an error")
	}
}

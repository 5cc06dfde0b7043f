package sip

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestKeysByInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		got := make(chan key, 64)
		o := call()
		o.Pressed = func(name byte, duration time.Duration) { got <- key{name, duration} }
		_, e, invite := setUp(t, s, p, o)
		for i, c := range []struct {
			kind, body string
			status     string
			want       key
		}{
			{"application/dtmf-relay", "Signal=5\r\nDuration=160\r\n", "200", key{'5', 160 * time.Millisecond}},
			{"application/dtmf-relay", "Signal= 0\nDuration= 250", "200", key{'0', 250 * time.Millisecond}},
			{"Application/DTMF-Relay;x=1", "duration=1\r\nsignal=d", "200", key{'D', shortestKey}},
			{"application/dtmf-relay", "Signal=#\r\nDuration=999999", "200", key{'#', longestKey}},
			{"application/dtmf-relay", "Signal=10\r\n", "200", key{'*', usualKey}},
			{"application/dtmf-relay", "Signal=11\r\nDuration=x", "200", key{'#', usualKey}},
			{"application/dtmf", "*", "200", key{'*', usualKey}},
			{"application/dtmf", "9\r\n", "200", key{'9', usualKey}},
			{"application/dtmf-relay", "Signal=flash\r\n", "400", key{}},
			{"application/dtmf-relay", "Signal=16\r\n", "400", key{}},
			{"application/dtmf-relay", "Duration=100\r\n", "400", key{}},
			{"application/dtmf", "12345", "400", key{}},
			{"application/dtmf", strings.Repeat(" ", maxKeyBody) + "1", "400", key{}},
			{"application/dtmf", "", "200", key{}},
			{"", "", "200", key{}},
			{"text/plain", "5", "415", key{}},
		} {
			m := p.dialogRequest(invite, "a", "INFO", 10+i, c.body)
			m.remove("Content-Type")
			m.add("Content-Type", c.kind)
			p.send(s.Addr("udp"), string(m.bytes()))
			p.want(c.status)
			synctest.Wait()
			select {
			case k := <-got:
				if k != c.want {
					t.Errorf("%q brought %+v, want %+v", c.body, k, c.want)
				}
			default:
				if c.want != (key{}) {
					t.Errorf("%q brought nothing", c.body)
				}
			}
		}
		e.none(0)
	})
}

func TestKeysLeaveOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := bubble(t, nil)
		c, e, _ := setUp(t, s, p, call())
		for _, name := range []byte("12x#") {
			c.Press(name, 100*time.Millisecond)
		}
		for i, want := range []string{"Signal=1\r\nDuration=100\r\n", "Signal=2\r\nDuration=100\r\n", "Signal=#\r\nDuration=100\r\n"} {
			m := p.want("INFO")
			if string(m.body) != want || m.get("Content-Type") != contentRelay {
				t.Errorf("unexpected INFO:\n%s", m.bytes())
			}
			p.never("INFO", time.Second)
			p.reply(m, []int{200, 415, 200}[i], "")
		}
		synctest.Wait()
		for range 2 * maxKeys {
			c.Press('7', time.Second)
		}
		m := p.want("INFO")
		synctest.Wait()
		if len(c.keys) != maxKeys {
			t.Errorf("%d keys wait", len(c.keys))
		}
		p.reply(m, 481, "") // it does not know the call
		next[Expired](e)
		p.reply(p.want("BYE"), 481, "")
		next[ByeDone](e)
		c.Press('1', time.Second)
		p.never("INFO", time.Minute)
		gone(t, s)
	})
}

// FuzzKey holds for any INFO: no panic, and whatever is read is a key.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{"5", "Signal=5\r\nDuration=160", "signal = 11\nduration=-1", "=", "Signal", "Duration=99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, kind := range []string{contentKey, contentRelay} {
			k, ok := parseKey(kind, []byte(body))
			if ok && (strings.IndexByte(keys, k.name) < 0 || k.duration < shortestKey || k.duration > longestKey) {
				t.Fatalf("%q is %+v", body, k)
			}
		}
	})
}

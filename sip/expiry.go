package sip

import (
	"strconv"
	"strings"
	"time"
)

const (
	// minExpiry is the shortest session that anybody may ask for (RFC 4028 section 5).
	minExpiry = 90 * time.Second
	maxExpiry = 24 * time.Hour
)

// expiry is the session timer of a call (RFC 4028): whoever of the two has
// agreed to do it says again and again that the call is still there.
type expiry struct {
	wish     time.Duration // what we propose; 0: nothing
	floor    time.Duration // the largest Min-SE that anybody named
	interval time.Duration // agreed; 0: the call does not expire
	ours     bool          // we refresh it
}

// newExpiry is what a trunk proposes before anybody has said anything.
func newExpiry(wish time.Duration) expiry { return expiry{wish: wish, floor: minExpiry} }

// offer returns what an INVITE or a refresh of ours proposes. In a refresh we
// are the one who refreshes.
func (e *expiry) offer(refresh bool) []field {
	interval, role := e.wish, ""
	if refresh {
		interval, role = e.interval, ";refresher=uac"
	}
	if interval == 0 {
		return nil
	}
	return []field{{"Session-Expires", seconds(max(interval, e.floor)) + role}, {"Min-SE", seconds(e.floor)}}
}

// agreed takes what the answer to a request of ours says. Without the header
// the call does not expire.
func (e *expiry) agreed(m *message) {
	interval, role, named := sessionExpires(m)
	if !named {
		e.interval = 0
		return
	}
	e.interval, e.ours = min(max(interval, minExpiry), maxExpiry), role != "uas"
}

// tooSmall takes a 422: the far end's least is ours from now on. It returns
// false when that asks for nothing that was not offered.
func (e *expiry) tooSmall(m *message) bool {
	least, ok := minSE(m)
	if m.status != 422 || !ok || least <= e.floor || least > maxExpiry {
		return false
	}
	e.floor = least
	e.wish, e.interval = max(e.wish, least), max(e.interval, least)
	return true
}

// answer settles what a request of the far end proposes and returns what our
// 2xx says of it. Where the far end leaves it open we refresh, unless it has
// been doing so.
func (e *expiry) answer(req *message) []field {
	asked, role, named := sessionExpires(req)
	knows := named || req.supports("timer")
	if least, ok := minSE(req); ok {
		e.floor = min(max(e.floor, least), maxExpiry)
	}
	running := e.interval > 0
	interval := e.wish
	if running {
		interval = e.interval
	}
	if named && (interval == 0 || asked < interval) {
		interval = asked
	}
	if interval == 0 {
		e.interval = 0
		return nil
	}
	e.interval = min(max(interval, e.floor), maxExpiry)
	switch {
	case !knows, role == "uas":
		e.ours = true
	case role == "uac":
		e.ours = false
	case !running:
		e.ours = true
	}
	value := seconds(e.interval) + ";refresher=uac"
	if e.ours {
		value = seconds(e.interval) + ";refresher=uas"
	}
	fs := []field{{"Session-Expires", value}}
	if knows {
		fs = append(fs, field{"Require", "timer"})
	}
	return fs
}

// patience is how long after a refresh the call is given up without the next
// one (RFC 4028 section 10).
func (e *expiry) patience() time.Duration { return e.interval - min(32*time.Second, e.interval/3) }

func seconds(d time.Duration) string { return strconv.Itoa(int((d + time.Second - 1) / time.Second)) }

// sessionExpires reads Session-Expires: the interval, and who refreshes, "uac",
// "uas" or "".
func sessionExpires(m *message) (interval time.Duration, refresher string, ok bool) {
	interval, ps, ok := deltaSeconds(m.get("Session-Expires"))
	role, _ := ps.get("refresher")
	if role = strings.ToLower(role); role != "uac" && role != "uas" {
		role = ""
	}
	return interval, role, ok
}

func minSE(m *message) (time.Duration, bool) {
	d, _, ok := deltaSeconds(m.get("Min-SE"))
	return d, ok
}

// deltaSeconds reads a number of seconds with parameters.
func deltaSeconds(value string) (time.Duration, params, bool) {
	head, tail, more := strings.Cut(value, ";")
	n, ok := digits(strings.Trim(head, " \t"), 1<<31)
	var ps params
	if more && ok {
		ps, ok = parseParams(tail)
	}
	return time.Duration(n) * time.Second, ps, ok
}

// checkExpiry refuses a session that would need refreshing too often, and
// numbers that are none (RFC 4028 section 9).
func checkExpiry(m *message) *fault {
	if m.method != "INVITE" && m.method != "UPDATE" {
		return nil
	}
	for _, name := range []string{"Session-Expires", "Min-SE"} {
		if _, _, ok := deltaSeconds(m.get(name)); m.count(name) > 1 || (m.has(name) && !ok) {
			return malformed("Bad " + name)
		}
	}
	if asked, _, named := sessionExpires(m); named && asked < minExpiry && m.supports("timer") {
		return &fault{422, "interval", "Session Interval Too Small", []field{{"Min-SE", seconds(minExpiry)}}}
	}
	return nil
}

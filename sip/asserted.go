package sip

import (
	"net/url"
	"strings"
)

// Whoever is a trunk is in the trust domain of RFC 3325: it has said who calls,
// and may say so in headers that a phone cannot be believed in. They are read
// here and nowhere else, and none is ever copied to anybody.

// checkIdentity refuses an INVITE that names two callers, or one that cannot be
// read: what two readers could understand differently identifies nobody.
func checkIdentity(m *message) *fault {
	if m.method != "INVITE" {
		return nil
	}
	for _, name := range []string{"P-Asserted-Identity", "Remote-Party-ID"} {
		if _, ok := assertedIn(m, name); !ok {
			return malformed("Bad " + name)
		}
	}
	return nil
}

// callerOf tells who calls with an INVITE: P-Asserted-Identity, else
// Remote-Party-ID (which came before it), else From. A caller who wants privacy
// keeps the number, which the dial plan and a call back need and which goes to
// nobody, but has no name (RFC 3323 section 4.2, RFC 3325 section 9.3).
func callerOf(m *message) Party {
	who, _ := assertedIn(m, "P-Asserted-Identity")
	if who.uri == "" {
		who, _ = assertedIn(m, "Remote-Party-ID")
	}
	if who.uri == "" {
		who, _ = parseAddress(m.get("From"))
	}
	u, _ := parseURI(who.uri)
	if strings.EqualFold(u.host, "anonymous.invalid") {
		return Party{}
	}
	p := Party{Number: userOf(u)}
	if !wantsPrivacy(m) {
		p.Name = printable(who.display, maxName)
	}
	return p
}

// userOf returns a URI's user without the parameters that may follow a number,
// its escapes undone.
func userOf(u uri) string {
	user, _, _ := strings.Cut(u.user, ";")
	if plain, err := url.PathUnescape(user); err == nil {
		user = plain
	}
	return printable(user, maxName)
}

// assertedIn returns the caller that a trust header names, an empty address
// where it names none; of a SIP and a tel URI the first (RFC 3325 section 9.1).
func assertedIn(m *message, name string) (who address, ok bool) {
	var dialled string // the tel URI
	var number address
	for _, value := range m.all(name) {
		if value == "" {
			continue
		}
		list, ok := splitList(value)
		for _, member := range list {
			a, good := parseAddress(member)
			u, whole := parseURI(a.uri)
			if !ok || !good || !whole {
				return address{}, false
			}
			if party, said := a.params.get("party"); said && !strings.EqualFold(party, "calling") {
				continue
			}
			switch {
			case u.scheme == "tel" && (dialled == "" || dialled == a.uri):
				dialled, number = a.uri, a
			case (u.scheme == "sip" || u.scheme == "sips") && (who.uri == "" || who.uri == a.uri):
				who = a
			default:
				return address{}, false
			}
		}
	}
	if u, _ := parseURI(who.uri); u.user == "" { // it names a host, not a caller
		who = number
	}
	return who, true
}

// wantsPrivacy tells whether the caller does not want to be shown. What else a
// caller may ask for (header, session, history) is given to everybody: nothing
// of an INVITE goes any further.
func wantsPrivacy(m *message) bool {
	for _, value := range m.all("Privacy") {
		for wish := range strings.FieldsFuncSeq(strings.ToLower(value), func(r rune) bool { return strings.ContainsRune("; ,\t", r) }) {
			if wish == "id" || wish == "user" {
				return true
			}
		}
	}
	if m.has("P-Asserted-Identity") {
		return false
	}
	who, _ := assertedIn(m, "Remote-Party-ID")
	wish, _ := who.params.get("privacy")
	wish = strings.ToLower(strings.Trim(wish, `"`))
	return wish == "full" || wish == "name" || wish == "uri"
}

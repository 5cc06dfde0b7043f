package sip

import (
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"wagate/config"
)

const anonymousURI = "sip:anonymous@anonymous.invalid"

// formatCaller writes an E.164 number, plus in front, as the trunk wants it.
// national:CC writes numbers of that country as they are dialled there, all
// others with 00. CC is a calling code or a region.
func formatCaller(number, format string) string {
	plain := strings.TrimPrefix(number, "+")
	switch {
	case format == "plain":
		return plain
	case format == "00":
		return "00" + plain
	case strings.HasPrefix(format, "national:"):
		return national(number, strings.TrimPrefix(format, "national:"))
	}
	return number
}

func national(number, country string) string {
	code, err := strconv.Atoi(strings.TrimPrefix(country, "+"))
	if err != nil {
		code = phonenumbers.GetCountryCodeForRegion(strings.ToUpper(country))
	}
	parsed, err := phonenumbers.Parse(number, "ZZ")
	if err != nil || int(parsed.GetCountryCode()) != code {
		return "00" + strings.TrimPrefix(number, "+")
	}
	return onlyDigits(phonenumbers.Format(parsed, phonenumbers.NATIONAL))
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
}

// identity builds the values of From, without its tag, and of
// P-Asserted-Identity, "" when nothing can be asserted.
func identity(t config.Trunk, p Party, host string) (from, asserted string) {
	display := ""
	if name := printable(p.Name, maxName); name != "" {
		display = quote(name) + " "
	}
	caller := ""
	if valid(p.Number) {
		caller = "sip:" + formatCaller(p.Number, t.CallerFormat) + "@" + host
		asserted = display + "<" + caller + ">"
	}
	switch {
	case t.FromUser == "account" && t.Auth.User != "":
		caller = "sip:" + escapeUser(t.Auth.User) + "@" + host
	case t.FromUser != "" && t.FromUser != "caller" && t.FromUser != "account":
		caller = "sip:" + escapeUser(t.FromUser) + "@" + host
	case caller == "":
		caller = anonymousURI
	}
	return display + "<" + caller + ">", asserted
}

// valid tells whether a number is a plus and digits.
func valid(number string) bool {
	rest, plus := strings.CutPrefix(number, "+")
	_, ok := digits(rest, 1<<62)
	return plus && ok && len(rest) <= 15
}

// escapeUser writes text as the user part of a SIP URI (RFC 3261 section 25.1).
func escapeUser(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.!~*'()+", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return b.String()
}

package config

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

// The two directions of a route.
const (
	inbound  = "inbound"  // the customer calls
	outbound = "outbound" // the PBX calls
)

// Bounds of what a call may try in turn: no caller waits for more phones.
const (
	maxTargets  = 8 // addresses of a trunk
	maxOverflow = 7 // places after the first
)

var (
	digitsPattern = regexp.MustCompile(`^\+?[0-9]{0,20}$`)
	// dialPattern is a SIP user part, RFC 3261 section 25.1, of the characters
	// that no PBX takes for something else; placeholders are cut out before.
	dialPattern = regexp.MustCompile(`^([A-Za-z0-9._+*!~-]|%[0-9A-Fa-f]{2}){0,128}$`)
)

// placeholders are what may stand in braces in a route's to.
var placeholders = strings.NewReplacer("{caller}", "0", "{number}", "0", "{payload}", "0", "{user_id}", "0")

func (c *Config) checkRoutes(l *faultLog) {
	names := make(map[string]int)
	for i, r := range c.Routes {
		path := at("routes", i)
		l.name(path+".name", r.Name)
		l.unique(path+".name", r.Name, i, names)
		l.between(path+".ring_timeout", r.RingTimeout, shortest, 10*time.Minute)
		for key, p := range map[string]string{".caller": r.Match.Caller, ".payload": r.Match.Payload, ".to": r.Match.To} {
			l.pattern(path+".match"+key, p)
		}
		r.Match.checkExcept(l, path+".match")
		switch r.Direction {
		case inbound:
			c.checkInbound(l, path, r)
		case outbound:
			c.checkOutbound(l, path, r)
		case "":
			l.missing(path+".direction", "write inbound for calls from WhatsApp, outbound for calls to it")
		default:
			l.oneOf(path+".direction", r.Direction, inbound, outbound)
		}
	}
}

func (c *Config) checkInbound(l *faultLog, path string, r Route) {
	c.knownNumber(l, path+".match.number", r.Match.Number)
	l.forbidden(path, "only outbound routes have it", map[string]bool{
		".match.trunk": r.Match.Trunk != "", ".match.to": r.Match.To != "",
		".strip": r.Strip != 0, ".prepend": r.Prepend != "",
		".number": len(r.Number) > 0, ".countries": len(r.Countries) > 0,
	})
	if r.Reject {
		l.forbidden(path, "leave it out or leave reject out", map[string]bool{
			".trunk": r.Trunk != "", ".to": r.To != "", ".overflow": len(r.Overflow) > 0,
		})
		return
	}
	c.checkHop(l, path, Hop{Trunk: r.Trunk, To: r.To})
	l.atMost(path+".overflow", len(r.Overflow), maxOverflow)
	for i, hop := range r.Overflow {
		c.checkHop(l, at(path+".overflow", i), hop)
	}
}

func (c *Config) checkHop(l *faultLog, path string, h Hop) {
	l.required(path+".trunk", h.Trunk, "name the trunk that rings")
	c.knownTrunk(l, path+".trunk", h.Trunk)
	l.required(path+".to", h.To, "write what is dialled at the PBX, like \"600\"")
	if !dialPattern.MatchString(placeholders.Replace(h.To)) {
		l.add(path+".to", "use letters, digits, . _ + * ! ~ - and {caller}, {number}, {payload}, {user_id}; others as %23", "%s cannot be dialled", quoted(h.To))
	}
}

func (c *Config) checkOutbound(l *faultLog, path string, r Route) {
	c.knownTrunk(l, path+".match.trunk", r.Match.Trunk)
	l.forbidden(path, "only inbound routes have it", map[string]bool{
		".match.number": r.Match.Number != "", ".match.payload": r.Match.Payload != "",
		".trunk": r.Trunk != "", ".to": r.To != "", ".overflow": len(r.Overflow) > 0,
	})
	if r.Strip < 0 || r.Strip > 20 {
		l.add(path+".strip", "write 0 to 20", "%d digits cannot be taken off", r.Strip)
	}
	if !digitsPattern.MatchString(r.Prepend) {
		l.add(path+".prepend", "write digits, with or without +", "%s are not digits", quoted(r.Prepend))
	}
	if len(r.Number) == 0 && !r.Reject {
		l.missing(path+".number", "name the business number that calls")
	}
	for i, name := range r.Number {
		c.knownNumber(l, at(path+".number", i), name)
	}
	for i, country := range r.Countries {
		if phonenumbers.GetCountryCodeForRegion(country) == 0 {
			l.add(at(path+".countries", i), "write it like ES (ISO 3166, two letters)", "%s is not a country", quoted(country))
		}
	}
}

func (c *Config) knownNumber(l *faultLog, path, name string) {
	if _, ok := c.Number(name); name != "" && !ok {
		l.add(path, "name one of whatsapp.numbers", "there is no number %s", quoted(name))
	}
}

func (c *Config) knownTrunk(l *faultLog, path, name string) {
	if _, ok := c.Trunk(name); name != "" && !ok {
		l.add(path, "name one of trunks", "there is no trunk %s", quoted(name))
	}
}

func (m Match) checkExcept(l *faultLog, path string) {
	for i, day := range m.Except {
		if _, err := time.Parse(time.DateOnly, day); err != nil {
			l.add(at(path+".except", i), "write it like 2026-12-25", "%s is not a date", quoted(day))
		}
	}
	if len(m.Except) > 0 && m.Hours.zone == nil && !l.faulty(path+".hours") {
		l.add(path+".except", `add hours: "Mon-Sun 00:00-24:00 Europe/Lisbon"`, "needs hours for its time zone")
	}
}

// forbidden refuses what contradicts the rest of a route.
func (l *faultLog) forbidden(path, hint string, set map[string]bool) {
	for key, isSet := range set {
		if isSet {
			l.add(path+key, hint, "has no meaning in this route")
		}
	}
}

func (l *faultLog) pattern(path, p string) {
	if !isPattern(p) {
		l.add(path, "put * at the beginning, at the end or alone", "%s is not a pattern", quoted(p))
	}
}

func (p Permissions) check(l *faultLog) {
	const path = "permissions"
	l.atLeast(path+".requests_per_24h", p.RequestsPer24h, 0)
	l.atLeast(path+".requests_per_7d", p.RequestsPer7d, 0)
	l.atLeast(path+".stop_after_unanswered", p.StopAfterUnanswered, 1)
	l.between(path+".callback_within", p.CallbackWithin, time.Second, 24*time.Hour)
	if p.CallWindow < 0 {
		l.add(path+".call_window", `write it like 72h or "meta"`, "%s is not a call window", time.Duration(p.CallWindow))
	}
	if t := p.Request.Template; t.Name != "" && t.Language == "" {
		l.add(path+".request.template", "add the language Meta approved, like en", "needs a language")
	} else if t.Name == "" && t.Language != "" {
		l.add(path+".request.template", "add the name Meta approved", "needs a name")
	} else if t.Name == "" && len(t.Parameters) > 0 {
		l.add(path+".request.template", "add the name and the language Meta approved", "needs a name")
	}
	for i, text := range p.Request.Template.Parameters {
		if !isParameter(text) {
			l.add(fmt.Sprintf("%s.request.template.parameters[%d]", path, i), fmt.Sprintf("write 1 to %d characters on one line, at most %d spaces in a row", maxParameter, maxSpaces),
				"%s is not what Meta puts into a template", quoted(text))
		}
	}
}

// What Meta takes for a parameter of a template.
const (
	maxParameter = 1024
	maxSpaces    = 4
)

func isParameter(text string) bool {
	n := utf8.RuneCountInString(text)
	return strings.TrimSpace(text) != "" && n <= maxParameter && utf8.ValidString(text) &&
		!strings.ContainsFunc(text, unicode.IsControl) && !strings.Contains(text, strings.Repeat(" ", maxSpaces+1))
}

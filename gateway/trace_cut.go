package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"wagate/config"
	"wagate/sip"
)

// cut stands where something was that nobody may see.
const cut = "[cut]"

// leastSecret is the length from which a secret is looked for in texts of
// strangers: a shorter one would be found in everything.
const leastSecret = 6

// cutter takes out of messages what would let a reader into a call, an account
// or a trunk: keys of the audio, passwords, and what proves that one knows them.
// Addresses, numbers and fingerprints stay, because they are what one looks for.
type cutter struct{ secrets *strings.Replacer }

// newCutter knows the secrets of a configuration, which no message should have
// in it, but for one that repeats what it was sent.
func newCutter(cfg *config.Config) cutter {
	all := []config.Secret{cfg.WhatsApp.VerifyToken, cfg.HTTP.Admin.Token}
	all = append(all, cfg.WhatsApp.AppSecrets...)
	for _, n := range cfg.WhatsApp.Numbers {
		all = append(all, n.AccessToken)
	}
	for _, t := range cfg.Trunks {
		all = append(all, t.Auth.Password, t.Challenge.Password)
	}
	var pairs []string
	for _, s := range all {
		if len(s) >= leastSecret {
			pairs = append(pairs, s.Reveal(), cut)
		}
	}
	return cutter{strings.NewReplacer(pairs...)}
}

// own takes out our own secrets.
func (c cutter) own(text string) string {
	if c.secrets == nil {
		return text
	}
	return c.secrets.Replace(text)
}

// sip is a message as lines of text.
func (c cutter) sip(m sip.Traced) string {
	var b strings.Builder
	b.WriteString(oneLine(cutURI(m.Start)))
	kind := ""
	for _, h := range m.Headers {
		if strings.EqualFold(h.Name, "Content-Type") {
			kind, _, _ = strings.Cut(strings.ToLower(h.Value), ";")
		}
		b.WriteString("\n" + oneLine(h.Name) + ": " + oneLine(cutHeader(h.Name, h.Value)))
	}
	if len(m.Body) > 0 {
		b.WriteString("\n\n" + cutBody(strings.TrimSpace(kind), m.Body))
	}
	return c.own(b.String())
}

// cutBody shows session descriptions and, of a message/sipfrag, the status. What
// else a body may be – digits of a customer's card – nobody needs.
func cutBody(kind string, body []byte) string {
	switch kind {
	case "application/sdp":
		return cutSDP(string(body))
	case "message/sipfrag":
		first, _, _ := bytes.Cut(body, []byte("\n"))
		if bytes.HasPrefix(first, []byte("SIP/2.0 ")) {
			return oneLine(string(bytes.TrimSpace(first)))
		}
	}
	return fmt.Sprintf("[%d bytes of %s]", len(body), oneLine(kind))
}

// secretMarks begin what is secret in a session description, wherever on a line
// they stand: RFC 4567, 4568, 5939 and 8839.
var secretMarks = []string{"ice-pwd:", "ice-ufrag:", "inline:", "key-mgmt:", "ufrag ", "a=crypto:", "identity:", "k="}

// cutSDP cuts each line from its first secret on.
func cutSDP(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	for i, line := range lines {
		low, at := lower(line), len(line)
		for _, mark := range secretMarks {
			if p := strings.Index(low, mark); p >= 0 && (mark != "k=" || p == 0) {
				at = min(at, p+len(mark))
			}
		}
		if at == len(line) {
			lines[i] = oneLine(line)
			continue
		}
		lines[i] = oneLine(line[:at]) + suite(low[:at], line[at:]) + cut
	}
	return strings.Join(lines, "\n")
}

// lower is a text with its ASCII letters in lower case, byte by byte: what is
// found in it is at the same place in the text.
func lower(text string) string {
	low := []byte(text)
	for i, b := range low {
		if b >= 'A' && b <= 'Z' {
			low[i] = b + 'a' - 'A'
		}
	}
	return string(low)
}

var suitePattern = regexp.MustCompile(`^\d{1,9} [A-Z0-9_]{1,40} `)

// suite is the tag and the name of the algorithm of a crypto line, which are
// what two ends disagree about.
func suite(before, after string) string {
	if strings.HasSuffix(before, "a=crypto:") {
		return suitePattern.FindString(after)
	}
	return ""
}

// uriPassword is the password in a SIP URI (RFC 3261 section 19.1.1).
var uriPassword = regexp.MustCompile(`(?i)(\bsips?:[^:@>\s]*):[^@>\s]*@`)

func cutURI(text string) string {
	if !strings.Contains(text, "@") {
		return text
	}
	return uriPassword.ReplaceAllString(text, "${1}:"+cut+"@")
}

// secretNames are what a header or a field is called that has a secret in it.
var secretNames = []string{"token", "secret", "passw", "api-key", "apikey", "api_key", "cookie", "credential", "signature", "identity-info"}

func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, s := range secretNames {
		if strings.Contains(name, s) {
			return true
		}
	}
	return name == "identity"
}

// cutHeader cuts what a header proves, and keeps what it says.
func cutHeader(name, value string) string {
	switch low := strings.ToLower(name); {
	case secretName(name):
		return cut
	case strings.Contains(low, "auth"): // questions, answers, and proofs of the answerer
		return cutCredentials(value)
	case hasSecretMark(value):
		return cut
	}
	return cutURI(value)
}

// shownParams are the parts of Digest credentials that prove nothing.
var shownParams = map[string]bool{
	"username": true, "realm": true, "nonce": true, "uri": true, "algorithm": true, "qop": true, "nc": true, "stale": true, "opaque": true, "domain": true,
}

var digestParam = regexp.MustCompile(`^\s*([A-Za-z0-9-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s",]*)\s*(?:,|$)`)

// cutCredentials keeps of Digest what is said in the open. Where it is not what
// RFC 7616 allows, nothing is kept: a secret could stand anywhere.
func cutCredentials(value string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	if !strings.EqualFold(scheme, "Digest") {
		return cut
	}
	var shown []string
	for rest != "" {
		m := digestParam.FindStringSubmatch(rest)
		if m == nil {
			return "Digest " + cut
		}
		rest = rest[len(m[0]):]
		if shownParams[strings.ToLower(m[1])] {
			shown = append(shown, m[1]+"="+cutURI(m[2]))
		} else {
			shown = append(shown, m[1]+"="+cut)
		}
	}
	return "Digest " + strings.Join(shown, ", ")
}

// json is a JSON object as lines of text, its session description below it.
func (c cutter) json(raw []byte) string {
	if len(bytes.TrimSpace(raw)) == 0 {
		return ""
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	in.UseNumber()
	var value any
	if err := in.Decode(&value); err != nil {
		return fmt.Sprintf("[%d bytes that are not JSON]", len(raw))
	}
	var sdp []string
	value = c.walk("", value, &sdp)
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(value); err != nil {
		return fmt.Sprintf("[%d bytes that cannot be shown]", len(raw))
	}
	return strings.Join(append([]string{strings.TrimSpace(c.own(b.String()))}, sdp...), "\n\n")
}

// walk cuts inside a decoded value, and moves session descriptions to sdp.
func (c cutter) walk(name string, value any, sdp *[]string) any {
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = c.walk(key, inner, sdp)
		}
	case []any:
		for i, inner := range v {
			v[i] = c.walk(name, inner, sdp)
		}
	case string:
		switch {
		case strings.EqualFold(name, "sdp") && v != "":
			*sdp = append(*sdp, c.own(cutSDP(v)))
			return "[below]"
		case secretName(name):
			return cut
		case hasSecretMark(v): // a session description under another name
			return fmt.Sprintf("[%d bytes]", len(v))
		}
		return c.own(cutURI(v))
	}
	return value
}

func hasSecretMark(text string) bool {
	if !strings.Contains(text, ":") {
		return false
	}
	low := lower(text)
	for _, mark := range []string{"ice-pwd:", "ice-ufrag:", "inline:", "key-mgmt:", "a=crypto:"} {
		if strings.Contains(low, mark) {
			return true
		}
	}
	return false
}

// oneLine is a stranger's text as one line that a terminal only prints.
func oneLine(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(text, "\ufffd") {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func hidden(r rune) bool { return !unicode.IsPrint(r) && r != ' ' }

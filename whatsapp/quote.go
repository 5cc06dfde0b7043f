package whatsapp

import (
	"regexp"
	"strings"

	"wagate/config"
)

// Meta's words quote what it was asked: a token that it cannot read, the number
// that it cannot call, the id of a call, which has the number in it.
var (
	longDigits = regexp.MustCompile(`\d{4,}(\d{3})`)
	callIDs    = regexp.MustCompile(`wacid\.[\w+/=-]+`)
)

// quotable is what of Meta's words may stand in a log: of a number the last
// three digits, of a call's id nothing.
func quotable(words string) string {
	return longDigits.ReplaceAllString(callIDs.ReplaceAllString(words, "wacid.***"), "***$1")
}

// hush takes the token out of Meta's words.
func hush(words string, token config.Secret) string {
	if token == "" {
		return words
	}
	return strings.ReplaceAll(words, token.Reveal(), token.String())
}

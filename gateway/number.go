package gateway

import "strings"

// Number is a telephone number in E.164 form with its plus, parsed once where
// it enters the gateway; "" when there is none.
type Number string

// The least and most digits of an international number, ITU-T E.164 section 6.
const (
	fewestDigits = 7
	mostDigits   = 15
)

// parseNumber reads an international number with or without its plus. Digits
// are those of ASCII alone.
func parseNumber(text string) (Number, bool) {
	digits := strings.TrimPrefix(text, "+")
	if len(digits) < fewestDigits || len(digits) > mostDigits || digits[0] == '0' {
		return "", false
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return "", false
		}
	}
	return Number("+" + digits), true
}

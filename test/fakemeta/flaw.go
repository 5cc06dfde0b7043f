package fakemeta

import "strings"

// spoil puts into a description what is wrong with the phone.
func (f Flaw) spoil(d *description) {
	if f == WrongPrint {
		d.fingerprint = strings.Map(otherDigit, d.fingerprint)
	}
}

// otherDigit turns each hexadecimal digit of a fingerprint into another one.
func otherDigit(r rune) rune {
	const digits = "0123456789ABCDEF0"
	if i := strings.IndexRune(digits, r); i >= 0 {
		return rune(digits[i+1])
	}
	return r
}

package media

import (
	"math/bits"
	"testing"
)

// The formulas are those of ITU-T G.711 with the rounding of the G.191 tools,
// written out anew so that the tables are held against the law and not against
// the library they come from.

func alawFormula(v int16) uint8 {
	x := int(v) >> 3 // 13 bits
	sign := uint8(0x80)
	if x < 0 {
		x, sign = ^x, 0
	}
	code := uint8(x >> 1)
	if x > 31 {
		exp := bits.Len(uint(x)) - 5
		code = uint8(exp<<4 | x>>exp&0xf)
	}
	return (sign | code) ^ 0x55
}

func alawExpand(c uint8) int16 {
	c ^= 0x55
	exp, man := int(c>>4&7), int(c&0xf)
	v := man<<4 + 8
	if exp > 0 {
		v = (v + 0x100) << (exp - 1)
	}
	if c&0x80 == 0 {
		v = -v
	}
	return int16(v)
}

func ulawFormula(v int16) uint8 {
	const bias, clip = 33, 0x1fff
	x, sign := int(v)>>2, uint8(0x80)
	if x < 0 {
		x, sign = ^x, 0
	}
	x = min(x+bias, clip)
	exp := bits.Len(uint(x)) - 6
	return sign | ^uint8(exp<<4|x>>(exp+1)&0xf)&0x7f
}

func ulawExpand(c uint8) int16 {
	c = ^c
	exp, man := int(c>>4&7), int(c&0xf)
	v := (man<<3+0x84)<<exp - 0x84
	if c&0x80 != 0 {
		v = -v
	}
	return int16(v)
}

func TestG711EveryCode(t *testing.T) {
	for _, law := range []struct {
		codec    Codec
		compress func(int16) uint8
		expand   func(uint8) int16
	}{{PCMA, alawFormula, alawExpand}, {PCMU, ulawFormula, ulawExpand}} {
		l := lawOf(law.codec)
		for i := range 1 << 16 {
			v := int16(uint16(i))
			if got, want := l.encode(nil, []int16{v})[0], law.compress(v); got != want {
				t.Fatalf("%v of %d is %#x, want %#x", law.codec, v, got, want)
			}
		}
		for i := range 1 << 8 {
			if got, want := l.decode(nil, []byte{byte(i)})[0], law.expand(byte(i)); got != want {
				t.Fatalf("%v code %#x is %d, want %d", law.codec, i, got, want)
			}
		}
	}
	if lawOf(Opus) != nil {
		t.Error("Opus has no G.711 tables")
	}
}

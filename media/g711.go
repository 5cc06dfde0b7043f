package media

import "github.com/zaf/g711"

// law is one of the two G.711 companding laws as tables, both ways. The values
// are those of ITU-T G.711 by package g711, whose per-frame functions allocate.
type law struct {
	code    [1 << 16]uint8 // by linear sample, as uint16
	linear  [1 << 8]int16
	silence uint8
}

var (
	alaw = makeLaw(g711.EncodeAlawFrame, g711.DecodeAlawFrame)
	ulaw = makeLaw(g711.EncodeUlawFrame, g711.DecodeUlawFrame)
)

func makeLaw(encode func(int16) uint8, decode func(uint8) int16) *law {
	l := &law{}
	for i := range l.code {
		l.code[i] = encode(int16(uint16(i)))
	}
	for i := range l.linear {
		l.linear[i] = decode(uint8(i))
	}
	l.silence = l.code[0]
	return l
}

// lawOf returns the tables of a G.711 codec, nil for any other.
func lawOf(c Codec) *law {
	switch c {
	case PCMA:
		return alaw
	case PCMU:
		return ulaw
	case Opus, G722, NoCodec:
	}
	return nil
}

// encode appends the codes of pcm to out.
func (l *law) encode(out []byte, pcm []int16) []byte {
	for _, v := range pcm {
		out = append(out, l.code[uint16(v)])
	}
	return out
}

// decode appends the samples of payload to pcm.
func (l *law) decode(pcm []int16, payload []byte) []int16 {
	for _, b := range payload {
		pcm = append(pcm, l.linear[b])
	}
	return pcm
}

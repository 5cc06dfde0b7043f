package main

import (
	"encoding/binary"
	"math/rand/v2"
)

// stream numbers the packets of one side.
type stream struct {
	codec     codec
	ssrc      uint32
	sequence  uint16
	timestamp uint32
}

func newStream(c codec) stream {
	return stream{codec: c, ssrc: rand.Uint32(), sequence: uint16(rand.Uint32()), timestamp: rand.Uint32()}
}

// next writes an RTP packet.
func (s *stream) next(out, payload []byte) int {
	out[0], out[1] = 0x80, s.codec.pt
	binary.BigEndian.PutUint16(out[2:], s.sequence)
	binary.BigEndian.PutUint32(out[4:], s.timestamp)
	binary.BigEndian.PutUint32(out[8:], s.ssrc)
	s.sequence++
	s.timestamp += s.codec.ticks
	return 12 + copy(out[12:], payload)
}

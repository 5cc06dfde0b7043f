package media

/*
#cgo pkg-config: spandsp
#include <stdint.h>
#include <spandsp/telephony.h>
#include <spandsp/g722.h>
#include <spandsp/private/g722.h>
*/
import "C"

import "unsafe"

// g722Bitrate is the one rate of G.722 in RTP (RFC 3551 section 4.5.2).
const g722Bitrate = 64000

// g722PerByte is how many samples of 16 kHz one byte of G.722 holds.
const g722PerByte = 2

// g722Encoder encodes ITU-T G.722 by libspandsp. Encoder and decoder each go on
// from where the last frame left them, so a stream keeps one encoder from its
// beginning to its end. Their state has no pointers and lives in Go's memory:
// there is nothing to give back.
type g722Encoder struct{ state C.g722_encode_state_t }

func newG722Encoder() *g722Encoder {
	e := &g722Encoder{}
	C.g722_encode_init(&e.state, g722Bitrate, 0)
	return e
}

// encode appends the code of pcm at 16 kHz, an even number of samples, to out.
// It is nil where out has no room.
func (e *g722Encoder) encode(out []byte, pcm []int16) []byte {
	n := len(pcm) / g722PerByte
	if n == 0 || cap(out)-len(out) < n {
		return nil
	}
	tail := out[len(out) : len(out)+n]
	made := C.g722_encode(&e.state, (*C.uint8_t)(unsafe.SliceData(tail)), (*C.int16_t)(unsafe.SliceData(pcm)), C.int(n*g722PerByte))
	return out[:len(out)+int(made)]
}

// g722Decoder decodes G.722 to PCM of one rate. At 8 kHz it decodes the lower
// band alone, which is what a telephone carries.
type g722Decoder struct {
	state C.g722_decode_state_t
	rate  int
}

func newG722Decoder(rate int) *g722Decoder {
	d := &g722Decoder{rate: rate}
	var options C.int
	if rate == narrowRate {
		options = C.G722_SAMPLE_RATE_8000
	}
	C.g722_decode_init(&d.state, g722Bitrate, options)
	return d
}

// decode appends the samples of payload to pcm, which must have room for them.
func (d *g722Decoder) decode(pcm []int16, payload []byte) []int16 {
	n := len(payload) * d.rate / narrowRate
	if n == 0 || cap(pcm)-len(pcm) < n {
		return pcm
	}
	tail := pcm[len(pcm) : len(pcm)+n]
	made := C.g722_decode(&d.state, (*C.int16_t)(unsafe.SliceData(tail)), (*C.uint8_t)(unsafe.SliceData(payload)), C.int(len(payload)))
	return pcm[:len(pcm)+int(made)]
}

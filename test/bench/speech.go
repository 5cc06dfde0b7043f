package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"slices"

	"github.com/hraban/opus"
	"github.com/zaf/g711"
)

const (
	narrow    = 8000
	wide      = 16000
	frameRate = 50 // packets per second
	narrowLen = narrow / frameRate
	wideLen   = wide / frameRate
)

// codec is what one side of a call speaks.
type codec struct {
	name  string
	pt    uint8
	ticks uint32 // of its RTP clock per packet
}

var (
	opusCodec = codec{"opus", 111, 48000 / frameRate}
	pcmaCodec = codec{"PCMA", 8, 8000 / frameRate}
)

// speech is a loop of talk that ends with a mark: a short tone between
// silences, by which the packet that comes out is known for the packet that
// went in. Nothing is encoded while calls run.
type speech struct {
	opus, pcma [][]byte // one packet each
	mark       []bool   // the packets that have the tone
}

// The mark. The tone lies within its packet so that the look-ahead of a codec
// does not push it into the next one.
const (
	markTone    = 1000 // Hz
	markSilence = 4    // packets before and after
	markEvery   = 90   // packets of talk between two
	markFrom    = narrowLen / 8
	markTo      = narrowLen * 5 / 8
	markPeak    = 12000
)

// loadSpeech reads telephone speech: a WAV of 8 kHz in mu-law, as the gateway's
// own prompt is.
func loadSpeech(path string) (*speech, error) {
	talk, err := readLaw(path)
	if err != nil {
		return nil, err
	}
	silence := make([]int16, markSilence*narrowLen)
	mark := make([]int16, narrowLen)
	for i := markFrom; i < markTo; i++ {
		mark[i] = int16(markPeak * math.Sin(2*math.Pi*markTone*float64(i)/narrow))
	}
	s := &speech{}
	var loop []int16
	for part := range slices.Chunk(talk[:len(talk)/narrowLen*narrowLen], markEvery*narrowLen) {
		loop = slices.Concat(loop, part, silence, mark, silence)
		for range len(part)/narrowLen + markSilence {
			s.mark = append(s.mark, false)
		}
		s.mark = append(append(s.mark, true), make([]bool, markSilence)...)
	}
	for frame := range slices.Chunk(loop, narrowLen) {
		law := make([]byte, narrowLen)
		for i, v := range frame {
			law[i] = g711.EncodeAlawFrame(v)
		}
		s.pcma = append(s.pcma, law)
	}
	s.opus, err = encodeOpus(upsample(loop))
	return s, err
}

// readLaw reads the samples of a WAV in mu-law.
func readLaw(path string) ([]int16, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	const format, mulaw = 20, 7
	at := bytes.Index(b, []byte("data"))
	if len(b) < format+2 || at < 0 || len(b) < at+8+narrow || binary.LittleEndian.Uint16(b[format:]) != mulaw {
		return nil, fmt.Errorf("%s: at least a second of mu-law is needed", path)
	}
	pcm := make([]int16, 0, len(b))
	for _, v := range b[at+8:] {
		pcm = append(pcm, g711.DecodeUlawFrame(v))
	}
	return pcm, nil
}

// encodeOpus encodes a loop as WhatsApp's app does, the second time round, so
// that its end fits its beginning.
func encodeOpus(pcm []int16) ([][]byte, error) {
	enc, err := opus.NewEncoder(wide, 1, opus.AppVoIP)
	if err != nil {
		return nil, fmt.Errorf("opus encoder: %w", err)
	}
	if err := enc.SetBitrate(20000); err != nil {
		return nil, fmt.Errorf("opus encoder: %w", err)
	}
	if err := enc.SetInBandFEC(true); err != nil {
		return nil, fmt.Errorf("opus encoder: %w", err)
	}
	var packets [][]byte
	for range 2 {
		packets = packets[:0]
		for frame := range slices.Chunk(pcm, wideLen) {
			out := make([]byte, 400)
			n, err := enc.Encode(frame, out)
			if err != nil {
				return nil, fmt.Errorf("opus encoder: %w", err)
			}
			packets = append(packets, out[:n])
		}
	}
	return packets, nil
}

// upsample doubles the rate; for a load the ear of nobody matters.
func upsample(pcm []int16) []int16 {
	out := make([]int16, 0, 2*len(pcm))
	for i, v := range pcm {
		next := pcm[(i+1)%len(pcm)]
		out = append(out, v, int16((int(v)+int(next))/2))
	}
	return out
}

// packets are those of a codec.
func (s *speech) packets(c codec) [][]byte {
	if c == opusCodec {
		return s.opus
	}
	return s.pcma
}

// ear finds the mark in what comes out of a call.
type ear struct {
	codec   codec
	same    map[string]bool // the packets with the mark, where they come out as they went in
	dec     *opus.Decoder
	table   *[256]int16
	pcm     [5760]int16
	silence int // quiet packets in a row
}

func newEar(c codec, table *[256]int16) (*ear, error) {
	e := &ear{codec: c, table: table}
	if c == opusCodec {
		var err error
		if e.dec, err = opus.NewDecoder(narrow, 1); err != nil {
			return nil, fmt.Errorf("opus decoder: %w", err)
		}
	}
	return e, nil
}

// lawTable decodes A-law.
func lawTable() *[256]int16 {
	var t [256]int16
	for i := range t {
		t[i] = g711.DecodeAlawFrame(byte(i))
	}
	return &t
}

// newMatcher is an ear for packets that are passed through. It costs next to
// nothing: decoding would keep the load from being one for many calls.
func newMatcher(c codec, s *speech) *ear {
	e := &ear{codec: c, same: map[string]bool{}}
	for i, p := range s.packets(c) {
		if s.mark[i] {
			e.same[string(p)] = true
		}
	}
	return e
}

const (
	quietPeak = 1200
	loudPeak  = 5000
)

// hears says whether a packet is the one with the mark.
func (e *ear) hears(payload []byte) bool {
	if e.same != nil {
		return e.same[string(payload)]
	}
	n := min(len(payload), len(e.pcm))
	if e.dec != nil {
		var err error
		if n, err = e.dec.Decode(payload, e.pcm[:]); err != nil {
			return false
		}
	} else {
		for i, b := range payload[:n] {
			e.pcm[i] = e.table[b]
		}
	}
	peak := int16(0)
	for _, v := range e.pcm[:n] {
		peak = max(peak, v, -v)
	}
	before := e.silence
	if peak < quietPeak {
		e.silence++
		return false
	}
	e.silence = 0
	return before >= 2 && peak > loudPeak && tonal(e.pcm[:n])
}

// tonal says whether most of the energy is at the mark's tone.
func tonal(pcm []int16) bool {
	var re, im, all float64
	for i, v := range pcm {
		angle := 2 * math.Pi * markTone * float64(i) / narrow
		re += float64(v) * math.Cos(angle)
		im += float64(v) * math.Sin(angle)
		all += float64(v) * float64(v)
	}
	// A tone over half of the packet has a quarter of what one over all has.
	return (re*re+im*im)*2/float64(len(pcm)) > 0.3*all
}

package media

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wagate/test/tone"
)

// wavPart is one chunk of a WAV file; size, if set, is what it claims to have.
type wavPart struct {
	name string
	body []byte
	size uint32
}

func wavFile(parts ...wavPart) []byte {
	b := []byte("RIFF\x00\x00\x00\x00WAVE")
	for _, p := range parts {
		if p.size == 0 {
			p.size = uint32(len(p.body))
		}
		b = append(b, p.name...)
		b = binary.LittleEndian.AppendUint32(b, p.size)
		b = append(b, p.body...)
		if len(p.body)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// wavHead is a "fmt " chunk.
func wavHead(encoding, channels uint16, rate uint32, bits uint16) wavPart {
	le := binary.LittleEndian
	b := le.AppendUint16(nil, encoding)
	b = le.AppendUint16(b, channels)
	b = le.AppendUint32(b, rate)
	b = le.AppendUint32(b, rate*uint32(channels*bits/8))
	b = le.AppendUint16(b, channels*bits/8)
	b = le.AppendUint16(b, bits)
	return wavPart{name: "fmt ", body: b}
}

func wavSound(n int) wavPart { return wavPart{name: "data", body: make([]byte, n)} }

func TestReadPrompt(t *testing.T) {
	dir := t.TempDir()
	pcm := make([]int16, narrowRate+1) // not whole frames
	tone.NewSource(1000, narrowRate).Read(pcm)
	wide := make([]int16, wideRate)
	tone.NewSource(1000, wideRate).Read(wide)
	if err := tone.WriteWAV(filepath.Join(dir, "narrow.wav"), narrowRate, pcm); err != nil {
		t.Fatal(err)
	}
	if err := tone.WriteWAV(filepath.Join(dir, "wide.wav"), wideRate, wide); err != nil {
		t.Fatal(err)
	}
	title := wavPart{name: "LIST", body: []byte("an odd title!")}
	write := func(name string, file []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("alaw.wav", wavFile(title, wavHead(wavAlaw, 1, narrowRate, 8), title, wavPart{name: "data", body: alaw.encode(nil, pcm)}, title))
	write("ulaw.wav", wavFile(wavHead(wavUlaw, 1, narrowRate, 8), wavPart{name: "data", body: ulaw.encode(nil, pcm)}))
	for _, name := range []string{"narrow.wav", "wide.wav", "alaw.wav", "ulaw.wav"} {
		t.Run(name, func(t *testing.T) {
			s, err := ReadPrompt(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			around := promptLead + promptTail
			if l := s.Length() - time.Second - around; l < 0 || l > frameTime || s.Length()%frameTime != 0 {
				t.Errorf("lasts %v, want whole frames from %v on", s.Length(), time.Second+around)
			}
			if (s.wide != nil) != (name == "wide.wav") || s.wide != nil && len(s.wide) != 2*len(s.narrow) {
				t.Errorf("%d samples wide and %d narrow", len(s.wide), len(s.narrow))
			}
			lead, tail := s.narrow[:narrowRate/10], s.narrow[len(s.narrow)-narrowRate/10:]
			if slices.Max(lead) > 0 || slices.Max(tail) > 0 {
				t.Error("no silence around it")
			}
			meter := tone.NewMeter(narrowRate, 1000)
			meter.Write(s.narrow)
			if db, heard := meter.Level(1000); !heard || db < tone.DefaultLevel-1 || db > tone.DefaultLevel+1 {
				t.Errorf("tone at %.1f dB (heard: %v)", db, heard)
			}
		})
	}
}

func TestUnreadablePrompts(t *testing.T) {
	head := wavHead(wavPCM, 1, narrowRate, 16)
	unaligned := wavHead(wavPCM, 1, narrowRate, 16)
	unaligned.body[12] = 4
	for _, test := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "not a WAV file"},
		{"mp3", []byte("ID3\x04 and then some more"), "not a WAV file"},
		{"big endian", []byte("RIFX\x00\x00\x00\x00WAVEfmt "), "not a WAV file"},
		{"header only", wavFile(), "no sound"},
		{"no data", wavFile(head), "no sound"},
		{"empty data", wavFile(head, wavSound(0)), "no sound"},
		{"data first", wavFile(wavSound(320), head), "before its format"},
		{"two formats", wavFile(head, head, wavSound(320)), "two formats"},
		{"short format", wavFile(wavPart{name: "fmt ", body: head.body[:14]}, wavSound(320)), "want 16"},
		{"cut off", wavFile(head, wavPart{"data", make([]byte, 320), 3200}), `"data" has 320 bytes of 3200; the file was cut off`},
		{"from a pipe", wavFile(head, wavPart{"data", make([]byte, 320), 1<<32 - 1}), "never finished"},
		{"odd", wavFile(head, wavSound(321)), "within a sample"},
		{"stereo", wavFile(wavHead(wavPCM, 2, narrowRate, 16), wavSound(320)), "2 channels; want one"},
		{"no channel", wavFile(wavHead(wavPCM, 0, narrowRate, 16), wavSound(320)), "0 channels; want one"},
		{"music", wavFile(wavHead(wavPCM, 1, 44100, 16), wavSound(320)), "44100 samples per second; want 8000 or 16000"},
		{"8 bit", wavFile(wavHead(wavPCM, 1, narrowRate, 8), wavSound(320)), "8 bits in a sample; want 16"},
		{"16 bit µ-law", wavFile(wavHead(wavUlaw, 1, narrowRate, 16), wavSound(320)), "16 bits in a sample; want 8"},
		{"float", wavFile(wavHead(3, 1, narrowRate, 32), wavSound(320)), "encoding 3; want 16 bit PCM (1) or G.711 (6, 7)"},
		{"unaligned", wavFile(unaligned, wavSound(320)), "4 bytes in a sample of 16 bits"},
		{"long", wavFile(head, wavSound(2*narrowRate*10+2)), "of sound; want at most 10s"},
		{"huge", make([]byte, promptFile+1), "larger than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "prompt.wav")
			if err := os.WriteFile(path, test.file, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := ReadPrompt(path)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want %q and the path", err, test.want)
			}
			if s.Length() != 0 {
				t.Errorf("%v of sound and an error", s.Length())
			}
		})
	}
	for name, want := range map[string]string{t.TempDir(): "not a file", os.DevNull: "not a file", filepath.Join(t.TempDir(), "none"): "no such file"} {
		if _, err := ReadPrompt(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := parsePrompt(wavFile(head, wavSound(2*narrowRate*10))); err != nil {
		t.Errorf("ten seconds: %v", err)
	}
}

func TestBuiltinPrompt(t *testing.T) {
	if _, err := parsePrompt(noPermission); err != nil {
		t.Fatal(err)
	}
	s := BuiltinPrompt()
	if s.Length() < 3*time.Second || s.Length() > promptLimit {
		t.Errorf("lasts %v", s.Length())
	}
	if again, err := ReadPrompt(""); err != nil || !slices.Equal(again.narrow, s.narrow) {
		t.Errorf("the prompt of an empty path is another: %v", err)
	}
	loud := 0
	for frame := range slices.Chunk(s.narrow, narrowRate/50) {
		if power(frame) > 300 {
			loud++
		}
	}
	if all := len(s.narrow) / (narrowRate / 50); loud < all/2 {
		t.Errorf("only %d of %d frames have something to hear", loud, all)
	}
}

func FuzzWAV(f *testing.F) {
	f.Add(noPermission)
	f.Add(wavFile(wavHead(wavPCM, 1, wideRate, 16), wavSound(32)))
	f.Add(wavFile(wavPart{name: "LIST", body: []byte("odd")}, wavHead(wavAlaw, 1, narrowRate, 8), wavSound(3)))
	f.Add(wavFile(wavHead(wavUlaw, 1, narrowRate, 8), wavPart{"data", []byte{1}, 1<<32 - 1}))
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := parsePrompt(file)
		if err != nil {
			if len(s.narrow)+len(s.wide) != 0 {
				t.Error("sound and an error")
			}
			return
		}
		limit := promptLimit + promptLead + promptTail + frameTime
		if s.Length() <= promptLead+promptTail || s.Length() > limit || s.Length()%frameTime != 0 {
			t.Errorf("lasts %v", s.Length())
		}
		if s.wide != nil && len(s.wide) != 2*len(s.narrow) {
			t.Errorf("%d samples wide, %d narrow", len(s.wide), len(s.narrow))
		}
	})
}

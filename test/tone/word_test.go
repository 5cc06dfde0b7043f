package tone

import (
	"slices"
	"testing"
	"time"
)

func TestWordIsFound(t *testing.T) {
	const rate = 8000
	silence := make([]int16, rate/4)
	word := read(NewWord(rate), rate)
	part := func(from, to time.Duration) []int16 {
		cut := slices.Clone(word)
		return slices.Delete(cut, int(from.Seconds()*rate), int(to.Seconds()*rate))
	}
	for name, c := range map[string]struct {
		pcm  []int16
		want bool
	}{
		"whole":                 {word, true},
		"after a pause":         {slices.Concat(silence, word), true},
		"twice":                 {slices.Concat(word, word), true},
		"stretched by a frame":  {slices.Insert(slices.Clone(word), rate*130/1000, silence[:rate/50]...), true},
		"without its beginning": {part(40*time.Millisecond, 60*time.Millisecond), false},
		"without a chirp":       {part(230*time.Millisecond, 250*time.Millisecond), false},
		"without a pause":       {part(130*time.Millisecond, 150*time.Millisecond), false},
		"without its end":       {word[:rate*320/1000], false},
		"silence":               {silence, false},
		"backwards": {func() []int16 {
			back := slices.Clone(word)
			slices.Reverse(back)
			return back
		}(), false},
	} {
		if at, err := FindWord(c.pcm, rate); (err == nil) != c.want {
			t.Errorf("%s: at %v, %v", name, at, err)
		}
	}
	if at, err := FindWord(slices.Concat(silence, word), rate); err != nil || (at-290*time.Millisecond).Abs() > beatOff {
		t.Errorf("found at %v, %v", at, err)
	}
}

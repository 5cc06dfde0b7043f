package media

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"wagate/test/tone"
)

func g711Peer(t *testing.T, e *Engine, codecs ...string) *Peer {
	t.Helper()
	p, err := e.NewPeer(PeerOptions{Codecs: codecs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Which codec a call gets, and that it is heard both ways.
func TestCodecsOfThePeer(t *testing.T) {
	for _, c := range []struct {
		offers, answers []string
		want            Codec
	}{
		{[]string{"opus"}, []string{"opus", "PCMA", "PCMU"}, Opus},
		{[]string{"opus", "PCMA", "PCMU"}, []string{"opus"}, Opus},
		{[]string{"opus", "PCMA", "PCMU"}, []string{"PCMA", "opus"}, PCMA},
		{[]string{"PCMU", "opus"}, []string{"PCMA", "PCMU"}, PCMU},
	} {
		t.Run(fmt.Sprint(c.offers, c.answers), func(t *testing.T) {
			t.Parallel()
			caller, callee := g711Peer(t, testEngine(t, nil), c.offers...), g711Peer(t, testEngine(t, nil), c.answers...)
			offer, err := caller.Offer(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			answer, err := callee.Answer(t.Context(), offer)
			if err != nil {
				t.Fatal(err)
			}
			wantLegal(t, []byte(offer), []byte(answer))
			if err := caller.SetAnswer(answer); err != nil {
				t.Fatal(err)
			}
			wait(t, "connection", caller.Connected())
			wait(t, "connection", callee.Connected())
			if caller.Codec() != c.want || callee.Codec() != c.want {
				t.Fatalf("codecs %v and %v, want %v", caller.Codec(), callee.Codec(), c.want)
			}
			ears := []*ear{newEar(440), newEar(440)}
			peers := []*Peer{caller, callee}
			sources := []*tone.Source{tone.NewSource(440, narrowRate), tone.NewSource(440, narrowRate)}
			for i, p := range peers {
				p.SetSink(ears[i], Format{Rate: narrowRate})
				p.Open()
			}
			tick := time.NewTicker(frameTime)
			defer tick.Stop()
			for range 60 {
				<-tick.C
				for i, p := range peers {
					p.Push(toneFrame(sources[i]))
				}
			}
			for i, p := range peers {
				p.SetSink(nil, Format{})
				if db, heard := ears[i].meter.Level(440); !heard {
					t.Errorf("side %d hears %.1f dB", i, db)
				}
			}
		})
	}
}

func TestNoCodecOfThePeer(t *testing.T) {
	e := testEngine(t, nil)
	if _, err := e.NewPeer(PeerOptions{Codecs: []string{"G722"}}); !errors.Is(err, ErrNoCodec) {
		t.Errorf("G722 on the WhatsApp leg: %v", err)
	}
	caller, callee := g711Peer(t, e, "opus"), g711Peer(t, e, "PCMA")
	offer, err := caller.Offer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := callee.Answer(t.Context(), offer); !errors.Is(err, ErrNoCodec) {
		t.Errorf("an offer of Opus to a number without: %v", err)
	}
	other := g711Peer(t, e, "opus", "PCMU")
	if _, err := other.Offer(t.Context()); err != nil {
		t.Fatal(err)
	}
	meta := g711Peer(t, testEngine(t, nil), "opus", "PCMA")
	answer, err := meta.Answer(t.Context(), offer)
	if err != nil {
		t.Fatal(err)
	}
	foreign := strings.NewReplacer(" 111 126\r\n", " 8 126\r\n", "a=rtpmap:111 opus/48000/2", "a=rtpmap:8 PCMA/8000").Replace(answer)
	if err := other.SetAnswer(foreign); !errors.Is(err, ErrNoCodec) {
		t.Errorf("an answer with what was not offered: %v", err)
	}
}

package media

import (
	"fmt"
	"strings"
)

// eventsName is RFC 4733's format in session descriptions.
const eventsName = "telephone-event"

// lineWriter writes one line of a session description.
type lineWriter func(format string, args ...any)

// audioLines are our audio section.
type audioLines struct {
	profile   string
	formats   []format
	events    []format
	keys      []*masterKey
	direction string
	mux       bool
}

func (l *audioLines) has(c Codec) bool {
	for _, f := range l.formats {
		if f.is(c.String(), int(c.clock())) {
			return true
		}
	}
	return false
}

func (l *audioLines) write(line lineWriter, port uint16) {
	m := fmt.Appendf(nil, "m=audio %d %s", port, l.profile)
	for _, list := range [][]format{l.formats, l.events} {
		for _, f := range list {
			m = fmt.Append(m, " ", f.pt)
		}
	}
	line("%s", m)
	for _, f := range l.formats {
		f.write(line)
	}
	for _, f := range l.events {
		line("a=rtpmap:%d %s/%d", f.pt, f.name, f.clock)
		line("a=fmtp:%d 0-%d", f.pt, maxDigit)
	}
	for _, k := range l.keys {
		line("%s", k.line())
	}
	line("a=ptime:%d", frameTime.Milliseconds())
	if l.mux {
		line("a=rtcp-mux")
	} else {
		line("a=rtcp:%d", port+1)
	}
	line("a=%s", l.direction)
}

// write gives the rtpmap, and for Opus what we can take (RFC 7587 section 7).
func (f format) write(line lineWriter) {
	if f.channels > 1 {
		line("a=rtpmap:%d %s/%d/%d", f.pt, f.name, f.clock, f.channels)
	} else {
		line("a=rtpmap:%d %s/%d", f.pt, f.name, f.clock)
	}
	if f.fmtp != "" {
		line("a=fmtp:%d %s", f.pt, f.fmtp)
	}
}

// formatOf is a codec under a payload type, as we describe it.
func formatOf(c Codec, pt uint8) format {
	f := format{pt: pt, name: c.String(), clock: int(c.clock()), channels: 1}
	if c == Opus {
		f.channels, f.fmtp = 2, answerOpus // always two; the sound is mono
	}
	return f
}

// describe writes our description. Its version in o= goes up when anything else
// in it changed (RFC 3264 section 8).
func (s *Socket) describe(media func(line lineWriter)) []byte {
	var b strings.Builder
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\r\n")
	}
	line("s=-")
	line("c=IN %s", inet(s.local))
	line("t=0 0")
	media(line)
	text := b.String()
	if s.session.text != "" && s.session.text != text {
		s.session.version++
	}
	s.session.text = text
	return fmt.Appendf(nil, "v=0\r\no=- %d %d IN %s\r\n%s", s.session.id, s.session.version, inet(s.local), text)
}

// numbers are the dynamic payload types of a session. What one has meant it
// means to the end (RFC 3264 section 8.3.2).
type numbers [128]string

// dynamic is the first payload type that is no codec's by itself.
const dynamic = 96

// note remembers what the far end gave numbers to.
func (n *numbers) note(list []format) {
	for _, f := range list {
		if f.pt >= dynamic && n[f.pt] == "" {
			n[f.pt] = meaning(f.name, f.clock)
		}
	}
}

func meaning(name string, clock int) string { return fmt.Sprint(strings.ToLower(name), "/", clock) }

// number is the one that a format has, else a free one, from the usual one on.
func (n *numbers) number(name string, clock int, usual uint8) uint8 {
	what := meaning(name, clock)
	free := uint8(0)
	for i := range uint8(len(n) - dynamic) {
		pt := dynamic + (usual-dynamic+i)%(uint8(len(n))-dynamic)
		switch {
		case n[pt] == what:
			return pt
		case n[pt] == "" && free == 0:
			free = pt
		}
	}
	if free != 0 {
		n[free] = what
		return free
	}
	return usual // the far end has used up all there are
}

// format is a codec as we offer it.
func (n *numbers) format(c Codec) format {
	if c == Opus {
		return formatOf(c, n.number(c.String(), int(c.clock()), opusType))
	}
	return formatOf(c, staticType(c))
}

// events are the telephone-events of a clock as we offer them.
func (n *numbers) events(clock int) format {
	usual := uint8(eventsType)
	if clock != narrowRate {
		usual++
	}
	return format{pt: n.number(eventsName, clock, usual), name: eventsName, clock: clock}
}

// eventsType is the payload type under which we offer telephone-events.
const eventsType = 101

// staticType is the payload type of RFC 3551 table 4.
func staticType(c Codec) uint8 {
	switch c {
	case PCMA:
		return 8
	case G722:
		return 9
	case PCMU, Opus, NoCodec:
	}
	return 0
}

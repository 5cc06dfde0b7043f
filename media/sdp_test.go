package media

import (
	"errors"
	"reflect"
	"testing"
)

const deskPhone = "v=0\n" +
	"o=phone 1 2 IN IP4 10.0.0.9\n" +
	"s=call\n" +
	"c=IN IP4 10.0.0.9/127\n" +
	"t=0 0\n" +
	"a=sendonly\n" +
	"a=ptime:30\n" +
	"m=audio 4000/2 RTP/AVP 8 0 101 96 9 8 97 200 x\n" +
	"c=IN IP4 10.0.0.10\n" +
	"a=fmtp:101 0-15\n" +
	"a=rtpmap:101 Telephone-Event/8000\n" +
	"a=rtpmap:96 opus/48000/2\n" +
	"a=fmtp:96 useinbandfec=1; MaxPlaybackRate=16000\n" +
	"a=rtpmap:97 broken\n" +
	"m=video 0 RTP/AVP 99\n"

func TestReadDescription(t *testing.T) {
	d, err := parseSDP(deskPhone)
	if err != nil {
		t.Fatal(err)
	}
	if d.sessionID != "1" || d.version != "2" || d.originAddr != "10.0.0.9" || d.connection != "10.0.0.9" {
		t.Errorf("session: got %+v", d)
	}
	s, at := d.audio()
	if at != 0 || s.address().String() != "10.0.0.10:4000" || s.proto != "RTP/AVP" {
		t.Errorf("audio section %d: got %+v", at, s)
	}
	if video := d.sections[1]; video.connection != "10.0.0.9" || video.port != 0 {
		t.Errorf("video section: got %+v", video)
	}
	if v, ok := s.attr("ptime"); !ok || v != "30" {
		t.Errorf("the session's ptime: got %q, %v", v, ok)
	}
	if _, ok := s.own("ptime"); ok {
		t.Error("the session's ptime passes for the section's own")
	}
	if got := s.direction(); got != "sendonly" {
		t.Errorf("direction: got %s", got)
	}
	want := []format{
		{pt: 8, name: "PCMA", clock: 8000, channels: 1},
		{pt: 0, name: "PCMU", clock: 8000, channels: 1},
		{pt: 101, name: "Telephone-Event", clock: 8000, channels: 1, fmtp: "0-15"},
		{pt: 96, name: "opus", clock: 48000, channels: 2, fmtp: "useinbandfec=1; MaxPlaybackRate=16000"},
		{pt: 9, name: "G722", clock: 8000, channels: 1},
	}
	got := s.payloads()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("payload types: got %+v, want %+v", got, want)
	}
	if !got[2].is("telephone-event", 8000) || got[2].is("telephone-event", 48000) {
		t.Error("an encoding's name has case, or its clock does not count")
	}
	if v, ok := got[3].param("maxplaybackrate"); !ok || v != "16000" {
		t.Errorf("parameter: got %q, %v", v, ok)
	}
}

func TestUnreadableDescriptions(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n"
	for name, text := range map[string]string{
		"origin":          "v=0\r\no=- 1 1 IN\r\n",
		"connection":      head + "c=IN IP5 1.2.3.4\r\n",
		"short media":     head + "m=audio 4000 RTP/AVP\r\n",
		"media port":      head + "m=audio -1 RTP/AVP 0\r\n",
		"no equals sign":  head + "nonsense\r\n",
		"carriage return": head + "a=x\ry\r\n",
	} {
		if _, err := parseSDP(text); !errors.Is(err, ErrBadSDP) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	d, err := parseSDP(head + "c=IN IP4 pbx.example\r\nm=audio 4000 RTP/AVP 0\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := d.audio(); s.address().IsValid() || s.connection != "pbx.example" {
		t.Errorf("a host name is kept and is no address: got %v", s.address())
	}
}

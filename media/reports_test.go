package media

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"github.com/pion/rtcp"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 500_000_000, time.UTC)

func TestComposedReports(t *testing.T) {
	r := &reporter{ssrc: 0x11223344}
	in := &reception{ssrc: 0x55667788, fraction: 64, lost: -2, highest: 70000, jitter: 480}
	sent := sendStats{packets: 1500, octets: 60000, timestamp: 960000}

	list, err := rtcp.Unmarshal(r.compose(nil, noon, sent, in))
	if err != nil {
		t.Fatal(err)
	}
	sr := list[0].(*rtcp.SenderReport)
	if sr.SSRC != r.ssrc || sr.NTPTime != ntpTime(noon) || sr.RTPTime != 960000 || sr.PacketCount != 1500 || sr.OctetCount != 60000 {
		t.Errorf("got %+v", sr)
	}
	want := rtcp.ReceptionReport{SSRC: in.ssrc, FractionLost: 64, TotalLost: 0xfffffe, LastSequenceNumber: 70000, Jitter: 480}
	if len(sr.Reports) != 1 || sr.Reports[0] != want {
		t.Errorf("got %+v, want %+v", sr.Reports, want)
	}
	name := list[1].(*rtcp.SourceDescription)
	if len(name.Chunks) != 1 || name.Chunks[0].Source != r.ssrc || name.Chunks[0].Items[0].Text != cname {
		t.Errorf("got %+v", name)
	}

	list, err = rtcp.Unmarshal(r.goodbye(r.compose(nil, noon, sendStats{}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if rr, ok := list[0].(*rtcp.ReceiverReport); !ok || rr.SSRC != r.ssrc || len(rr.Reports) != 0 {
		t.Errorf("before anything was sent: got %v", list[0])
	}
	if bye, ok := list[2].(*rtcp.Goodbye); !ok || !reflect.DeepEqual(bye.Sources, []uint32{r.ssrc}) {
		t.Errorf("got %v", list[2])
	}
}

func TestRoundTrip(t *testing.T) {
	r := &reporter{ssrc: 1}
	sentAt := noon
	id := uint32(ntpTime(sentAt) >> 16)
	answer := rtcp.ReceiverReport{SSRC: 2, Reports: []rtcp.ReceptionReport{
		{SSRC: 99, FractionLost: 255},
		{SSRC: 1, FractionLost: 26, LastSenderReport: id, Delay: shortTime(500 * time.Millisecond)},
	}}
	raw, err := answer.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !r.read(raw, sentAt.Add(620*time.Millisecond)) {
		t.Fatal("not taken for RTCP")
	}
	got := r.farEnd()
	if d := got.trip - 120*time.Millisecond; d > time.Millisecond || d < -time.Millisecond {
		t.Errorf("round trip %v, want 120 ms", got.trip)
	}
	if !got.told || got.loss < 0.1 || got.loss > 0.103 {
		t.Errorf("loss %v, want 0.1", got.loss)
	}
	if !r.read(raw, sentAt.Add(-time.Hour)) || r.farEnd().trip != got.trip {
		t.Errorf("a report from the future changed the round trip to %v", r.farEnd().trip)
	}
}

// The far end computes its round trip from what we say of its last report.
func TestLastSenderReport(t *testing.T) {
	r := &reporter{ssrc: 1}
	theirs := rtcp.SenderReport{SSRC: 2, NTPTime: 0x1111_2222_3333_4444}
	raw, err := theirs.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	r.read(raw, noon)
	list, err := rtcp.Unmarshal(r.compose(nil, noon.Add(250*time.Millisecond), sendStats{}, &reception{ssrc: 2}))
	if err != nil {
		t.Fatal(err)
	}
	block := list[0].(*rtcp.ReceiverReport).Reports[0]
	if block.LastSenderReport != 0x2222_3333 || block.Delay != 1<<16/4 {
		t.Errorf("got last report %#x, delay %d", block.LastSenderReport, block.Delay)
	}
}

func TestHostileReports(t *testing.T) {
	r := &reporter{ssrc: 1}
	for name, raw := range map[string][]byte{
		"empty":               {},
		"four bytes":          {0x80, 200, 0, 0},
		"version":             {0x40, 201, 0, 1, 0, 0, 0, 1},
		"longer than it is":   {0x81, 201, 0xff, 0xff, 0, 0, 0, 1},
		"sender info missing": {0x80, 200, 0, 1, 0, 0, 0, 1},
		"rubbish behind":      {0x80, 201, 0, 1, 0, 0, 0, 1, 0xff, 0xff},
	} {
		if r.read(raw, noon) {
			t.Errorf("%s: taken for RTCP", name)
		}
	}
	if !r.read([]byte{0x9f, 201, 0, 1, 0, 0, 0, 2}, noon) || r.farEnd().told {
		t.Error("31 blocks announced and none there: want a report about nobody")
	}
}

func FuzzReports(f *testing.F) {
	r := &reporter{ssrc: 1}
	f.Add(r.goodbye(r.compose(nil, noon, sendStats{packets: 1}, &reception{ssrc: 2})))
	f.Add([]byte{0x81, 201, 0, 7, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &reporter{ssrc: 1}
		r.read(raw, noon)
		if end := r.farEnd(); end.trip < 0 || end.trip > time.Minute || end.loss < 0 || end.loss > 1 {
			t.Errorf("got %+v", end)
		}
		ours := r.compose(nil, noon, sendStats{packets: 1}, &reception{ssrc: 2})
		if len(ours)%4 != 0 || int(binary.BigEndian.Uint16(ours[2:])) != 12 {
			t.Errorf("%d bytes of report, first length %d", len(ours), binary.BigEndian.Uint16(ours[2:]))
		}
	})
}

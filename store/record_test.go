package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"
)

func aRecord() Record {
	return Record{
		ID: "c1", Direction: "inbound", Number: "support", User: "34600111222", UserID: "ES.2091", WACID: "wacid.x",
		Trunk: "pbx", To: "600", StartedAt: noon, RingingAt: noon.Add(time.Second),
		AnsweredAt: noon.Add(2500 * time.Millisecond), EndedAt: noon.Add(time.Minute), DurationS: 57.5, Cause: "hangup",
		EndedBy: "customer", SIPStatus: 200, Q850: 16, MetaError: 138021, MetaDurationS: 57, Route: "support",
		Payload: "order-1", Transfers: 1, Agents: []string{"600"}, CodecWhatsApp: "opus", CodecSIP: "PCMA",
		Media: Media{
			WhatsApp: Side{Packets: 2870, Lost: 3, Late: 1, JitterMS: 4.5, RTTMS: 38, ConcealedMS: 60, MOS: 4.3, FirstAudioMS: 120},
			SIP:      Side{Packets: 2875, FirstAudioMS: 20},
		},
		Abandoned: true, Node: "gw1",
	}
}

// The names and forms of the JSON are a contract.
func TestRecordJSON(t *testing.T) {
	got, err := json.Marshal(aRecord())
	must(t, err)
	var fields, want map[string]any
	must(t, json.Unmarshal(got, &fields))
	must(t, json.Unmarshal([]byte(`{
		"id": "c1", "direction": "inbound", "number": "support", "user": "34600111222", "user_id": "ES.2091",
		"wacid": "wacid.x", "trunk": "pbx", "to": "600", "started_at": "2026-11-21T12:00:00.000Z",
		"ringing_at": "2026-11-21T12:00:01.000Z", "answered_at": "2026-11-21T12:00:02.500Z",
		"ended_at": "2026-11-21T12:01:00.000Z", "duration_s": 57.5, "cause": "hangup", "ended_by": "customer",
		"sip_status": 200, "q850": 16, "meta_error": 138021, "meta_duration_s": 57, "route": "support",
		"payload": "order-1", "transfers": 1, "agents": ["600"], "codec_whatsapp": "opus", "codec_sip": "PCMA",
		"media": {
			"whatsapp": {"packets": 2870, "lost": 3, "late": 1, "jitter_ms": 4.5, "rtt_ms": 38, "concealed_ms": 60,
				"mos": 4.3, "first_audio_ms": 120},
			"sip": {"packets": 2875, "lost": 0, "late": 0, "jitter_ms": 0, "rtt_ms": 0, "concealed_ms": 0,
				"mos": 0, "first_audio_ms": 20}},
		"abandoned": true, "node": "gw1"}`), &want))
	if !reflect.DeepEqual(fields, want) {
		t.Errorf("got %s", got)
	}
	none, err := json.Marshal(Record{})
	must(t, err)
	must(t, json.Unmarshal(none, &fields))
	if fields["answered_at"] != nil || !reflect.DeepEqual(fields["agents"], []any{}) {
		t.Errorf("empty record: %s", none)
	}
}

func TestRecordKept(t *testing.T) {
	db := open(t, t.TempDir())
	must(t, db.End(t.Context(), aRecord(), nil, ""))
	rs, next, err := db.Records(t.Context(), Query{})
	must(t, err)
	if want := []Record{aRecord()}; !reflect.DeepEqual(rs, want) || next != "" {
		t.Errorf("got %+v, next %q", rs, next)
	}
}

// Meta's figures may come when the record is written: they fill what is empty.
func TestAmend(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	for id, r := range map[string]Record{
		"a": {WACID: "w1"}, "b": {WACID: "w2", MetaDurationS: 5, MetaError: 138021}, "c": {},
	} {
		r.ID = id
		must(t, db.End(ctx, r, nil, ""))
	}
	for _, wacid := range []string{"w1", "w2", "", "nobody"} {
		must(t, db.Amend(ctx, wacid, 30, 138020))
	}
	must(t, db.Amend(ctx, "w1", 31, 0))
	rs, _, err := db.Records(ctx, Query{})
	must(t, err)
	want := map[string][2]int{"a": {30, 138020}, "b": {5, 138021}, "c": {0, 0}}
	for _, r := range rs {
		if got := [2]int{r.MetaDurationS, r.MetaError}; got != want[r.ID] {
			t.Errorf("record %s: got %v, want %v", r.ID, got, want[r.ID])
		}
	}
}

func TestRecordsQuery(t *testing.T) {
	ctx := t.Context()
	db := open(t, t.TempDir())
	for i := range 10 {
		r := Record{ID: fmt.Sprintf("c%d", i), User: "34600111222", EndedAt: noon.Add(time.Duration(i/2) * time.Minute)}
		if i%2 == 1 {
			r.User, r.UserID = "", "ES.77"
		}
		must(t, db.End(ctx, r, nil, ""))
	}
	for name, c := range map[string]struct {
		q    Query
		want string
	}{
		"all, latest first": {Query{}, "[c9 c8 c7 c6 c5 c4 c3 c2 c1 c0]"},
		"since":             {Query{Since: noon.Add(3 * time.Minute)}, "[c9 c8 c7 c6]"},
		"until":             {Query{Until: noon.Add(time.Minute)}, "[c1 c0]"},
		"number":            {Query{User: "34600111222", Since: noon.Add(3 * time.Minute)}, "[c8 c6]"},
		"number with plus":  {Query{User: "+34600111222", Until: noon.Add(time.Minute)}, "[c0]"},
		"id":                {Query{User: "ES.77", Until: noon.Add(2 * time.Minute)}, "[c3 c1]"},
		"nobody":            {Query{User: "ES.78"}, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			for pages := 0; ; pages++ { // in pages of three the answer is the same
				q := c.q
				q.Limit = 3
				rs, next, err := db.Records(ctx, q)
				must(t, err)
				for _, r := range rs {
					ids = append(ids, r.ID)
				}
				if next == "" || pages > 10 {
					break
				}
				c.q.Cursor = next
			}
			if got := fmt.Sprint(ids); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	for _, cursor := range []string{"x", ".", "!.c1", "zzzzzzzzzzzzzzzzzzzzz.c1"} {
		if _, _, err := db.Records(ctx, Query{Cursor: cursor}); !errors.Is(err, ErrCursor) {
			t.Errorf("cursor %q: got %v", cursor, err)
		}
	}
}

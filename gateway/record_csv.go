package gateway

import (
	"regexp"
	"strconv"
	"strings"

	"wagate/store"
)

// recordColumn is one column of the CSV form of a record.
type recordColumn struct {
	name string
	text func(r *store.Record) string
}

// recordTable has the columns in the order of the record's fields.
var recordTable = append([]recordColumn{
	{"id", func(r *store.Record) string { return r.ID }},
	{"direction", func(r *store.Record) string { return r.Direction }},
	{"number", func(r *store.Record) string { return r.Number }},
	{"user", func(r *store.Record) string { return r.User }},
	{"user_id", func(r *store.Record) string { return r.UserID }},
	{"wacid", func(r *store.Record) string { return r.WACID }},
	{"trunk", func(r *store.Record) string { return r.Trunk }},
	{"to", func(r *store.Record) string { return r.To }},
	{"started_at", func(r *store.Record) string { return jsonTime(r.StartedAt).String() }},
	{"ringing_at", func(r *store.Record) string { return jsonTime(r.RingingAt).String() }},
	{"answered_at", func(r *store.Record) string { return jsonTime(r.AnsweredAt).String() }},
	{"ended_at", func(r *store.Record) string { return jsonTime(r.EndedAt).String() }},
	{"duration_s", func(r *store.Record) string { return decimal(r.DurationS) }},
	{"cause", func(r *store.Record) string { return r.Cause }},
	{"ended_by", func(r *store.Record) string { return r.EndedBy }},
	{"sip_status", func(r *store.Record) string { return strconv.Itoa(r.SIPStatus) }},
	{"q850", func(r *store.Record) string { return strconv.Itoa(r.Q850) }},
	{"meta_error", func(r *store.Record) string { return strconv.Itoa(r.MetaError) }},
	{"meta_duration_s", func(r *store.Record) string { return strconv.Itoa(r.MetaDurationS) }},
	{"route", func(r *store.Record) string { return r.Route }},
	{"payload", func(r *store.Record) string { return r.Payload }},
	{"transfers", func(r *store.Record) string { return strconv.Itoa(r.Transfers) }},
	{"agents", func(r *store.Record) string { return strings.Join(r.Agents, " ") }},
	{"codec_whatsapp", func(r *store.Record) string { return r.CodecWhatsApp }},
	{"codec_sip", func(r *store.Record) string { return r.CodecSIP }},
	{"abandoned", func(r *store.Record) string { return strconv.FormatBool(r.Abandoned) }},
}, append(
	sideColumns("media_whatsapp_", func(r *store.Record) store.Side { return r.Media.WhatsApp }),
	append(sideColumns("media_sip_", func(r *store.Record) store.Side { return r.Media.SIP }),
		recordColumn{"node", func(r *store.Record) string { return r.Node }})...,
)...)

func sideColumns(prefix string, side func(*store.Record) store.Side) []recordColumn {
	return []recordColumn{
		{prefix + "packets", func(r *store.Record) string { return strconv.FormatInt(side(r).Packets, 10) }},
		{prefix + "lost", func(r *store.Record) string { return strconv.FormatInt(side(r).Lost, 10) }},
		{prefix + "late", func(r *store.Record) string { return strconv.FormatInt(side(r).Late, 10) }},
		{prefix + "jitter_ms", func(r *store.Record) string { return decimal(side(r).JitterMS) }},
		{prefix + "rtt_ms", func(r *store.Record) string { return decimal(side(r).RTTMS) }},
		{prefix + "concealed_ms", func(r *store.Record) string { return strconv.FormatInt(side(r).ConcealedMS, 10) }},
		{prefix + "mos", func(r *store.Record) string { return decimal(side(r).MOS) }},
		{prefix + "first_audio_ms", func(r *store.Record) string { return strconv.FormatInt(side(r).FirstAudioMS, 10) }},
	}
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func recordColumns() []string {
	names := make([]string, len(recordTable))
	for i, c := range recordTable {
		names[i] = c.name
	}
	return names
}

func recordRow(r store.Record) []string {
	row := make([]string, len(recordTable))
	for i, c := range recordTable {
		row[i] = cell(c.text(&r))
	}
	return row
}

var plainNumber = regexp.MustCompile(`^[+-]?[0-9][0-9.]*$`)

// cell keeps a spreadsheet from taking a customer's text for a formula.
func cell(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n", rune(text[0])) && !plainNumber.MatchString(text) {
		return "'" + text
	}
	return text
}

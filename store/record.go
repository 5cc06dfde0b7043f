package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Record is what is known of a call when it is over. There is exactly one per
// call. Its JSON names are part of the product's contract.
type Record struct {
	ID            string    `json:"id"`
	Direction     string    `json:"direction"`
	Number        string    `json:"number"`
	User          string    `json:"user"`
	UserID        string    `json:"user_id"`
	WACID         string    `json:"wacid"`
	Trunk         string    `json:"trunk"`
	To            string    `json:"to"`
	StartedAt     time.Time `json:"started_at"`
	RingingAt     time.Time `json:"ringing_at"`
	AnsweredAt    time.Time `json:"answered_at"`
	EndedAt       time.Time `json:"ended_at"`
	DurationS     float64   `json:"duration_s"` // answered to ended
	Cause         string    `json:"cause"`
	EndedBy       string    `json:"ended_by"`   // customer, pbx or gateway
	SIPStatus     int       `json:"sip_status"` // inbound: of the PBX; outbound: ours; 0: none
	Q850          int       `json:"q850"`
	MetaError     int       `json:"meta_error"`      // Meta's code, 0: none
	MetaDurationS int       `json:"meta_duration_s"` // what Meta bills
	Route         string    `json:"route"`
	Payload       string    `json:"payload"`
	Transfers     int       `json:"transfers"`
	Agents        []string  `json:"agents"`
	CodecWhatsApp string    `json:"codec_whatsapp"`
	CodecSIP      string    `json:"codec_sip"`
	Media         Media     `json:"media"`
	Abandoned     bool      `json:"abandoned"` // ended here while a network had not confirmed it
	Node          string    `json:"node"`      // the gateway that wrote it
}

// Media has the figures of both sides' received audio.
type Media struct {
	WhatsApp Side `json:"whatsapp"`
	SIP      Side `json:"sip"`
}

// Side has the figures of the audio received from one side.
type Side struct {
	Packets      int64   `json:"packets"`
	Lost         int64   `json:"lost"`
	Late         int64   `json:"late"` // came after their turn
	JitterMS     float64 `json:"jitter_ms"`
	RTTMS        float64 `json:"rtt_ms"`
	ConcealedMS  int64   `json:"concealed_ms"` // audio that we made up
	MOS          float64 `json:"mos"`
	FirstAudioMS int64   `json:"first_audio_ms"` // from the answer to the first packet
}

// stamp is a time in JSON: UTC with milliseconds, null for never.
type stamp time.Time

// MarshalJSON implements json.Marshaler.
func (s stamp) MarshalJSON() ([]byte, error) {
	t := time.Time(s)
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}

// MarshalJSON writes times as UTC with milliseconds, and null for never.
func (r Record) MarshalJSON() ([]byte, error) {
	type plain Record
	if r.Agents == nil {
		r.Agents = []string{}
	}
	return json.Marshal(struct {
		plain
		StartedAt  stamp `json:"started_at"`
		RingingAt  stamp `json:"ringing_at"`
		AnsweredAt stamp `json:"answered_at"`
		EndedAt    stamp `json:"ended_at"`
	}{plain(r), stamp(r.StartedAt), stamp(r.RingingAt), stamp(r.AnsweredAt), stamp(r.EndedAt)})
}

func insertRecord(ctx context.Context, tx *session, r Record) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO records (id, ended_at, started_at, direction, number, user, user_id,
			wacid, cause, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, millis(r.EndedAt), millis(r.StartedAt), r.Direction, r.Number, r.User, r.UserID,
		r.WACID, r.Cause, string(body))
	if taken(err) {
		return ErrEnded
	}
	return err
}

// Ended returns Meta's ids of the calls that ended at or after a time.
func (db *DB) Ended(ctx context.Context, since time.Time) ([]string, error) {
	ids, err := db.ended(ctx, since)
	if err != nil {
		return nil, fmt.Errorf("read ended calls: %w", err)
	}
	return ids, nil
}

func (db *DB) ended(ctx context.Context, since time.Time) ([]string, error) {
	rows, err := db.readers.QueryContext(ctx,
		`SELECT wacid FROM records WHERE ended_at >= ? AND wacid <> '' ORDER BY ended_at, id`, millis(since))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var ids []string
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// Query chooses records. Zero fields choose all.
type Query struct {
	Since  time.Time // ended at or after
	Until  time.Time // ended before
	User   string    // the customer's number or business-scoped id
	Limit  int       // at most; 0: defaultLimit, never above maxLimit
	Cursor string    // continue here: the next of the answer before
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// Records returns records, the latest end first, and where to continue; next
// is empty when there are no more. The error for a made-up cursor is ErrCursor.
func (db *DB) Records(ctx context.Context, q Query) (rs []Record, next string, err error) {
	limit := q.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	query, args, err := q.sql()
	if err != nil {
		return nil, "", err
	}
	rows, err := db.readers.QueryContext(ctx, query, append(args, limit+1)...)
	if err != nil {
		return nil, "", fmt.Errorf("read records: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, "", fmt.Errorf("read records: %w", err)
		}
		var r Record
		if err := json.Unmarshal(body, &r); err != nil {
			return nil, "", fmt.Errorf("decode record: %w", err)
		}
		rs = append(rs, r)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("read records: %w", err)
	}
	if len(rs) > limit {
		rs = rs[:limit]
		last := rs[limit-1]
		next = strconv.FormatInt(millis(last.EndedAt), 36) + "." + last.ID
	}
	return rs, next, nil
}

func (q Query) sql() (query string, args []any, err error) {
	var where []string
	add := func(cond string, values ...any) {
		where = append(where, cond)
		args = append(args, values...)
	}
	add("1")
	if !q.Since.IsZero() {
		add("ended_at >= ?", millis(q.Since))
	}
	if !q.Until.IsZero() {
		add("ended_at < ?", millis(q.Until))
	}
	if q.User != "" {
		bare := strings.TrimPrefix(q.User, "+")
		add("(user IN (?, ?) OR user_id = ?)", bare, "+"+bare, q.User)
	}
	if q.Cursor != "" {
		at, id, ok := strings.Cut(q.Cursor, ".")
		ended, err := strconv.ParseInt(at, 36, 64)
		if !ok || err != nil {
			return "", nil, ErrCursor
		}
		add("(ended_at, id) < (?, ?)", ended, id)
	}
	return `SELECT record FROM records WHERE ` + strings.Join(where, " AND ") +
		` ORDER BY ended_at DESC, id DESC LIMIT ?`, args, nil
}

package gateway

import (
	"context"
	"encoding/csv"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"wagate/store"
)

// recordReader gives the records of ended calls, the latest first, and where
// to continue.
type recordReader interface {
	Records(ctx context.Context, q store.Query) (rs []store.Record, next string, err error)
}

// Records that one answer may have; a CSV answer has all of them when no limit
// is asked for.
const (
	defaultRecords = 100
	mostRecords    = 1000
)

type recordList struct {
	Records []store.Record `json:"records"`
	Next    string         `json:"next"` // cursor of the next page, empty at the end
}

func (a *admin) listRecords(w http.ResponseWriter, r *http.Request) {
	if !onlyParams(w, r, "since", "until", "user", "limit", "cursor", "format") {
		return
	}
	q, format, err := recordQuery(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, "bad_request", err.Error())
		return
	}
	all := format == formatCSV && q.Limit == 0
	switch {
	case all:
		q.Limit = mostRecords
	case q.Limit == 0:
		q.Limit = defaultRecords
	}
	records, next, err := a.deps.records.Records(r.Context(), q)
	switch {
	case errors.Is(err, store.ErrCursor):
		fail(w, http.StatusBadRequest, "bad_request", "cursor is not one that an answer gave as next")
	case err != nil:
		a.deps.log.Error("records cannot be read", slog.Any("error", err))
		fail(w, http.StatusInternalServerError, "store_failed", "the records cannot be read now")
	case format == formatCSV:
		q.Cursor = next
		a.recordsCSV(w, r, records, q, all)
	default:
		if records == nil {
			records = []store.Record{}
		}
		reply(w, http.StatusOK, recordList{Records: records, Next: next})
	}
}

const (
	formatJSON = "json"
	formatCSV  = "csv"
)

// recordQuery reads the parameters; Limit is 0 when none is asked for.
func recordQuery(v url.Values) (q store.Query, format string, err error) {
	if q.Since, err = paramTime(v.Get("since"), "since"); err != nil {
		return q, "", err
	}
	if q.Until, err = paramTime(v.Get("until"), "until"); err != nil {
		return q, "", err
	}
	if text := v.Get("limit"); text != "" {
		q.Limit, err = strconv.Atoi(text)
		if err != nil || q.Limit < 1 || q.Limit > mostRecords {
			return q, "", errors.New("limit is a number from 1 to " + strconv.Itoa(mostRecords))
		}
	}
	q.User = v.Get("user")
	if rest, plus := strings.CutPrefix(q.User, " "); plus {
		q.User = "+" + rest // a plus in a URL means a space
	}
	q.Cursor = v.Get("cursor")
	switch format = v.Get("format"); format {
	case "":
		format = formatJSON
	case formatJSON, formatCSV:
	default:
		return q, "", errors.New("format is json or csv")
	}
	return q, format, nil
}

// paramTime reads an RFC 3339 time, or a date as its first moment in UTC.
func paramTime(text, name string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		// A plus in a URL means a space: here it can only be a zone's sign.
		if t, err := time.Parse(layout, strings.ReplaceAll(text, " ", "+")); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New(name + " is a time like 2026-11-22T09:00:00Z or a date like 2026-11-22")
}

func quoteParam(s string) string {
	const shown = 40
	if len(s) > shown {
		s = s[:shown] + "…"
	}
	return strconv.Quote(s)
}

// recordsCSV writes a page, and all that follow it when they were asked for.
// An error in the middle cuts the connection, so that nobody takes a part for
// the whole.
func (a *admin) recordsCSV(w http.ResponseWriter, r *http.Request, records []store.Record, q store.Query, all bool) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="records.csv"`)
	if !all && q.Cursor != "" {
		w.Header().Set("X-Next-Cursor", q.Cursor)
	}
	out := csv.NewWriter(w)
	rows := [][]string{recordColumns()}
	for {
		for _, rec := range records {
			rows = append(rows, recordRow(rec))
		}
		if out.WriteAll(rows) != nil || !all || q.Cursor == "" {
			return
		}
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			a.deps.log.Debug("write deadline stays", slog.Any("error", err))
		}
		var err error
		records, q.Cursor, err = a.deps.records.Records(r.Context(), q)
		if err != nil {
			a.deps.log.Error("records cannot be read to the end", slog.Any("error", err))
			panic(http.ErrAbortHandler)
		}
		rows = rows[:0]
	}
}

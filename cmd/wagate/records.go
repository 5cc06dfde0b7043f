package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

type recordsCmd struct {
	adminFlags

	Since  string `placeholder:"WHEN" help:"Ended at or after: a date, a time like 2026-11-22T09:00:00Z, or an age like 24h."`
	Until  string `placeholder:"WHEN" help:"Ended before: the same."`
	User   string `help:"Only calls with this customer: number or business-scoped id."`
	Limit  int    `help:"At most so many. Tables and JSON have 100 unless told otherwise, CSV has all."`
	Format string `enum:"table,json,csv" default:"table" help:"table, json or csv (${default})."`
	JSON   bool   `help:"The same as --format json."`

	List  recordsListCmd  `cmd:"" default:"withargs" help:"List records of ended calls, the latest first (the default)."`
	Erase recordsEraseCmd `cmd:"" help:"Forget the customer named by --user: records keep the call and lose the customer."`
}

type recordsListCmd struct{}

// callRecord is as much of a record as the table shows.
type callRecord struct {
	ID        string     `json:"id"`
	Direction string     `json:"direction"`
	Number    string     `json:"number"`
	User      string     `json:"user"`
	UserID    string     `json:"user_id"`
	Trunk     string     `json:"trunk"`
	To        string     `json:"to"`
	StartedAt *time.Time `json:"started_at"`
	DurationS float64    `json:"duration_s"`
	Cause     string     `json:"cause"`
	EndedBy   string     `json:"ended_by"`
}

const recordsPath = "/api/v1/records"

// Run lists records.
func (*recordsListCmd) Run(ctx context.Context, c *recordsCmd, term terminal) error {
	query, err := c.query(time.Now())
	if err != nil {
		return usageError{err}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	defer term.waiting("still reading records")()
	switch {
	case c.Format == "csv":
		return copyAnswer(ctx, client, query, term.out)
	case c.Format == "json" || c.JSON:
		return printAnswer(ctx, client, recordsPath, query, term)
	}
	var answer struct {
		Records []callRecord `json:"records"`
		Next    string       `json:"next"`
	}
	if err := client.get(ctx, recordsPath, query, &answer); err != nil {
		return err
	}
	if len(answer.Records) == 0 {
		term.say("no records")
		return nil
	}
	rows := make([][]string, len(answer.Records))
	for i, r := range answer.Records {
		rows[i] = []string{
			r.ID, clock(r.StartedAt), r.Direction, r.Number, cmp.Or(r.User, r.UserID), r.Trunk, r.To,
			length(time.Duration(r.DurationS * float64(time.Second))), r.Cause, r.EndedBy,
		}
	}
	if err := table(term.out, []string{"ID", "STARTED", "DIRECTION", "NUMBER", "USER", "TRUNK", "TO", "TALKED", "CAUSE", "ENDED BY"}, rows); err != nil {
		return err
	}
	if answer.Next != "" {
		term.warn("there are more; narrow down by --since, --until or --user, or raise --limit")
	}
	return nil
}

// query makes the parameters of the API; ages count back from now.
func (c *recordsCmd) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	for name, text := range map[string]string{"since": c.Since, "until": c.Until} {
		if text == "" {
			continue
		}
		when, err := parseWhen(text, now)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", name, err)
		}
		q.Set(name, when.UTC().Format(time.RFC3339Nano))
	}
	if c.User != "" {
		q.Set("user", c.User)
	}
	if c.Limit < 0 {
		return nil, errors.New("--limit: write 1 or more")
	}
	if c.Limit > 0 {
		q.Set("limit", strconv.Itoa(c.Limit))
	}
	if c.Format == "csv" {
		q.Set("format", "csv")
	}
	return q, nil
}

// parseWhen reads a time, a date in the terminal's zone, or an age.
func parseWhen(text string, now time.Time) (time.Time, error) {
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a date, a time nor an age; write 2026-11-22, 2026-11-22T09:00:00Z or 24h", text)
}

// copyAnswer streams a long answer.
func copyAnswer(ctx context.Context, client *adminClient, query url.Values, out io.Writer) error {
	resp, err := client.do(ctx, http.MethodGet, recordsPath, query)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return errors.Join(fmt.Errorf("the answer broke off: %w", err), resp.Body.Close())
	}
	return resp.Body.Close()
}

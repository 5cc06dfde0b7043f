package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

type permissionsCmd struct {
	adminFlags

	Number string `required:"" placeholder:"NAME" help:"Name of the business number, as in whatsapp.numbers."`
	JSON   bool   `help:"Print JSON."`

	Show    permissionsShowCmd    `cmd:"" default:"withargs" help:"Show whether a customer may be called, and asked (the default)."`
	Request permissionsRequestCmd `cmd:"" help:"Ask a customer for the permission to call."`
}

type permissionsShowCmd struct {
	User string `arg:"" help:"The customer: number with its country code, or business-scoped id."`
}

type permissionsRequestCmd struct {
	User string `arg:"" help:"The customer: number with its country code, or business-scoped id."`
}

// permission is what a customer allows, as the API shows it.
type permission struct {
	State         string     `json:"state"`
	GrantedAt     *time.Time `json:"granted_at"`
	UsableUntil   *time.Time `json:"usable_until"`
	MetaExpiresAt *time.Time `json:"meta_expires_at"`
	Requests24h   int        `json:"requests_24h"`
	Requests7d    int        `json:"requests_7d"`
	NextRequestAt *time.Time `json:"next_request_at"`
	Unanswered    int        `json:"unanswered"`
}

func permissionPath(number, user string) string {
	return "/api/v1/permissions/" + url.PathEscape(number) + "/" + url.PathEscape(user)
}

// Run shows the permission.
func (c *permissionsShowCmd) Run(ctx context.Context, parent *permissionsCmd, term terminal) error {
	return parent.ask(ctx, http.MethodGet, permissionPath(parent.Number, c.User), c.User, term)
}

// Run asks the customer, and shows the permission after it.
func (c *permissionsRequestCmd) Run(ctx context.Context, parent *permissionsCmd, term terminal) error {
	if err := parent.ask(ctx, http.MethodPost, permissionPath(parent.Number, c.User)+"/request", c.User, term); err != nil {
		return err
	}
	if !parent.JSON {
		term.say("the customer was asked; wagate permissions show tells the answer once there is one")
	}
	return nil
}

// ask sends one request and prints the permission that answers it.
func (c *permissionsCmd) ask(ctx context.Context, method, path, user string, term terminal) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	done := term.waiting("waiting for Meta's answer")
	resp, err := client.do(ctx, method, path, nil)
	done()
	if err != nil {
		return err
	}
	text, err := readAnswer(resp)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(term.out, text)
	}
	var p permission
	if err := json.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return table(term.out, []string{"user", user}, p.rows(c.Number))
}

func (p permission) rows(number string) [][]string {
	ends := func(t *time.Time) string {
		if t == nil && p.State == "permanent" {
			return "no end"
		}
		return clock(t)
	}
	return [][]string{
		{"number", number},
		{"permission", cmp.Or(p.State, "unknown")},
		{"granted", clock(p.GrantedAt)},
		{"usable until", ends(p.UsableUntil)},
		{"ends at Meta", ends(p.MetaExpiresAt)},
		{"asked", fmt.Sprintf("%d in 24 h, %d in 7 days", p.Requests24h, p.Requests7d)},
		{"may be asked", clock(p.NextRequestAt)},
		{"unanswered calls", strconv.Itoa(p.Unanswered)},
	}
}

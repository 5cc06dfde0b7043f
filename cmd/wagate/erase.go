package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

type recordsEraseCmd struct {
	Yes bool `short:"y" help:"At a terminal, do not ask whether it is meant."`
}

// erased is what the gateway forgot.
type erased struct {
	Records     int  `json:"records"`
	Traces      int  `json:"traces"`
	Events      int  `json:"events"`
	Permissions int  `json:"permissions"`
	Identities  int  `json:"identities"`
	Limits      int  `json:"limits"`
	Clean       bool `json:"clean"`
}

// eraseLimit is longer than the gateway takes at most.
const eraseLimit = 90 * time.Second

// Run forgets a customer.
func (e *recordsEraseCmd) Run(ctx context.Context, c *recordsCmd, term terminal) error {
	switch {
	case c.User == "":
		return usageError{errors.New("name the customer by --user: a number with its country code, or a business-scoped id")}
	case c.Since != "" || c.Until != "" || c.Limit != 0:
		return usageError{errors.New("a customer is erased whole: leave out --since, --until and --limit")}
	case c.Format == "csv":
		return usageError{errors.New("--format: what was erased is told as table or json")}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if !e.Yes && term.in != nil && !term.confirm(fmt.Sprintf("Forget %s for good? Records of calls stay, without the customer.", clean(c.User))) {
		return errors.New("nothing is erased")
	}
	ctx, cancel := context.WithTimeout(ctx, eraseLimit)
	defer cancel()
	done := term.waiting("still erasing")
	resp, err := client.do(ctx, http.MethodDelete, recordsPath, url.Values{"user": {c.User}})
	done()
	if err != nil {
		return err
	}
	text, err := readAnswer(resp)
	if err != nil {
		return err
	}
	var gone erased
	if err := json.Unmarshal(text, &gone); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if !gone.Clean {
		term.warn("traces may be left in the files of the store; the gateway's log says why and what to do")
	}
	if c.JSON || c.Format == "json" {
		return writeJSON(term.out, text)
	}
	return table(term.out, []string{"ERASED FROM", "ROWS"}, [][]string{
		{"records of calls", strconv.Itoa(gone.Records)},
		{"traces of calls", strconv.Itoa(gone.Traces)},
		{"journal of webhooks", strconv.Itoa(gone.Events)},
		{"permissions", strconv.Itoa(gone.Permissions)},
		{"pairs of number and id", strconv.Itoa(gone.Identities)},
		{"kept for Meta's limits, without the customer", strconv.Itoa(gone.Limits)},
	})
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

type callsDialCmd struct {
	Number string `required:"" placeholder:"NAME" help:"Name of the business number that calls, as in whatsapp.numbers."`
	Trunk  string `required:"" placeholder:"NAME" help:"Name of the trunk where the agent's phone is."`
	Agent  string `required:"" placeholder:"EXTENSION" help:"What is dialled there: the agent's extension."`
	To     string `arg:"" help:"The customer: number with its country code, or business-scoped id."`
}

// Run places the call, and shows it as it stands then.
func (c *callsDialCmd) Run(ctx context.Context, parent *callsCmd, term terminal) error {
	client, err := parent.client()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	body, err := json.Marshal(map[string]string{"number": c.Number, "to": c.To, "trunk": c.Trunk, "agent": c.Agent})
	if err != nil {
		return err
	}
	waiting := time.AfterFunc(patience, func() { term.warn("waiting for Meta's answer…") })
	resp, err := client.send(ctx, http.MethodPost, callsPath, nil, bytes.NewReader(body))
	waiting.Stop()
	if err != nil {
		return err
	}
	var text json.RawMessage
	if err := errors.Join(json.NewDecoder(resp.Body).Decode(&text), resp.Body.Close()); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if parent.JSON {
		return writeJSON(term.out, text)
	}
	var call liveCall
	if err := json.Unmarshal(text, &call); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return call.print(term)
}

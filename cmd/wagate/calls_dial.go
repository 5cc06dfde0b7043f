package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
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
	done := term.waiting("waiting for Meta's answer")
	resp, err := client.send(ctx, http.MethodPost, callsPath, nil, bytes.NewReader(body))
	done()
	if err != nil {
		return err
	}
	text, err := readAnswer(resp)
	if err != nil {
		return err
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

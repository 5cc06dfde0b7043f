package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

type callsCmd struct {
	adminFlags

	JSON bool `help:"Print JSON."`

	List   callsListCmd   `cmd:"" default:"withargs" help:"List live calls (the default)."`
	Show   callsShowCmd   `cmd:"" help:"Show one live call, or what was said in one."`
	Hangup callsHangupCmd `cmd:"" help:"Hang up a call."`
	Dial   callsDialCmd   `cmd:"" help:"Ring an agent's phone at the PBX, and then a customer."`
}

type callsListCmd struct{}

type callsShowCmd struct {
	ID       string `arg:"" help:"Id of the call, from the list or a record."`
	Trace    bool   `help:"Print the SIP and Graph messages of the call, which may have ended. Keys and tokens are cut out."`
	Messages bool   `help:"The same, and each message in full below the ladder."`
}

type callsHangupCmd struct {
	ID string `arg:"" help:"Id of the call, from the list."`
}

// liveCall is a call as the API shows it.
type liveCall struct {
	ID         string     `json:"id"`
	Direction  string     `json:"direction"`
	Phase      string     `json:"phase"`
	Number     string     `json:"number"`
	User       string     `json:"user"`
	UserID     string     `json:"user_id"`
	Trunk      string     `json:"trunk"`
	To         string     `json:"to"`
	StartedAt  *time.Time `json:"started_at"`
	AnsweredAt *time.Time `json:"answered_at"`
	WACID      string     `json:"wacid"`
	Media      struct {
		WhatsApp *liveSide `json:"whatsapp"`
		SIP      *liveSide `json:"sip"`
	} `json:"media"`
}

type liveSide struct {
	Codec       string  `json:"codec"`
	Packets     int64   `json:"packets"`
	PacketsSent int64   `json:"packets_sent"`
	Lost        int64   `json:"lost"`
	JitterMS    float64 `json:"jitter_ms"`
	RTTMS       float64 `json:"rtt_ms"`
	MOS         float64 `json:"mos"`
}

const callsPath = "/api/v1/calls"

// Run lists the calls.
func (*callsListCmd) Run(ctx context.Context, parent *callsCmd, term terminal) error {
	client, err := parent.client()
	if err != nil {
		return err
	}
	defer term.waiting("waiting for the gateway")()
	if parent.JSON {
		return printAnswer(ctx, client, callsPath, nil, term)
	}
	var answer struct {
		Calls []liveCall `json:"calls"`
	}
	if err := client.get(ctx, callsPath, nil, &answer); err != nil {
		return err
	}
	if len(answer.Calls) == 0 {
		term.say("no calls")
		return nil
	}
	rows := make([][]string, len(answer.Calls))
	for i, call := range answer.Calls {
		rows[i] = []string{
			call.ID, call.Direction, call.Phase, call.Number, cmp.Or(call.User, call.UserID), call.Trunk, call.To, clock(call.StartedAt), talked(call),
		}
	}
	return table(term.out, []string{"ID", "DIRECTION", "PHASE", "NUMBER", "USER", "TRUNK", "TO", "STARTED", "TALKED"}, rows)
}

func talked(c liveCall) string {
	if c.AnsweredAt == nil {
		return ""
	}
	return length(time.Since(*c.AnsweredAt))
}

// Run shows a call.
func (c *callsShowCmd) Run(ctx context.Context, parent *callsCmd, term terminal) error {
	client, err := parent.client()
	if err != nil {
		return err
	}
	defer term.waiting("waiting for the gateway")()
	if c.Trace || c.Messages {
		return c.trace(ctx, parent, client, term)
	}
	path := callsPath + "/" + url.PathEscape(c.ID)
	if parent.JSON {
		return printAnswer(ctx, client, path, nil, term)
	}
	var call liveCall
	if err := client.get(ctx, path, nil, &call); err != nil {
		return err
	}
	return call.print(term)
}

func (call liveCall) print(term terminal) error {
	rows := [][]string{
		{"direction", call.Direction},
		{"phase", call.Phase},
		{"number", call.Number},
		{"user", cmp.Or(call.User, call.UserID)},
		{"trunk", call.Trunk},
		{"to", call.To},
		{"started", clock(call.StartedAt)},
		{"answered", clock(call.AnsweredAt)},
		{"talked", talked(call)},
		{"wacid", call.WACID},
		{"whatsapp", side(call.Media.WhatsApp)},
		{"sip", side(call.Media.SIP)},
	}
	return table(term.out, []string{"id", call.ID}, rows)
}

func side(s *liveSide) string {
	if s == nil {
		return ""
	}
	return fmt.Sprintf("%s, received %d, sent %d, lost %d, jitter %.1f ms, round trip %.0f ms, quality %.1f",
		cmp.Or(s.Codec, "no codec yet"), s.Packets, s.PacketsSent, s.Lost, s.JitterMS, s.RTTMS, s.MOS)
}

// Run hangs up a call.
func (c *callsHangupCmd) Run(ctx context.Context, parent *callsCmd, term terminal) error {
	client, err := parent.client()
	if err != nil {
		return err
	}
	defer term.waiting("waiting for the gateway")()
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	resp, err := client.do(ctx, http.MethodDelete, callsPath+"/"+url.PathEscape(c.ID), nil)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if parent.JSON {
		return writeJSON(term.out, map[string]string{"id": c.ID})
	}
	term.say("%s is being hung up", clean(c.ID))
	return nil
}

// printAnswer prints what the API says, indented.
func printAnswer(ctx context.Context, client *adminClient, path string, query url.Values, term terminal) error {
	var answer json.RawMessage
	if err := client.get(ctx, path, query, &answer); err != nil {
		return err
	}
	return writeJSON(term.out, answer)
}

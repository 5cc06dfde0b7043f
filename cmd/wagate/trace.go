package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// callTrace is a trace as the API shows it.
type callTrace struct {
	Call    string      `json:"call"`
	Dropped int         `json:"dropped"`
	Lines   []traceLine `json:"lines"`
}

type traceLine struct {
	At     time.Time  `json:"at"`
	With   string     `json:"with"`
	Sent   bool       `json:"sent"`
	What   string     `json:"what"`
	Method string     `json:"method"`
	Peer   string     `json:"peer"`
	TookMS int64      `json:"took_ms"`
	Again  int        `json:"again"`
	LastAt *time.Time `json:"last_at"`
	Text   string     `json:"text"`
}

// trace prints the ladder of a call that is up or was, and with messages what
// each of them said.
func (c *callsShowCmd) trace(ctx context.Context, parent *callsCmd, client *adminClient, term terminal) error {
	path := callsPath + "/" + url.PathEscape(c.ID) + "/trace"
	if parent.JSON {
		return printAnswer(ctx, client, path, nil, term)
	}
	var trace callTrace
	if err := client.get(ctx, path, nil, &trace); err != nil {
		return err
	}
	if len(trace.Lines) == 0 {
		term.say("nothing has been said yet")
		return nil
	}
	begin := trace.Lines[0].At.Local().Format("2006-01-02 15:04:05.000 -0700")
	term.say("call %s, 0 ms is %s", clean(trace.Call), begin)
	rungs := make([]rung, len(trace.Lines))
	peer := ""
	for i, line := range trace.Lines {
		rungs[i] = line.rung(peer)
		if line.Peer != "" {
			peer = line.Peer
		}
	}
	term.ladder(rungs)
	if trace.Dropped > 0 {
		term.say("%d messages from the middle are not kept", trace.Dropped)
	}
	if c.Messages {
		for _, line := range trace.Lines {
			term.say("\n%s", line.message())
		}
	}
	return nil
}

// rung draws a line. The PBX's address is shown where it is another than before.
func (l traceLine) rung(before string) rung {
	text := clean(l.What)
	if l.Method != "" && l.Method != "INVITE" {
		text += " (" + clean(l.Method) + ")"
	}
	text = firstRunes(text, ladderArm-4)
	switch l.With {
	case "graph":
		text = arrow(text, false)
		if l.TookMS > 0 {
			text += fmt.Sprintf("   took %d ms", l.TookMS)
		}
	case "webhook":
		text = arrow("webhook "+text, true)
	default:
		text = pbxArrow(text, l.Sent)
		if l.Peer != before {
			text += "  " + clean(l.Peer)
		}
	}
	if l.Again > 0 {
		text += fmt.Sprintf("  %d more", l.Again)
		if l.LastAt != nil {
			text += fmt.Sprintf(" until +%d ms", l.LastAt.Sub(l.At).Milliseconds())
		}
	}
	return rung{l.At, text}
}

// firstRunes is a text that fits on its side of the ladder.
func firstRunes(text string, most int) string {
	if all := []rune(text); len(all) > most {
		return string(all[:most-1]) + "…"
	}
	return text
}

// message is what was said, each line of it made safe for a terminal.
func (l traceLine) message() string {
	way := "from"
	if l.Sent {
		way = "to"
	}
	whom := map[string]string{"graph": "Meta", "webhook": "Meta"}[l.With]
	if whom == "" {
		whom = "the PBX, " + clean(l.Peer)
	}
	lines := []string{fmt.Sprintf("%s  %s %s", l.At.Local().Format("15:04:05.000"), way, whom)}
	for line := range strings.SplitSeq(l.Text, "\n") {
		lines = append(lines, "  "+clean(line))
	}
	return strings.Join(lines, "\n")
}

package gateway

import (
	"context"
	"log/slog"
	"net/url"

	"wagate/config"
)

// Verdict says how a check of the way to Meta and the PBX ended.
type Verdict string

// The verdicts of a Finding.
const (
	VerdictOK      Verdict = "ok"
	VerdictWarning Verdict = "warning" // works, or could not be told
	VerdictFailed  Verdict = "failed"
)

// Finding is what one live check found.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	What    string  `json:"what"`   // what was checked
	Detail  string  `json:"detail"` // what was seen
	Hint    string  `json:"hint"`   // what to do; empty when ok
}

func fine(what, detail string) Finding {
	return Finding{Verdict: VerdictOK, What: what, Detail: detail}
}

func doubtful(what, detail, hint string) Finding {
	return Finding{Verdict: VerdictWarning, What: what, Detail: detail, Hint: hint}
}

func failed(what, detail, hint string) Finding {
	return Finding{Verdict: VerdictFailed, What: what, Detail: detail, Hint: hint}
}

// CheckLive proves the way that calls will take, without a call: names, the
// Graph API with each number's token, the clock, our certificates, each trunk by
// OPTIONS, and the local ports. It reports each finding as soon as it is known
// and returns when ctx ends or all is checked.
func CheckLive(ctx context.Context, cfg *config.Config, report func(Finding)) {
	l := &live{cfg: cfg, report: report, log: slog.New(slog.DiscardHandler)}
	if u, err := url.Parse(cfg.WhatsApp.GraphURL); err == nil {
		l.name(ctx, "graph name", u.Hostname())
		l.graph(ctx, u)
	}
	l.numbers(ctx)
	l.webhookCertificate()
	l.sipCertificates()
	l.trunks(ctx)
	l.ports(ctx)
}

// live is one run of the live checks.
type live struct {
	cfg    *config.Config
	report func(Finding)
	log    *slog.Logger
}

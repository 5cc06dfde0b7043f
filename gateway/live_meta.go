package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"wagate/whatsapp"
)

const (
	lookupLimit = 5 * time.Second
	graphLimit  = 10 * time.Second
	// What the clock may be off. Meta's Date has whole seconds.
	clockWarning = 2 * time.Second
	clockFailure = 30 * time.Second
)

// name resolves a host name; an address needs none.
func (l *live) name(ctx context.Context, what, host string) {
	if _, err := netip.ParseAddr(host); err == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		l.report(failed(what, err.Error(), "check the name and this machine's DNS servers"))
		return
	}
	l.report(fine(what, host+" is "+strings.Join(addrs, ", ")))
}

// graph asks the Graph API for anything at all: TLS and the clock.
func (l *live) graph(ctx context.Context, u *url.URL) {
	ctx, cancel := context.WithTimeout(ctx, graphLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), http.NoBody)
	if err != nil {
		l.report(failed("graph api", err.Error(), "correct whatsapp.graph_url"))
		return
	}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	sent := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		l.report(failed("graph api", err.Error(), "let this machine open connections to "+u.Host))
		return
	}
	if err := resp.Body.Close(); err != nil {
		l.report(doubtful("graph api", err.Error(), "try again"))
		return
	}
	detail := u.Scheme + " answered"
	if resp.TLS != nil {
		detail = tls.VersionName(resp.TLS.Version) + " answered"
	}
	l.report(fine("graph api", detail))
	l.clock(resp.Header.Get("Date"), sent, time.Now())
}

// clock compares ours with Meta's: ages of events are reckoned with both.
func (l *live) clock(date string, sent, received time.Time) {
	meta, err := http.ParseTime(date)
	if err != nil {
		l.report(doubtful("clock", "the answer has no date to compare with", "see that time synchronisation runs (timedatectl)"))
		return
	}
	const hint = "run time synchronisation (timedatectl set-ntp true)"
	// Meta's clock read between sent and received, cut to a whole second.
	off := max(sent.Sub(meta.Add(time.Second)), meta.Sub(received), 0).Round(time.Millisecond)
	switch {
	case off > clockFailure:
		l.report(failed("clock", fmt.Sprintf("differs from Meta's by %v", off), hint))
	case off > clockWarning:
		l.report(doubtful("clock", fmt.Sprintf("differs from Meta's by %v", off), hint))
	default:
		l.report(fine("clock", "agrees with Meta's"))
	}
}

// numbers asks Meta for each number with its token. Whether webhooks are
// subscribed cannot be asked with a number's token.
func (l *live) numbers(ctx context.Context) {
	metrics := whatsapp.NewMetrics(nil)
	for _, n := range l.cfg.WhatsApp.Numbers {
		client := whatsapp.NewClient(l.cfg.WhatsApp, n, metrics, l.log)
		err := client.PhoneNumber(ctx)
		client.Close()
		what := "number " + n.Name
		var refused *whatsapp.APIError
		switch {
		case err == nil:
			l.report(fine(what, "Meta knows it and takes the token"))
		case errors.As(err, &refused) && refused.Code == 190:
			l.report(failed(what, "Meta refuses the token", "make a new access token of a system user and put it into whatsapp.numbers access_token"))
		case errors.As(err, &refused):
			l.report(failed(what, refused.Error(), "check phone_number_id, and that the token's user may use this number"))
		default:
			l.report(failed(what, err.Error(), "check the way to "+l.cfg.WhatsApp.GraphURL))
		}
	}
	l.report(doubtful("webhook subscription", "cannot be asked with a number's token",
		"see in the app's WhatsApp configuration that the fields calls and messages are subscribed, and call the number"))
}

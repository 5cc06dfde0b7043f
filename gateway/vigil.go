package gateway

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"wagate/config"
)

const (
	// tokenPoll is how often the files of access tokens are read.
	tokenPoll = 2 * time.Second
	// numberPoll is how often Meta is asked for a number, so that a token that
	// ended, or a clock that ran off, is known before the next call.
	numberPoll = 5 * time.Minute
	// barredPoll is the same while Meta takes no token of it.
	barredPoll = 30 * time.Second
)

// vigil is what watchNumbers remembers of a number.
type vigil struct {
	asked  time.Time
	asking chan struct{} // closed when the answer is there; nil: never asked
	fault  string        // of its token's file, as it was said last
}

// watchNumbers takes new access tokens from their files, and sees whether Meta
// takes them.
func (g *Gateway) watchNumbers(ctx context.Context) {
	tick := time.NewTicker(tokenPoll)
	defer tick.Stop()
	known := map[string]*vigil{}
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		cfg := g.current.Load().cfg
		for _, n := range cfg.WhatsApp.Numbers {
			v := known[n.Name]
			if v == nil {
				v = &vigil{asked: began}
				known[n.Name] = v
			}
			every := numberPoll
			if g.outages.barred(n.Name) {
				every = barredPoll
			}
			if g.renewed(cfg, n, v) || time.Since(v.asked) >= every {
				g.askNumber(ctx, n.Name, v)
			}
		}
	}
}

// renewed takes the token of a number from its file. It reports whether that is
// another one.
func (g *Gateway) renewed(cfg *config.Config, n config.Number, v *vigil) bool {
	file := cfg.TokenFile(n.Name)
	if file == "" {
		return false
	}
	token, err := config.ReadSecret(file)
	if err != nil {
		if text := err.Error(); v.fault != text {
			v.fault = text
			g.log.Warn("access token cannot be read again, the old one stays", slog.String("number", n.Name), slog.Any("error", err))
		}
		return false
	}
	v.fault = ""
	if token == n.AccessToken {
		return false
	}
	g.renew(n.Name, token)
	g.log.Info("access token changed", slog.String("number", n.Name))
	return true
}

// renew gives a number another access token, and changes nothing else. What was
// read of the configuration's other files stays, and no reload is counted.
func (g *Gateway) renew(number string, token config.Secret) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	next := *g.current.Load()
	cfg, env := *next.cfg, *next.env
	cfg.WhatsApp.Numbers = slices.Clone(cfg.WhatsApp.Numbers)
	for i := range cfg.WhatsApp.Numbers {
		if cfg.WhatsApp.Numbers[i].Name == number {
			cfg.WhatsApp.Numbers[i].AccessToken = token
			next.clients[number].Renew(token) // for the calls that are up, too
		}
	}
	env.cfg, env.cut = &cfg, newCutter(&cfg)
	next.cfg, next.env = &cfg, &env
	g.current.Store(&next)
}

// askNumber asks Meta for a number, beside everything else. What comes of it is
// noted as of every request.
func (g *Gateway) askNumber(ctx context.Context, number string, v *vigil) {
	if v.asking != nil {
		select {
		case <-v.asking:
		default:
			return // still
		}
	}
	client := g.current.Load().clients[number]
	if client == nil {
		return
	}
	done := make(chan struct{})
	v.asked, v.asking = time.Now(), done
	g.beside(func() {
		defer close(done)
		if err := client.PhoneNumber(ctx); err != nil && ctx.Err() == nil {
			g.log.Warn("whatsapp does not answer for the number", slog.String("number", number), slog.Any("error", err))
		}
	})
}

package faketrunk

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// Registration is how a Trunk, as a desk phone, makes itself known to a PBX.
type Registration struct {
	Registrar string // a sip URI
	User      string // default Options.User; also of the digest
	Password  string
	Expires   time.Duration // default an hour
}

// Register registers the Trunk once and returns when the PBX has taken it. It
// is not refreshed.
func (t *Trunk) Register(ctx context.Context, g Registration) error {
	if g.User == "" {
		g.User = t.opts.User
	}
	if g.Expires == 0 {
		g.Expires = time.Hour
	}
	r, err := t.routeTo(ctx, g.Registrar, route{})
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	host, _ := hostOf(g.Registrar)
	me := fmt.Sprintf("<sip:%s@%s>", g.User, host)
	id, tag := rand.Text()+"@"+t.addr.Addr().String(), rand.Text()
	var credentials []Header
	for try := 1; ; try++ {
		branch := "z9hG4bK" + rand.Text()
		raw := text("REGISTER "+g.Registrar+" SIP/2.0", append([]Header{
			{"Via", fmt.Sprintf("SIP/2.0/%s %v;branch=%s;rport", strings.ToUpper(r.transport()), t.addr, branch)},
			{"Max-Forwards", "70"},
			{"From", me + ";tag=" + tag},
			{"To", me},
			{"Call-ID", id},
			{"CSeq", fmt.Sprintf("%d REGISTER", try)},
			{"Contact", fmt.Sprintf("<sip:%s@%v;transport=%s>", t.opts.User, t.addr, r.transport())},
			{"Expires", fmt.Sprint(int(g.Expires.Seconds()))},
		}, credentials...), nil)
		res, err := t.transact(ctx, "REGISTER", branch, raw, r, nil)
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
		switch {
		case res.Status == 200:
			return nil
		case res.Status != 401 || try > 1:
			return fmt.Errorf("register: %d %s", res.Status, res.Phrase)
		}
		answer, err := authorize(res, "REGISTER", g.Registrar, g.User, g.Password)
		if err != nil {
			return fmt.Errorf("register: %w", err)
		}
		credentials = []Header{answer}
	}
}

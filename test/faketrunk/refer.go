package faketrunk

import (
	"context"
	"fmt"
	"net/url"
)

// Refer asks the other side to call the target; with another call of the phone
// that is up, in its place (RFC 3891): an attended transfer. It returns when the
// other side has told what became of it, RFC 3515 section 2.4.5; the call itself
// goes on.
func (c *Call) Refer(ctx context.Context, instead *Call, target string) error {
	to := "<" + target + ">"
	if instead != nil {
		to = "<" + target + "?Replaces=" + url.QueryEscape(instead.Replaces()) + ">"
	}
	c.t.mu.Lock()
	by := uriOf(c.local)
	c.referred = 0 // of a REFER before
	headers := []Header{c.contact(), {"Refer-To", to}, {"Referred-By", "<" + by + ">"}}
	c.t.mu.Unlock()
	res, err := c.Request(ctx, "REFER", headers, nil)
	if err != nil {
		return err
	}
	if res.Status != 202 {
		return fmt.Errorf("REFER: %d %s", res.Status, res.Phrase)
	}
	status := 0
	err = c.t.wait(ctx, func() bool {
		status = c.referred
		return status >= 200 || c.reached[Ended]
	})
	if err == nil && status != 200 {
		err = fmt.Errorf("%w: it told %d", ErrOver, status)
	}
	if err != nil {
		return fmt.Errorf("wait for what became of the REFER: %w", err)
	}
	return nil
}

// Replaces names the call for the other side, as a Replaces header does (RFC
// 3891).
func (c *Call) Replaces() string {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	return c.id + ";to-tag=" + param(c.remote, "tag") + ";from-tag=" + c.tag
}

// progress notes what a NOTIFY tells of our REFER, RFC 3420. The caller holds
// t.mu.
func (c *Call) progress(m *Message) {
	var phrase string
	if _, err := fmt.Sscanf(string(m.Body), "SIP/2.0 %d %s", &c.referred, &phrase); err != nil {
		c.t.faultLocked("the NOTIFY of call %s tells %q", c.id, m.Body)
	}
	c.t.stir()
}

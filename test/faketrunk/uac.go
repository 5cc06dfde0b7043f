package faketrunk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// ErrTimeout says that nobody answered a request.
var ErrTimeout = errors.New("no response")

// Outgoing is a call that a desk phone places.
type Outgoing struct {
	To       string   // the Request-URI
	Via      string   // the URI of the next hop; default To
	From     string   // the caller's user part; default Options.User
	Name     string   // the caller's display name
	Headers  []Header // besides the usual ones
	User     string   // for a digest challenge
	Password string
	NoOffer  bool   // the INVITE has no session description: the offer is in the 200, the answer in the ACK
	Script   Script // of it the parts after the answer, and the media
}

var typeSDP = Header{"Content-Type", "application/sdp"}

// Dial places a call and returns when the INVITE has left; Call.Wait tells what
// became of it.
func (t *Trunk) Dial(ctx context.Context, o Outgoing) (*Call, error) {
	if o.Via == "" {
		o.Via = o.To
	}
	if o.From == "" {
		o.From = t.opts.User
	}
	r, err := t.routeTo(ctx, o.Via, route{})
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	c := t.newCall(rand.Text()+"@"+t.addr.Addr().String(), o.Script, true)
	var sdp []byte
	if !o.NoOffer {
		if sdp, err = c.audio.offer(SendRecv); err != nil {
			return nil, fmt.Errorf("dial: %w", err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.audio.close()
		return nil, fmt.Errorf("dial: %w", net.ErrClosed)
	}
	c.via, c.tag, c.target, c.cseq = r, rand.Text(), o.To, 1
	name := ""
	if o.Name != "" {
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(o.Name) + `" `
	}
	host := t.addr.Addr().String()
	if t.addr.Addr().Is6() {
		host = "[" + host + "]"
	}
	c.local = fmt.Sprintf("%s<sip:%s@%s>;tag=%s", name, o.From, host, c.tag)
	c.remote = "<" + o.To + ">"
	headers := append([]Header{c.contact(), {"Allow", allow}}, o.Headers...)
	if len(sdp) > 0 {
		headers = append(headers, typeSDP)
	}
	branch, raw := c.request("INVITE", c.cseq, headers, sdp)
	m, err := parse(raw)
	if err != nil {
		c.audio.close()
		return nil, fmt.Errorf("dial: %w", err)
	}
	m.In, c.invite = false, m
	t.add(c)
	t.goLocked(func() { c.dial(o, branch, raw, headers, sdp) })
	return c, nil
}

// dial carries the INVITE to its final response, over one challenge.
func (c *Call) dial(o Outgoing, branch string, raw []byte, headers []Header, sdp []byte) {
	for try := 0; ; try++ {
		res, err := c.t.transact(c.t.ctx, "INVITE", branch, raw, c.via, c.provisional)
		if err != nil {
			c.t.mu.Lock()
			c.settle(408)
			c.end()
			c.t.mu.Unlock()
			return
		}
		if (res.Status != 401 && res.Status != 407) || try > 0 || o.User == "" {
			c.finalResponse(res, branch)
			return
		}
		c.t.mu.Lock()
		c.ackRefusal(res, branch)
		credentials, err := authorize(res, "INVITE", o.To, o.User, o.Password)
		if err != nil {
			c.settle(res.Status)
			c.end()
			c.t.mu.Unlock()
			return
		}
		c.cseq++
		branch, raw = c.request("INVITE", c.cseq, append([]Header{credentials}, headers...), sdp)
		if m, err := parse(raw); err == nil {
			m.In, c.invite = false, m
		}
		c.t.mu.Unlock()
	}
}

func (c *Call) provisional(m *Message) {
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.rings++
	if m.Status == 180 || m.Status == 183 {
		c.reach(Rung)
	}
	if len(m.Body) > 0 && c.audio.accept(m.Body) == nil {
		c.audio.start()
	}
	c.t.stir()
}

func (c *Call) finalResponse(res *Message, branch string) {
	if res.Status < 300 {
		c.success(res)
		return
	}
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.ackRefusal(res, branch)
	c.reason = res.Get("Reason")
	c.settle(res.Status)
	c.acknowledge()
}

func (c *Call) success(res *Message) {
	c.t.mu.Lock()
	c.remote = res.Get("To")
	c.target = uriOf(res.Get("Contact"))
	rr := res.All("Record-Route")
	for i := len(rr) - 1; i >= 0; i-- {
		c.routes = append(c.routes, rr[i])
	}
	c.inviteCSeq = c.cseq
	next, via := c.next(), c.via
	c.t.mu.Unlock()
	r, err := c.t.routeTo(c.t.ctx, next, via)
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	if err != nil {
		c.t.faultLocked("the answer of call %s: %v", c.id, err)
		c.end()
		return
	}
	var sdp []byte
	var headers []Header
	if len(c.invite.Body) > 0 {
		err = c.audio.accept(res.Body)
	} else if sdp, err = c.audio.answer(res.Body); err == nil {
		headers = []Header{typeSDP}
	}
	if err != nil {
		c.t.faultLocked("the answer of call %s: %v", c.id, err)
	}
	_, c.ack = c.request("ACK", c.cseq, headers, sdp)
	c.ackRoute = r
	ack, late := c.ack, time.Now().Add(c.script.LateACK)
	if c.script.LateACK == 0 {
		c.t.write(ack, r)
	} else {
		c.t.goLocked(func() {
			if c.pause(late, nil) {
				c.t.mu.Lock()
				defer c.t.mu.Unlock()
				c.t.write(ack, r)
			}
		})
	}
	c.settle(res.Status)
	c.audio.start()
	c.acknowledge()
}

// ackRefusal is the ACK inside the INVITE's transaction. The caller holds t.mu.
func (c *Call) ackRefusal(res *Message, branch string) {
	h := []Header{
		{"Via", c.viaValue(branch)},
		{"Max-Forwards", "70"},
		{"From", c.local},
		{"To", res.Get("To")},
		{"Call-ID", c.id},
		{"CSeq", fmt.Sprintf("%d ACK", c.cseq)},
	}
	c.t.write(text("ACK "+c.invite.URI+" SIP/2.0", h, nil), c.via)
}

// request builds a request of the call. The caller holds t.mu.
func (c *Call) request(method string, cseq uint32, extra []Header, body []byte) (branch string, raw []byte) {
	branch = "z9hG4bK" + rand.Text()
	h := []Header{{"Via", c.viaValue(branch)}, {"Max-Forwards", "70"}}
	for _, r := range c.routes {
		h = append(h, Header{"Route", r})
	}
	h = append(h, Header{"From", c.local}, Header{"To", c.remote}, Header{"Call-ID", c.id}, Header{"CSeq", fmt.Sprintf("%d %s", cseq, method)})
	return branch, text(method+" "+c.target+" SIP/2.0", append(h, extra...), body)
}

func (c *Call) viaValue(branch string) string {
	return fmt.Sprintf("SIP/2.0/%s %v;branch=%s;rport", strings.ToUpper(c.via.transport()), c.t.addr, branch)
}

// next is the URI of the next hop inside the dialog. The caller holds t.mu.
func (c *Call) next() string {
	if len(c.routes) > 0 {
		return uriOf(c.routes[0])
	}
	return c.target
}

// Request sends a request inside the dialog and waits for its final response.
// The 2xx of an INVITE is acknowledged, unless the script says otherwise.
func (c *Call) Request(ctx context.Context, method string, headers []Header, body []byte) (*Message, error) {
	c.t.mu.Lock()
	next, via := c.next(), c.via
	c.t.mu.Unlock()
	r, err := c.t.routeTo(ctx, next, via)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	c.t.mu.Lock()
	c.cseq++
	cseq := c.cseq
	branch, raw := c.request(method, cseq, headers, body)
	c.t.mu.Unlock()
	res, err := c.t.transact(ctx, method, branch, raw, r, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	if method == "INVITE" && (res.Status >= 300 || !c.script.NoReACK) {
		c.t.mu.Lock()
		defer c.t.mu.Unlock()
		b, ack := c.request("ACK", cseq, nil, nil)
		if res.Status >= 300 {
			ack = []byte(strings.Replace(string(ack), b, branch, 1))
		}
		c.ack, c.inviteCSeq, c.ackRoute = ack, cseq, r
		c.t.write(ack, r)
	}
	return res, nil
}

// Reinvite offers the same session with another direction and returns the final
// status. SendOnly holds the call, with the phone's sound as the music.
func (c *Call) Reinvite(ctx context.Context, direction Direction) (int, error) {
	before := c.audio.turn(direction)
	sdp, err := c.audio.offer(direction)
	if err != nil {
		return 0, fmt.Errorf("re-INVITE: %w", err)
	}
	c.t.mu.Lock()
	h := []Header{c.contact(), {"Content-Type", "application/sdp"}}
	c.t.mu.Unlock()
	res, err := c.Request(ctx, "INVITE", h, sdp)
	if err != nil {
		return 0, err
	}
	if res.Status >= 300 {
		c.audio.turn(before)
	} else {
		if err := c.audio.accept(res.Body); err != nil {
			return res.Status, fmt.Errorf("re-INVITE: %w", err)
		}
	}
	return res.Status, nil
}

// Hangup ends the call from the phone's side, however far it is: 603, CANCEL or
// BYE. It returns when the other side has confirmed; a call that is over
// already is no error.
func (c *Call) Hangup(ctx context.Context, headers ...Header) error {
	c.t.mu.Lock()
	over, final, outgoing := c.reached[Ended], c.final, c.outgoing
	c.t.mu.Unlock()
	switch {
	case over:
		return nil
	case final == 0 && !outgoing:
		if err := c.Refuse(603, headers...); err != nil {
			return err
		}
		return c.Wait(ctx, Ended)
	case final == 0:
		if err := c.cancel(ctx, headers); err != nil {
			return err
		}
		if c.Status() >= 300 {
			return c.Wait(ctx, Ended)
		}
	}
	select { // a callee sends no BYE before the ACK, RFC 3261 section 15
	case <-c.acked:
	case <-c.gone:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("hang up: %w", ctx.Err())
	}
	if len(headers) == 0 {
		headers = []Header{{"Reason", `Q.850;cause=16;text="Normal call clearing"`}}
	}
	res, err := c.Request(ctx, "BYE", headers, nil)
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	theirs := c.byThem // their BYE may have crossed ours
	c.end()
	switch {
	case err != nil && !theirs:
		return fmt.Errorf("hang up: %w", err)
	case err == nil && res.Status != 200 && !theirs:
		return fmt.Errorf("hang up: the BYE was answered with %d", res.Status)
	}
	return nil
}

// cancel sends CANCEL once there was a response, and waits for the final one.
func (c *Call) cancel(ctx context.Context, headers []Header) error {
	if err := c.t.wait(ctx, func() bool { return c.rings > 0 || c.final != 0 }); err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	c.t.mu.Lock()
	h := append([]Header{
		{"Via", c.invite.Get("Via")},
		{"Max-Forwards", "70"},
		{"From", c.local},
		{"To", c.invite.Get("To")},
		{"Call-ID", c.id},
		{"CSeq", fmt.Sprintf("%d CANCEL", c.cseq)},
	}, headers...)
	branch, raw := c.invite.branch(), text("CANCEL "+c.invite.URI+" SIP/2.0", h, nil)
	settled := c.final != 0
	c.t.mu.Unlock()
	if settled {
		return nil
	}
	res, err := c.t.transact(ctx, "CANCEL", branch, raw, c.via, nil)
	if err != nil {
		return fmt.Errorf("cancel: %w", err)
	}
	if res.Status == 481 { // whoever said 100 has forgotten it, so nothing more comes
		c.t.mu.Lock()
		defer c.t.mu.Unlock()
		c.settle(408)
		c.end()
		return nil
	}
	return c.t.wait(ctx, func() bool { return c.final != 0 })
}

// transact sends a request, again and again over UDP, until its final response.
func (t *Trunk) transact(ctx context.Context, method, branch string, raw []byte, r route, provisional func(*Message)) (*Message, error) {
	responses := make(chan *Message, 100)
	key := branch + " " + method
	t.mu.Lock()
	t.pending[key] = responses
	t.write(raw, r)
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		delete(t.pending, key)
		t.mu.Unlock()
	}()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	every := t1
	again := time.NewTimer(every)
	defer again.Stop()
	for {
		select {
		case m := <-responses:
			if m.Status >= 200 {
				return m, nil
			}
			if method == "INVITE" { // from now on the other side has time
				again.Stop()
				limit.Stop()
			}
			if provisional != nil {
				provisional(m)
			}
		case <-again.C:
			if r.tcp == nil {
				t.mu.Lock()
				t.write(raw, r)
				t.mu.Unlock()
			}
			every *= 2
			if method != "INVITE" {
				every = min(every, t2)
			}
			again.Reset(every)
		case <-limit.C:
			return nil, fmt.Errorf("%s: %w in %v", method, ErrTimeout, patience)
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.ctx.Done():
			return nil, net.ErrClosed
		}
	}
}

// onResponse hands a response to who waits for it. The caller holds t.mu.
func (t *Trunk) onResponse(m *Message) {
	n, method := m.CSeq()
	if ch := t.pending[m.branch()+" "+method]; ch != nil {
		select {
		case ch <- m:
		default: // it comes again
		}
		return
	}
	c := t.calls[m.CallID()]
	if method == "INVITE" && m.Status >= 200 && c != nil && c.ack != nil && n == c.inviteCSeq {
		t.write(c.ack, c.ackRoute) // their 2xx again: our ACK was lost
	}
}

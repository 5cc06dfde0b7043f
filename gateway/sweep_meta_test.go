package gateway

import (
	"context"
	"sync"
	"time"

	"wagate/whatsapp"
)

// sweptMeta is WhatsApp and its customers, for any number of calls. It is never
// wrong and never loses anything; it takes its time.
type sweptMeta struct {
	news func(whatsapp.Event)

	mu     sync.Mutex
	calls  map[whatsapp.CallID]*metaCall
	dialed map[string]chan *metaCall // calls to customers as they begin, by number
	faults []string
}

// metaCall is a call as Meta sees it. Meta's mutex guards it.
type metaCall struct {
	meta      whatsapp.Meta
	direction whatsapp.Direction
	user      whatsapp.User
	touched   bool      // pre_accept or accept came
	start     time.Time // both sides talk
	over      time.Time
	left      bool // it was the customer who ended it
}

var errGone = &whatsapp.APIError{Status: 400, Code: codeInvalid, Details: "call has already ended"}

func newSweptMeta(news func(whatsapp.Event)) *sweptMeta {
	return &sweptMeta{news: news, calls: map[whatsapp.CallID]*metaCall{}, dialed: map[string]chan *metaCall{}}
}

// call is a customer's call.
func (m *sweptMeta) call(user string) *metaCall {
	id := whatsapp.CallID("wacid." + user)
	c := &metaCall{
		meta:      whatsapp.Meta{Key: string(id), NumberID: "1", CallID: id, At: time.Now()},
		direction: whatsapp.UserInitiated, user: whatsapp.User{Number: user},
	}
	m.mu.Lock()
	m.calls[id] = c
	m.mu.Unlock()
	m.tell(0, whatsapp.Offer{Meta: c.meta, User: c.user, SDP: "offer"})
	return c
}

// tell sends a webhook.
func (m *sweptMeta) tell(after time.Duration, ev whatsapp.Event) {
	time.AfterFunc(after+metaWay, func() { m.news(ev) })
}

// leave is the customer's hanging up, and pickUp what it says.
func (m *sweptMeta) leave(c *metaCall) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.over.IsZero() {
		c.left = true
		m.endLocked(c)
	}
}

func (m *sweptMeta) pickUp(c *metaCall) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.over.IsZero() {
		c.start = time.Now()
		m.tell(0, whatsapp.Status{Meta: c.meta, User: c.user, State: whatsapp.Accepted})
	}
}

func (m *sweptMeta) endLocked(c *metaCall) {
	c.over = time.Now()
	end := whatsapp.Terminate{Meta: c.meta, User: c.user, Direction: c.direction, Start: c.start}
	end.Key += " end"
	if !c.start.IsZero() {
		end.End, end.Duration = c.over, c.over.Sub(c.start)
	}
	m.tell(0, end)
}

// ask carries a request to Meta and its answer back.
func (m *sweptMeta) ask(id whatsapp.CallID, effect func(c *metaCall) error) error {
	time.Sleep(metaWay)
	defer time.Sleep(metaWay)
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.calls[id]
	if c == nil || !c.over.IsZero() {
		return errGone
	}
	return effect(c)
}

func (*sweptMeta) Throttled() time.Duration { return 0 }

func (m *sweptMeta) PreAccept(_ context.Context, id whatsapp.CallID, _ string) error {
	return m.ask(id, func(c *metaCall) error { c.touched = true; return nil })
}

func (m *sweptMeta) Accept(_ context.Context, id whatsapp.CallID, _, _ string) error {
	return m.ask(id, func(c *metaCall) error {
		c.touched, c.start = true, time.Now()
		return nil
	})
}

func (m *sweptMeta) Reject(_ context.Context, id whatsapp.CallID) error {
	return m.ask(id, func(c *metaCall) error {
		if c.touched {
			m.faults = append(m.faults, "reject after pre_accept")
		}
		m.endLocked(c)
		return nil
	})
}

func (m *sweptMeta) Terminate(_ context.Context, id whatsapp.CallID) error {
	return m.ask(id, func(c *metaCall) error {
		if !c.touched {
			m.faults = append(m.faults, "terminate of a call that was not taken")
		}
		m.endLocked(c)
		return nil
	})
}

func (m *sweptMeta) Connect(_ context.Context, to whatsapp.Callee, _, tag string) (whatsapp.CallID, error) {
	time.Sleep(metaWay)
	id := whatsapp.CallID("wacid." + tag)
	c := &metaCall{
		meta:      whatsapp.Meta{Key: tag, NumberID: "1", CallID: id, Tag: tag, At: time.Now()},
		direction: whatsapp.BusinessInitiated, user: whatsapp.User{Number: to.Number}, touched: true,
	}
	m.mu.Lock()
	m.calls[id] = c
	m.mu.Unlock()
	select {
	case m.dialed[to.Number] <- c:
	default: // nobody waits for it
	}
	m.tell(10*time.Millisecond, whatsapp.Status{Meta: c.meta, User: c.user, State: whatsapp.Ringing})
	m.tell(20*time.Millisecond, whatsapp.Answer{Meta: c.meta, SDP: "answer"})
	time.Sleep(metaWay)
	return id, nil
}

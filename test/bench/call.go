package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// call is one customer and one phone.
type call struct {
	id       string
	customer *customer
	phone    *phone
	toPhone  *talk // what the customer says
	toWA     *talk // what the phone says
	setup    time.Duration
}

// newCall opens the ports of a call between Opus and the codec of the phone.
func (b *bench) newCall(id string, phone codec) (*call, error) {
	c := &call{id: id}
	newTalk := func(hears codec) (*talk, error) {
		var e *ear
		var err error
		if phone == opusCodec {
			e = newMatcher(opusCodec, b.speech)
		} else {
			e, err = newEar(hears, b.table)
		}
		return &talk{mark: b.speech.mark, sent: int64(rand.IntN(len(b.speech.mark))), ear: e}, err
	}
	var err error
	if c.toPhone, err = newTalk(phone); err != nil {
		return nil, err
	}
	if c.toWA, err = newTalk(opusCodec); err != nil {
		return nil, err
	}
	if c.customer, err = newCustomer(b.identity, c.toWA); err != nil {
		return nil, err
	}
	if c.phone, err = newPhone(phone, c.toPhone); err != nil {
		c.customer.close()
		return nil, err
	}
	return c, nil
}

// close is for a call that the talker does not know any more.
func (c *call) close() {
	_ = c.customer.shake.Close()
	c.customer.close()
	c.phone.close()
}

// subject is a gateway that is measured.
type subject interface {
	name() string
	// start runs it on its core.
	start(ctx context.Context) error
	process() *process
	// connect makes a call: when it returns, both sides know where to send.
	connect(ctx context.Context, c *call) error
	stop()
}

// connectAll makes n calls, some at a time, and has each talk from the moment
// it is up.
func (b *bench) connectAll(ctx context.Context, s subject, phone codec, n int, talker *talker) ([]*call, error) {
	calls := make([]*call, n)
	faults := make(chan error, n)
	begin := time.NewTicker(time.Second / time.Duration(b.rate))
	defer begin.Stop()
	for i := range n {
		<-begin.C
		go func() {
			c, err := b.newCall(fmt.Sprintf("wacid.BENCH%06d", i), phone)
			if err == nil {
				calls[i] = c
				talker.listen(c)
				err = b.connectOne(ctx, s, c)
			}
			if err == nil {
				talker.talk(c)
			}
			faults <- err
		}()
	}
	var first error
	for range n {
		if err := <-faults; err != nil && first == nil {
			first = err
		}
	}
	return calls, first
}

func (b *bench) connectOne(ctx context.Context, s subject, c *call) error {
	ctx, cancel := context.WithTimeout(ctx, setupPatience)
	defer cancel()
	began := time.Now()
	secured := make(chan error, 1)
	go func() { secured <- c.customer.secure(ctx) }() // a gateway may wait for it before it answers
	if err := s.connect(ctx, c); err != nil {
		cancel()
		<-secured
		return fmt.Errorf("%s: set up call %s: %w", s.name(), c.id, err)
	}
	if err := <-secured; err != nil {
		return fmt.Errorf("%s: call %s: %w", s.name(), c.id, err)
	}
	c.setup = time.Since(began)
	return nil
}

const setupPatience = 20 * time.Second

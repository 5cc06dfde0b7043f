package sip

import "sync"

// input is what a Session's goroutine is woken by. The set is closed.
type input interface{ input() }

type (
	doStart   struct{}
	doCancel  struct{ reason Reason }
	doBye     struct{ reason Reason }
	doRing    struct{}
	doEarly   struct{ sdp []byte }
	doAnswer  struct{ sdp []byte }
	doRefuse  struct{ refusal refusal }
	doAbandon struct{}
	doPress   struct{ key key }

	doTakeRefer   struct{}
	doRefuseRefer struct {
		status int
		reason Reason
	}
	doProgressed struct{ status int }

	// gotResponse is an answer to our INVITE, or the end of waiting for one.
	gotResponse struct {
		tx  *clientTx
		m   *message
		err error
	}
	// gotBye is the answer to our BYE, or the end of waiting for one.
	gotBye struct {
		m   *message
		err error
	}
	// gotAnswer is the answer to another request of ours inside the dialog, or
	// the end of waiting for one.
	gotAnswer struct {
		ask *ask
		tx  *clientTx
		m   *message
		err error
	}
	// gotRequest is a request inside the dialog; tx is nil for an ACK.
	gotRequest struct {
		m  *message
		fl flow
		tx *serverTx
	}
	// gotCancel is a CANCEL for the INVITE that opened an incoming call.
	gotCancel struct{ m *message }
	// ticked is a timer of the Session.
	ticked struct{ what tick }
)

func (doStart) input()     {}
func (doCancel) input()    {}
func (doBye) input()       {}
func (doRing) input()      {}
func (doEarly) input()     {}
func (doAnswer) input()    {}
func (doRefuse) input()    {}
func (doAbandon) input()   {}
func (doPress) input()     {}
func (gotResponse) input() {}
func (gotBye) input()      {}
func (gotAnswer) input()   {}
func (gotRequest) input()  {}
func (gotCancel) input()   {}
func (ticked) input()      {}

func (doTakeRefer) input()   {}
func (doRefuseRefer) input() {}
func (doProgressed) input()  {}
func (gotReplacing) input()  {}

// mailbox never blocks who puts and never drops. What is put after close is
// refused, so that nobody believes that it was taken.
type mailbox struct {
	mu     sync.Mutex
	queue  []input
	closed bool
	wake   chan struct{} // a token: the queue has something
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

func (b *mailbox) put(in input) bool {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.queue = append(b.queue, in)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return true
}

func (b *mailbox) take() []input {
	b.mu.Lock()
	defer b.mu.Unlock()
	queue := b.queue
	b.queue = nil
	return queue
}

// close refuses further input and returns what nobody has read.
func (b *mailbox) close() []input {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	queue := b.queue
	b.queue = nil
	return queue
}

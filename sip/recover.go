package sip

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// lostSeq is how far our CSeq moves on after a crash, past whatever requests
// the dead process may have sent.
const lostSeq = 1000

// Recover ends at the far end what a crash left behind: CANCEL for an INVITE
// that may be open, ACK and BYE for an answer that comes late, BYE for a
// dialog, and before it a refusal where the far end may still wait for an
// answer. It returns nil once the far end has confirmed that nothing is left,
// and an error when it did not within 64·T1 or ctx ended first; it may then be
// called again. It needs no Serve, but the same listeners as before the crash.
func (s *Server) Recover(ctx context.Context, state []byte, r Reason) error {
	var st durable
	if err := json.Unmarshal(state, &st); err != nil {
		return fmt.Errorf("recover call: %w", err)
	}
	if st.Version != stateVersion {
		return fmt.Errorf("recover call: saved state has version %d, not %d", st.Version, stateVersion)
	}
	t := s.trunk(st.Trunk)
	if t == nil {
		return fmt.Errorf("recover call: %w: %s", ErrUnknownTrunk, st.Trunk)
	}
	if st.Dialog == nil {
		return s.endInvite(ctx, t, st, r)
	}
	refused, err := s.refuseLost(t, st, r)
	if err != nil {
		return err
	}
	status, err := s.endDialog(ctx, t, st.Dialog, r)
	if refused != nil && err == nil && status < 300 {
		refused.fade()
	}
	return err
}

// endDialog sends BYE and returns how it was answered.
func (s *Server) endDialog(ctx context.Context, t *trunk, d *dialog, r Reason) (status int, err error) {
	d.LocalSeq += lostSeq
	bye := d.request("BYE", d.LocalSeq)
	bye.addReason(r)
	to := s.nextHop(t, d)
	done := newMailbox()
	ask := func(m *message) {
		s.request(t, m, to, newBranch(), s.tm.limit(), func(_ *clientTx, m *message, err error) bool {
			return done.put(gotBye{m, err})
		})
	}
	ask(bye)
	authorized := false
	for {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("recover call: %w", ctx.Err())
		case <-s.ctx.Done():
			return 0, ErrClosed
		case <-done.wake:
		}
		for _, in := range done.take() {
			answer, _ := in.(gotBye)
			switch {
			case answer.err != nil:
				return 0, fmt.Errorf("recover call: %w", answer.err)
			case answer.m.status < 200:
				continue
			}
			creds, _, challenged := t.authorize(answer.m, "BYE", bye.uri)
			if !challenged || authorized {
				return answer.m.status, nil
			}
			authorized = true
			d.LocalSeq++
			again := d.request("BYE", d.LocalSeq)
			again.add(creds.name, creds.value)
			again.addReason(r)
			ask(again)
		}
	}
}

// endInvite cancels every attempt that may have left, and waits: for the
// refusal that a CANCEL brings, for a late 2xx to be ended, or, where every
// CANCEL was answered and nothing follows, as long as the repeats of a 2xx
// would be apart. What comes later still is ended by the orphans.
func (s *Server) endInvite(ctx context.Context, t *trunk, st durable, r Reason) error {
	to, err := parseEndpoint(st.Proto, st.Addr)
	if err != nil {
		return fmt.Errorf("recover call: %w", err)
	}
	if !t.allows(to.addr.Addr()) {
		return fmt.Errorf("recover call: %v: %w", to, ErrForbidden)
	}
	inbox := newMailbox()
	var open []*clientTx
	for n := range min(max(st.Tries, 1), maxAttempts) {
		tx := s.newClientTx(t, st.invite(n), to, st.Branch+utoa(uint32(n)), func(tx *clientTx, m *message, err error) bool { //nolint:gosec // small
			return inbox.put(gotResponse{tx, m, err})
		})
		tx.mu.Lock()
		tx.state, tx.fl = txProceeding, s.flowTo(t, to)
		tx.mu.Unlock()
		s.cancelOr(tx, r, func(err error) { inbox.put(gotResponse{tx, nil, err}) })
		open = append(open, tx)
	}
	defer func() {
		inbox.close()
		for _, tx := range open {
			tx.lingerFor(s.tm.limit()) // an orphan from here on
		}
	}()
	limit := time.NewTimer(s.tm.limit())
	defer limit.Stop()
	quiet := time.NewTimer(s.tm.limit())
	defer quiet.Stop()
	answered := 0
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("recover call: %w", ctx.Err())
		case <-s.ctx.Done():
			return ErrClosed
		case <-limit.C:
			return fmt.Errorf("recover call: %w", ErrTimeout)
		case <-quiet.C:
			return nil
		case <-inbox.wake:
		}
		for _, in := range inbox.take() {
			answer, _ := in.(gotResponse)
			var cancelled cancelAnswered
			switch {
			case errors.As(answer.err, &cancelled):
				if answered++; answered == len(open) {
					quiet.Reset(s.tm.afterCancel)
				}
			case answer.err != nil:
				return fmt.Errorf("recover call: %w", answer.err)
			case answer.m.status < 200:
			case answer.m.status < 300:
				return s.endLate(ctx, t, answer.m, r)
			default:
				return nil
			}
		}
	}
}

// endLate acknowledges a late 2xx and hangs it up.
func (s *Server) endLate(ctx context.Context, t *trunk, m *message, r Reason) error {
	d := dialogOfAnswer(m)
	ack, to := s.ackFor(t, d, d.LocalSeq, field{})
	if t.allows(to.addr.Addr()) {
		s.flowTo(t, to).send(ack, nil)
	}
	s.firstStray(d.CallID + "|" + d.remoteTag()) // its repeats get an ACK only
	d.LocalSeq -= lostSeq - 1                    // endDialog moves on by lostSeq
	_, err := s.endDialog(ctx, t, d, r)
	return err
}

// invite is what the n-th attempt's INVITE was, as far as a CANCEL and an ACK
// need it.
func (st *durable) invite(n int) *message {
	m := &message{method: "INVITE", uri: st.URI}
	for _, r := range st.Routes {
		m.add("Route", r)
	}
	m.add("From", st.From)
	m.add("To", st.To)
	m.add("Call-ID", st.CallID)
	m.add("CSeq", utoa(st.CSeq+uint32(n))+" INVITE") //nolint:gosec // small
	return m
}

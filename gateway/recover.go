package gateway

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// recoverLimit is how long New waits for Meta to confirm the ends of an earlier
// run's calls. What is not confirmed by then goes on beside the new calls.
const recoverLimit = 4 * time.Second

const (
	// missedAudio is how long Meta waits for our audio before it ends a call.
	missedAudio = 30 * time.Second
	// lifeSign is how often the store is told that we live, while there are
	// calls.
	lifeSign = 10 * time.Second
)

// recoverCalls turns whatever an earlier run left into records and debts, and
// begins to pay these before anything listens. A crash in the middle of it
// changes nothing: the next start finds what is left.
func (g *Gateway) recoverCalls(ctx context.Context) error {
	now := time.Now()
	events, err := g.store.Undone(ctx)
	if err != nil {
		return err
	}
	if err := g.rememberDead(ctx, now, events); err != nil {
		return err
	}
	if err := g.nameStrays(ctx, now, events); err != nil {
		return err
	}
	alive, err := g.store.Pinged(ctx)
	if err != nil {
		return err
	}
	begun, err := g.store.Unfinished(ctx)
	if err != nil {
		return err
	}
	calls := make([]lostCall, len(begun))
	for i, c := range begun {
		calls[i] = lostCall{Call: c}
	}
	calls = append(calls, g.undone(ctx, now, events)...)
	for _, c := range calls {
		rec := recoveredRecord(c.Call, alive, now)
		rec.Node = g.current.Load().cfg.Node
		if err := g.store.End(ctx, rec, recoveredDebts(c.Call, now), recoveredTag(c.Call)); err != nil {
			return fmt.Errorf("call %s: %w", c.ID, err)
		}
		g.registry.bury(whatsapp.CallID(c.WACID), now, true)
		g.metrics.recovered.Inc()
		if c.offer == "" {
			continue
		}
		if err := g.store.Done(ctx, c.offer); err != nil { // with its record, it is not ended again
			return fmt.Errorf("call %s: %w", c.ID, err)
		}
	}
	if n := len(calls); n > 0 {
		g.log.Warn("calls of an earlier run are ended now", slog.Int("calls", n))
	}
	if err := g.loadStrays(ctx, now); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, recoverLimit)
	defer cancel()
	g.reaper.catchUp(limited)
	return nil
}

// lostCall is a call that a crash left: one that was begun, or no more than an
// offer, whose event is then still undone. An offer is not begun now, because a
// full disk takes no new calls.
type lostCall struct {
	store.Call
	offer string // key of that event
}

// rememberDead makes tombstones of the calls that ended lately, and of those
// that may have ended since the undone events.
func (g *Gateway) rememberDead(ctx context.Context, now time.Time, undone []store.Event) error {
	since := now.Add(-tombstoneLife)
	for _, row := range undone {
		if !row.At.IsZero() && row.At.Before(since) {
			since = row.At
		}
	}
	dead, err := g.store.Ended(ctx, since.Add(-staleAfter)) // Meta's clock and ours may differ
	if err != nil {
		return err
	}
	for _, id := range dead {
		g.registry.bury(whatsapp.CallID(id), now, true)
	}
	return nil
}

// undone goes through the webhook events whose effect is not on disk. The ledger
// of permissions hears of all of them. Offers become calls, to be ended with the
// others; ends of unknown calls become tombstones again.
func (g *Gateway) undone(ctx context.Context, now time.Time, events []store.Event) (calls []lostCall) {
	for _, row := range events {
		ev, err := whatsapp.ParseEvent(row.Body)
		if err != nil {
			g.log.Error("journaled event cannot be read", slog.String("kind", row.Kind), slog.Any("error", err))
			continue
		}
		settled := true
		switch ev := ev.(type) {
		case whatsapp.Offer:
			if g.registry.isRecorded(ev.CallID) {
				break // it ended before its intent was on disk
			}
			g.registry.bury(ev.CallID, now, true)
			calls = append(calls, lostCall{g.callOf(ev, now), row.Key})
			settled = false // its record marks it
		case whatsapp.Terminate:
			g.registry.bury(ev.CallID, now, false)
			settled = now.Sub(row.At) >= tombstoneLife // a later run needs it too
		case whatsapp.Answer, whatsapp.Status, whatsapp.PermissionReply, whatsapp.Spoke, whatsapp.MessageFailed, whatsapp.UserMoved:
		}
		if err := g.permissions.apply(ctx, ev, settled); err != nil {
			g.log.Error("permissions do not know of an event", slog.String("kind", row.Kind), slog.Any("error", err))
		}
	}
	return calls
}

func (g *Gateway) callOf(offer whatsapp.Offer, now time.Time) store.Call {
	_, number, _ := g.numberOf(offer.NumberID)
	return store.Call{
		ID: rand.Text(), Direction: inbound, Number: number.Name, NumberID: offer.NumberID,
		User: offer.User.Number, UserID: offer.User.UserID, Name: offer.User.Name,
		Payload: payloadOf(offer), WACID: string(offer.CallID), StartedAt: now,
	}
}

// recoveredRecord is the record of a call that a crash left. alive is when the
// dead process last gave a sign of life: soon after that both far ends missed
// its audio, so a call did not last until the start hours later.
func recoveredRecord(c store.Call, alive, now time.Time) store.Record {
	end := alive
	for _, t := range []time.Time{c.StartedAt, c.RingingAt, c.AnsweredAt} {
		if t.After(end) {
			end = t
		}
	}
	if end = end.Add(missedAudio); end.After(now) {
		end = now
	}
	r := store.Record{
		ID: c.ID, Direction: c.Direction, Number: c.Number, User: c.User, UserID: c.UserID, WACID: c.WACID,
		Trunk: c.Trunk, To: c.To, StartedAt: c.StartedAt, RingingAt: c.RingingAt, AnsweredAt: c.AnsweredAt, EndedAt: end,
		Cause: Internal.String(), EndedBy: "gateway", Q850: Internal.recordQ850(len(c.SIP) > 0), Route: c.Route, Payload: c.Payload, Abandoned: true,
	}
	if c.Agent != "" {
		r.Agents = []string{c.Agent}
	}
	if !c.AnsweredAt.IsZero() {
		r.DurationS = end.Sub(c.AnsweredAt).Seconds()
	}
	return r
}

// recoveredDebts are the ends that are owed to both sides.
func recoveredDebts(c store.Call, now time.Time) []store.Debt {
	var owed []store.Debt
	add := func(d store.Debt) {
		d.CallID, d.Since, d.Next, d.Expires = c.ID, now, now, now.Add(debtLife)
		owed = append(owed, d)
	}
	switch {
	case c.WACID == "":
	case c.PreAccepted || c.Direction == outbound:
		add(store.Debt{Kind: debtTerminate, Number: c.Number, WACID: c.WACID})
	default:
		add(store.Debt{Kind: debtReject, Number: c.Number, WACID: c.WACID})
	}
	for _, d := range c.SIP {
		add(store.Debt{Kind: debtDialog, State: d.State})
	}
	return owed
}

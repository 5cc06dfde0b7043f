package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// A stray is a call of ours that may live at Meta with nobody to own it: its
// connect reply was lost, or the process died over it. Whatever appears under
// its tag is ended on sight.

// straySeen takes a webhook with the tag of a stray. It reports whether that is
// on disk.
func (g *Gateway) straySeen(ev whatsapp.Event, s store.Stray) bool {
	about := ev.About()
	g.log.Warn("call at Meta that nobody owns is ended", slog.String("call", s.CallID), slog.String("number", s.Number))
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	now := time.Now()
	if _, err := g.store.Found(ctx, s.Tag, string(about.CallID), strayDebts(ev, s, now)); err != nil {
		g.log.Error("stray call cannot be written down", slog.Any("error", err))
		return false // the next event or the next run finds it
	}
	g.registry.found(s.Tag, about.CallID, now)
	if end, ok := ev.(whatsapp.Terminate); ok {
		g.amend(end)
	}
	g.reaper.poke()
	return true
}

// strayDebts is the end that is owed to a stray, unless it is over by itself.
func strayDebts(ev whatsapp.Event, s store.Stray, now time.Time) []store.Debt {
	if over(ev) {
		return nil
	}
	return []store.Debt{{
		Kind: debtTerminate, CallID: s.CallID, Number: s.Number, WACID: string(ev.About().CallID),
		Since: now, Next: now, Expires: now.Add(debtLife),
	}}
}

// over says whether a webhook tells the end of a call.
func over(ev whatsapp.Event) bool {
	_, end := ev.(whatsapp.Terminate)
	status, ok := ev.(whatsapp.Status)
	return end || ok && status.State == whatsapp.Rejected
}

// nameStrays gives the calls that an earlier run could not name the names that
// its last webhooks told, so that they are ended now and not on the next one.
func (g *Gateway) nameStrays(ctx context.Context, now time.Time, undone []store.Event) error {
	strays, err := g.nameless(ctx, now)
	if err != nil {
		return err
	}
	for _, row := range undone {
		ev, err := whatsapp.ParseEvent(row.Body)
		if err != nil {
			continue // said when the event's turn comes
		}
		s, ok := strays[ev.About().Tag]
		if !ok {
			continue
		}
		if _, err := g.store.Found(ctx, s.Tag, string(ev.About().CallID), strayDebts(ev, s, now)); err != nil {
			return fmt.Errorf("call %s: %w", s.CallID, err)
		}
		g.registry.bury(ev.About().CallID, now, true)
	}
	return nil
}

// nameless lists by tag the calls that only their tag can name: the strays, and
// those that a crash left in the middle of their connect.
func (g *Gateway) nameless(ctx context.Context, now time.Time) (map[string]store.Stray, error) {
	strays, err := g.store.Strays(ctx, now.Add(-tombstoneLife))
	if err != nil {
		return nil, err
	}
	begun, err := g.store.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	byTag := map[string]store.Stray{}
	for _, s := range strays {
		byTag[s.Tag] = s
	}
	for _, c := range begun {
		if tag := recoveredTag(c); tag != "" {
			byTag[tag] = store.Stray{Tag: tag, CallID: c.ID, Number: c.Number, Since: c.StartedAt}
		}
	}
	return byTag, nil
}

// recoveredTag is the tag of a call that a crash left and that becomes a stray:
// its connect may have been sent, and no reply named it.
func recoveredTag(c store.Call) string {
	if c.Direction != outbound || c.WACID != "" {
		return ""
	}
	return c.Tag
}

// loadStrays brings the strays of earlier runs back to mind.
func (g *Gateway) loadStrays(ctx context.Context, now time.Time) error {
	strays, err := g.store.Strays(ctx, now.Add(-tombstoneLife))
	if err != nil {
		return err
	}
	for _, s := range strays {
		g.registry.addStray(s)
	}
	return nil
}

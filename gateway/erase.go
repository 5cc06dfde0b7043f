package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"wagate/store"
	"wagate/whatsapp"
)

// eraseLimit is how long erasing may take, on a large store too.
const eraseLimit = time.Minute

// erase forgets a customer: in the store, and among what subscribers may still
// ask for. Not while a call with the customer is up: its end would write down
// again with whom it was.
func (g *Gateway) erase(ctx context.Context, user whatsapp.User) (store.Erased, error) {
	if slices.ContainsFunc(g.registry.all(), func(c *Call) bool { return sameCustomer(c.order.user, user) }) {
		return store.Erased{}, errStillCalling
	}
	// Who goes away must not leave it half done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eraseLimit)
	defer cancel()
	g.traces.flush() // so that none is written later
	var gone store.Erased
	var names []whatsapp.Callee
	err := g.permissions.flights.forget(func() (_ []whatsapp.Callee, err error) {
		gone, names, err = g.store.Erase(ctx, user.Callee())
		return names, err
	})
	switch {
	case errors.Is(err, store.ErrLive):
		return gone, errStillCalling
	case err != nil:
		g.log.Error("customer cannot be erased", slog.Any("error", err))
		return gone, &refusedError{why: refuseStoreFailed, reason: "the store cannot erase now, and nothing is erased; its log has the reason"}
	}
	var texts []string
	for _, n := range names {
		texts = append(texts, n.Number, n.UserID)
	}
	g.events.forget(texts)
	g.log.Info("customer erased", slog.Int("records", gone.Records), slog.Int("traces", gone.Traces), slog.Int("events", gone.Events),
		slog.Int("permissions", gone.Permissions), slog.Int("limits", gone.Limits), slog.Bool("clean", gone.Clean))
	return gone, nil
}

var errStillCalling = &refusedError{
	why: refuseBusy, reason: "a call with this customer is up, or not confirmed as ended yet; hang it up, or erase a minute after it",
}

func sameCustomer(a, b whatsapp.User) bool {
	number := strings.TrimPrefix(b.Number, "+")
	return b.UserID != "" && a.UserID == b.UserID || number != "" && strings.TrimPrefix(a.Number, "+") == number
}

// forget takes the notices about a customer out of what is kept. Their numbers
// stay free.
func (f *feed) forget(names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.ring {
		if slices.ContainsFunc(names, func(name string) bool {
			return name != "" && (strings.Contains(string(f.ring[i].data), fmt.Sprintf("%q", name)) || strings.Contains(string(f.ring[i].data), fmt.Sprintf("%q", "+"+name)))
		}) {
			f.ring[i] = entry{id: f.ring[i].id}
		}
	}
}

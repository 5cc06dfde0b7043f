package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
)

// traceReader shows the messages of calls, of live ones and of those that ended
// not longer ago than the journal is kept.
type traceReader interface {
	// traceOf returns nil when there is no such call, or no trace of it.
	traceOf(ctx context.Context, id string) (json.RawMessage, error)
}

// liveTraces is the traceReader of a gateway.
type liveTraces struct{ g *Gateway }

func (l liveTraces) traceOf(ctx context.Context, id string) (json.RawMessage, error) {
	if c := l.g.registry.get(id); c != nil && c.trace != nil {
		return json.Marshal(c.trace.view())
	}
	return l.g.traces.show(ctx, id)
}

func (a *admin) showTrace(w http.ResponseWriter, r *http.Request) {
	if !onlyParams(w, r) {
		return
	}
	body, err := a.deps.traces.traceOf(r.Context(), r.PathValue("id"))
	switch {
	case err != nil:
		a.deps.log.Error("trace cannot be read", slog.Any("error", err))
		fail(w, http.StatusInternalServerError, "internal", "the trace cannot be read; the gateway's log has the reason")
	case body == nil:
		fail(w, http.StatusNotFound, "not_found", "there is no trace of a call with this id; traces are kept for retention.journal, and a crash loses those of the calls that were up")
	default:
		reply(w, http.StatusOK, body)
	}
}

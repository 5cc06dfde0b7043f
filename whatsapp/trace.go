package whatsapp

import (
	"context"
	"time"
)

// Exchange is one request to the Graph API and what came of it. The access
// token is no part of it, but Meta may have repeated it in its words.
type Exchange struct {
	Sent, Done time.Time
	Action     string // of the call, or what else was asked for
	Method     string
	Path       string // with its query
	Request    []byte // JSON, or nothing
	Status     int    // 0: no answer came
	Answer     []byte
	Err        error // nil when Meta did what was asked
}

type traceKey struct{}

// Traced returns a context whose requests are told to f when they are over.
func Traced(ctx context.Context, f func(Exchange)) context.Context {
	return context.WithValue(ctx, traceKey{}, f)
}

// trace tells of a request, if anybody wants to know.
func trace(ctx context.Context, x Exchange) {
	if f, ok := ctx.Value(traceKey{}).(func(Exchange)); ok {
		f(x)
	}
}

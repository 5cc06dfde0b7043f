package gateway

import (
	"log/slog"
	"runtime/debug"
	"testing"
)

// contain runs f and keeps a fault of ours in it from ending the daemon: it is
// counted and logged, and what f was for may be lost, but nothing else. It says
// whether there was one. Under test the panic goes on.
func contain(m *metrics, log *slog.Logger, f func()) (failed bool) {
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if testing.Testing() {
			panic(fault)
		}
		failed = true
		m.panics.Inc()
		log.Error("fault of the gateway contained", slog.Any("panic", fault), slog.String("stack", string(debug.Stack())))
	}()
	f()
	return false
}

package gateway

import (
	"errors"
	"log/slog"
	"sync"

	"wagate/whatsapp"
)

// outages knows the business numbers whose calls Meta refuses one and all, for
// a fault that somebody has to mend. It calls for help once, not with every
// call.
type outages struct {
	metrics *metrics
	log     *slog.Logger

	mu    sync.Mutex
	codes map[string]int // by number
}

func newOutages(m *metrics, log *slog.Logger) *outages {
	return &outages{metrics: m, log: log, codes: map[string]int{}}
}

// note takes what Meta said of a call; nil when it took it. What is about that
// one call changes nothing.
func (o *outages) note(number string, err error) {
	code := 0
	var api *whatsapp.APIError
	if errors.As(err, &api) && standing(api.Code) {
		code = api.Code
	}
	if err != nil && code == 0 {
		return
	}
	o.mu.Lock()
	before := o.codes[number]
	o.codes[number] = code
	o.mu.Unlock()
	if before == code {
		return
	}
	if code == 0 {
		o.metrics.refused.WithLabelValues(number).Set(0)
		o.log.Info("whatsapp takes calls of the number again", slog.String("number", number))
		return
	}
	o.metrics.refused.WithLabelValues(number).Set(1)
	o.log.Error("whatsapp refuses every call of the number, mend its set-up", slog.String("number", number),
		slog.Int("code", code), slog.Any("error", err))
}

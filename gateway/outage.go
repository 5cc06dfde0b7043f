package gateway

import (
	"log/slog"
	"sync"
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

// note takes what Meta said to a request; nil when it took it. What is about
// one call changes nothing; a request that sets up none tells of the token alone.
func (o *outages) note(number string, ofCall bool, err error) {
	code := metaCode(err)
	o.mu.Lock()
	before := o.codes[number]
	switch {
	case err == nil && (ofCall || ofToken(before)):
		code = 0
	case standing(code) && (ofCall || ofToken(code)):
	default:
		code = before
	}
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

// forget drops what is known of a number that is no longer ours.
func (o *outages) forget(number string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.codes, number)
	o.metrics.refused.DeleteLabelValues(number)
}

// barred says whether Meta takes no token of the number, so that any request
// may show when it does again.
func (o *outages) barred(number string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return ofToken(o.codes[number])
}

// ofToken says whether a code is about the token, or the number itself, and so
// met by every request.
func ofToken(code int) bool { return code == codeToken || code == codeNoNumber }

package gateway

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"wagate/whatsapp"
)

// What became of a request for permission, as a label.
const (
	askSent        = "sent"
	askLimited     = "limited"     // by the limits; nothing was sent
	askNoTemplate  = "no_template" // one is needed; nothing was sent
	askRefused     = "refused"     // by Meta
	askNotSent     = "not_sent"
	askUnknown     = "unknown"     // it may have been sent
	askUndelivered = "undelivered" // Meta's word, after it was sent
	askFailed      = "failed"      // at our side, before it was sent
)

// What a reply says, as a label.
const (
	replyTemporary   = "temporary"
	replyPermanent   = "permanent"
	replyCallback    = "callback" // a temporary grant that comes with a call of the customer's
	replyDeclined    = "declined"
	replyRevoked     = "revoked"
	replyAutoRevoked = "auto_revoked"
)

// permissionMetrics are what an operator sees of permission.
type permissionMetrics struct {
	replies  map[string]prometheus.Counter
	denials  map[whatsapp.Reason]prometheus.Counter
	requests map[string]prometheus.Counter
}

func newPermissionMetrics(reg prometheus.Registerer) *permissionMetrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	replies := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_permission_replies_total", Help: "What customers, or Meta for them, said of being called.",
	}, []string{"answer"})
	denials := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_permission_denials_total", Help: "Calls that were not placed because the customer does not allow them now.",
	}, []string{"reason"})
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "wagate_permission_requests_total", Help: "Requests for permission by what became of them.",
	}, []string{"outcome"})
	reg.MustRegister(replies, denials, requests)
	m := &permissionMetrics{
		replies: map[string]prometheus.Counter{}, denials: map[whatsapp.Reason]prometheus.Counter{},
		requests: map[string]prometheus.Counter{},
	}
	for _, answer := range []string{replyTemporary, replyPermanent, replyCallback, replyDeclined, replyRevoked, replyAutoRevoked} {
		m.replies[answer] = replies.WithLabelValues(answer)
	}
	for _, reason := range whatsapp.CallReasons() {
		m.denials[reason] = denials.WithLabelValues(string(reason))
	}
	for _, outcome := range []string{
		askSent, askLimited, askNoTemplate, askRefused, askNotSent, askUnknown, askUndelivered, askFailed,
	} {
		m.requests[outcome] = requests.WithLabelValues(outcome)
	}
	return m
}

// denied counts a call that was refused.
func (m *permissionMetrics) denied(err error) {
	if no := refusal(err); no != nil {
		if c := m.denials[no.Reason]; c != nil {
			c.Inc()
		}
	}
}

func (m *permissionMetrics) replied(r whatsapp.PermissionReply) {
	answer := replyDeclined
	switch {
	case r.Accept && r.Permanent:
		answer = replyPermanent
	case r.Accept && r.Automatic:
		answer = replyCallback
	case r.Accept:
		answer = replyTemporary
	case r.Automatic:
		answer = replyAutoRevoked
	case r.Context == "":
		answer = replyRevoked
	}
	m.replies[answer].Inc()
}

// refusal returns the no that an error is, nil if it is none.
func refusal(err error) *whatsapp.PermissionError {
	var no *whatsapp.PermissionError
	if errors.As(err, &no) {
		return no
	}
	return nil
}

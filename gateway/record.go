package gateway

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"wagate/media"
	"wagate/store"
	"wagate/whatsapp"
)

// record is the last action of the machine: the cause is fixed, and what is
// still open becomes debts. It is written when the loop is over.
func (c *Call) record(cause Cause, abandoned bool) {
	if c.final != nil {
		return
	}
	c.rec.EndedAt = c.now
	c.rec.Cause = cause.String()
	c.rec.Abandoned = abandoned
	c.rec.EndedBy = c.endedBy()
	refused := c.order.direction == outbound && c.rec.SIPStatus >= 300 // and what it was told is on record
	if c.rec.Q850 == 0 || c.rec.EndedBy != "pbx" && !refused {         // nobody at the PBX said it
		answered := !c.rec.AnsweredAt.IsZero()
		c.rec.Q850 = cause.recordQ850(c.m.Attempt > 0 && (answered || c.order.direction == inbound))
	}
	if !c.rec.AnsweredAt.IsZero() {
		c.rec.DurationS = c.now.Sub(c.rec.AnsweredAt).Seconds()
	}
	var owed []store.Debt
	for _, leg := range c.sides() {
		leg.finish(&c.rec)
		if debts := leg.owed(); len(debts) > 0 {
			owed = append(owed, debts...)
			c.rec.Abandoned = true
			c.env.metrics.abandoned.WithLabelValues(leg.name()).Inc()
		}
	}
	c.final = &ended{record: c.rec, owed: owed}
	c.tellPlaced(cause)
}

// recordQ850 is the Q.850 cause on record where the PBX named none: what a phone
// that was dialled is told, or would be.
func (c Cause) recordQ850(dialled bool) int {
	if r := c.row(); !dialled && r.q850 != 0 {
		return r.q850
	}
	return c.releaseQ850()
}

// endedBy names the side whose doing fixed the cause.
func (c *Call) endedBy() string {
	caller, callee := "customer", "pbx"
	if c.order.direction == outbound {
		caller, callee = callee, caller
	}
	switch c.m.By {
	case byCaller:
		return caller
	case byCallee:
		return callee
	case byGateway:
	}
	return "gateway"
}

// writeRecord puts the record on disk, with what is still owed, in one
// transaction. It is tried for a while: a full disk may have room again.
func (c *Call) writeRecord() {
	contain(c.env.metrics, c.log, func() { c.final.record.Media = c.mediaFigures() })
	c.endedMetrics()
	if c.recorded = c.save(); !c.recorded {
		c.env.metrics.recordFailure.Inc()
		c.log.Error("call record cannot be written; the next start ends and records this call again")
	}
	if len(c.final.owed) > 0 {
		c.env.owed()
	}
	c.tellEnd()
	c.env.talked(c.order, c.final.record)
	c.logEnd()
}

// tellEnd tells subscribers of the end. A customer whom nobody talked to was
// missed; the call has opened the service window, so they may be written to.
func (c *Call) tellEnd() {
	r := c.final.record
	c.env.events.publish(r.EndedAt, callEnded(r))
	if r.Direction == inbound && r.AnsweredAt.IsZero() {
		c.env.events.publish(r.EndedAt, callMissed{Record: r, Reason: r.Cause, WindowOpen: true})
	}
}

// save tries to write the record until it works or patience is over.
func (c *Call) save() bool {
	for pause := firstRecordPause; pause <= lastRecordPause; pause *= 2 {
		c.absorb()
		ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
		err := c.env.book.End(ctx, c.final.record, c.final.owed, c.strayTag())
		cancel()
		if err == nil {
			return true
		}
		c.log.Warn("call record cannot be written yet", slog.Any("error", err))
		<-time.After(pause)
	}
	return false
}

// strayTag is the mark of a call that may exist at Meta and that nobody can name.
func (c *Call) strayTag() string {
	if !c.lost {
		return ""
	}
	return c.order.tag
}

const (
	firstRecordPause = 100 * time.Millisecond
	lastRecordPause  = 10 * time.Second
)

// mediaFigures reads both sides' counters; they stay readable after the ends
// are closed.
func (c *Call) mediaFigures() store.Media {
	var m store.Media
	for name, end := range c.audio() {
		figures := sideFigures(end.Stats())
		codec := ""
		if !c.final.record.AnsweredAt.IsZero() {
			codec = end.Codec().String()
		}
		if name == sideWhatsApp {
			m.WhatsApp, c.final.record.CodecWhatsApp = figures, codec
		} else {
			m.SIP, c.final.record.CodecSIP = figures, codec
		}
	}
	return m
}

func sideFigures(s media.Stats) store.Side {
	return store.Side{
		Packets: int64(s.PacketsIn), Lost: int64(s.Lost), Late: int64(s.Late),
		JitterMS: milliseconds(s.Jitter), RTTMS: milliseconds(s.RoundTrip),
		ConcealedMS: s.Concealed.Milliseconds(), MOS: s.MOS, FirstAudioMS: s.FirstAudio.Milliseconds(),
	}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// logEnd writes the last of the three lines of a call's life.
func (c *Call) logEnd() {
	r := c.final.record
	c.log.Info("call ended",
		slog.String("cause", r.Cause), slog.String("ended_by", r.EndedBy), slog.Bool("abandoned", r.Abandoned),
		slog.String("user", mask(r.User)), slog.String("trunk", r.Trunk), slog.String("to", hide(r.To, r.User)), slog.String("route", r.Route),
		slog.Int("sip_status", r.SIPStatus), slog.Int("meta_error", r.MetaError),
		slog.Duration("setup", since(r.StartedAt, r.AnsweredAt)), slog.Duration("talked", since(r.AnsweredAt, r.EndedAt)),
		slog.Int64("whatsapp_packets", r.Media.WhatsApp.Packets), slog.Int64("whatsapp_lost", r.Media.WhatsApp.Lost),
		slog.Int64("sip_packets", r.Media.SIP.Packets), slog.Int64("sip_lost", r.Media.SIP.Lost))
}

// billed puts on record what Meta says of a call that is over.
func billed(r *store.Record, end whatsapp.Terminate) {
	r.MetaDurationS = int(end.Duration / time.Second)
	for _, e := range end.Errors {
		r.MetaError = e.Code
	}
}

func since(from, to time.Time) time.Duration {
	if from.IsZero() || to.IsZero() {
		return 0
	}
	return to.Sub(from)
}

// hide masks a customer's number inside a dialled string.
func hide(dialled, number string) string {
	digits := strings.TrimPrefix(number, "+")
	if digits == "" {
		return dialled
	}
	return strings.ReplaceAll(dialled, digits, mask(digits))
}

// mask leaves the last three digits of a number: enough for an operator who
// looks for a call, too little for anybody else.
func mask(number string) string {
	const shown = 3
	if len(number) <= shown {
		return number
	}
	masked := make([]byte, len(number))
	for i := range masked {
		masked[i] = '*'
	}
	copy(masked[len(number)-shown:], number[len(number)-shown:])
	return string(masked)
}

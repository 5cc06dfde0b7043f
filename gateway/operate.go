package gateway

import (
	"context"
	"errors"
	"time"

	"wagate/media"
)

// The live calls, as operators see them.

func (g *Gateway) list() []callView {
	calls := g.registry.all()
	views := make([]callView, 0, len(calls))
	for _, c := range calls {
		views = append(views, c.view.Load().show())
	}
	return views
}

func (g *Gateway) show(id string) (callView, bool) {
	c := g.registry.get(id)
	if c == nil {
		return callView{}, false
	}
	return c.view.Load().show(), true
}

func (g *Gateway) hangup(id string) bool {
	c := g.registry.get(id)
	if c == nil {
		return false
	}
	c.post(stopWanted{Hangup})
	return true
}

func (s *callState) show() callView {
	return callView{
		ID: s.rec.ID, Direction: s.rec.Direction, Phase: s.phase.String(), Number: s.rec.Number, User: s.rec.User,
		UserID: s.rec.UserID, Trunk: s.rec.Trunk, To: s.rec.To, StartedAt: jsonTime(s.rec.StartedAt),
		AnsweredAt: jsonTime(s.rec.AnsweredAt), WACID: s.rec.WACID,
		Media: callMedia{WhatsApp: showMedia(s.audio[sideWhatsApp]), SIP: showMedia(s.audio[sideSIP])},
	}
}

func showMedia(end media.Endpoint) *mediaView {
	if end == nil {
		return nil
	}
	s := end.Stats()
	f := sideFigures(s)
	return &mediaView{
		Codec: end.Codec().String(), Packets: f.Packets, PacketsSent: int64(s.PacketsOut), Lost: f.Lost, Late: f.Late,
		JitterMS: f.JitterMS, RTTMS: f.RTTMS, ConcealedMS: f.ConcealedMS, MOS: f.MOS, FirstAudioMS: f.FirstAudioMS,
	}
}

var errDraining = errors.New("draining")

const readyLimit = time.Second

// readiness says whether new calls are taken, a line for each thing they need.
func (g *Gateway) readiness(ctx context.Context) []check {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	checks := []check{{"store", g.store.Ping(ctx)}}
	drain := check{name: "taking calls"}
	if g.draining.Load() {
		drain.err = errDraining
	}
	return append(checks, drain)
}

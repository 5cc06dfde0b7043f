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
		if s := c.view.Load(); s.begun() {
			views = append(views, s.show())
		}
	}
	return views
}

func (g *Gateway) show(id string) (callView, bool) {
	c := g.registry.get(id)
	if c == nil || !c.view.Load().begun() {
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

// begun says whether the call has told anything of itself.
func (s *callState) begun() bool { return s.rec.ID != "" }

// show is the call as operators see it: as long as its record is not on disk,
// it is ending.
func (s *callState) show() callView {
	return callView{
		ID: s.rec.ID, Direction: s.rec.Direction, Phase: min(s.phase, Ending).String(), Number: s.rec.Number, User: s.rec.User,
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

var (
	errDraining   = errors.New("draining")
	errNotServing = errors.New("not serving yet")
)

const (
	readyLimit = time.Second
	aliveLimit = 5 * time.Second // a part that is only slow is not dead
)

// readiness says whether new calls are taken, a line for each thing they need.
func (g *Gateway) readiness(ctx context.Context) []check {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	checks := []check{{"store", g.store.Ping(ctx)}}
	listening, drain := check{name: "sip"}, check{name: "taking calls"}
	if g.draining.Load() {
		drain.err = errDraining
	} else if !g.sip.Serving() {
		listening.err = errNotServing
	}
	return append(checks, listening, drain)
}

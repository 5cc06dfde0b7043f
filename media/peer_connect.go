package media

import (
	"errors"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/rtp"
)

// errNotConnected is what a packet meets before DTLS is up.
var errNotConnected = errors.New("not connected")

// consentPoll is the longest time between two looks at the consent.
const consentPoll = time.Second

// connect waits for ICE, then for DTLS. ICE never fails here: its checks go on
// until Close, however late Meta learns our description.
func (p *Peer) connect(agent *ice.Agent, pipe *dtlsPipe, want fingerprint, client bool) {
	defer p.guard()
	began := time.Now()
	if err := agent.AwaitConnect(p.ctx); err != nil {
		return // closed
	}
	up := time.Now()
	p.iceTime.Store(int64(up.Sub(began)))
	p.engine.metrics.ice.Observe(up.Sub(began).Seconds())
	p.follow(agent)
	p.wg.Go(p.read)
	p.wg.Go(func() { p.sort(pipe) })
	p.wg.Go(func() { p.watch(agent) })

	conn, k, err := handshake(p.ctx, pipe, &p.path, p.id, want, client)
	if err != nil {
		if p.ctx.Err() == nil {
			p.fail(err)
		}
		return
	}
	p.mu.Lock()
	if p.closed || p.err != nil {
		p.mu.Unlock()
		_ = conn.Close() // Close did not see it any more
		return
	}
	p.dtls = conn
	p.keys.Store(k)
	p.mu.Unlock()
	took := time.Since(up)
	p.dtlsTime.Store(int64(took))
	p.engine.metrics.dtls.Observe(took.Seconds())
	close(p.connected)
}

// watch ends the leg when the far end stops answering consent checks (RFC 7675
// section 5.1), and sends our reports. It asks ICE for answers, not for
// packets: anybody can send those.
func (p *Peer) watch(agent *ice.Agent) {
	defer p.guard()
	limit := p.engine.cfg.ICETimeout
	tick := time.NewTicker(min(consentPoll, limit/4))
	defer tick.Stop()
	var answers uint64
	var report time.Time
	last := time.Now()
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if pair, ok := agent.GetSelectedCandidatePairStats(); ok && pair.ResponsesReceived != answers {
			answers, last = pair.ResponsesReceived, now
			p.iceTrip.Store(int64(pair.CurrentRoundTripTime * float64(time.Second)))
		}
		if now.Sub(last) > limit {
			p.fail(errConsent)
			return
		}
		if !now.Before(report) && p.sendReport(now) {
			report = now.Add(reportInterval())
		}
	}
}

// sendReport is false while the gate is shut.
func (p *Peer) sendReport(now time.Time) bool {
	select {
	case <-p.opened:
	default:
		return false
	}
	if k := p.keys.Load(); k != nil {
		_ = k.sendRTCP(p.compose(now)) // the next one makes up for it
	}
	return true
}

// sendBye ends our stream in the far end's eyes (RFC 3550 section 6.6). The
// call itself ends by signalling.
func (p *Peer) sendBye() {
	select {
	case <-p.opened:
	default:
		return
	}
	if k := p.keys.Load(); k != nil {
		_ = k.sendRTCP(p.reporter.goodbye(p.compose(time.Now())))
	}
}

func (p *Peer) compose(now time.Time) []byte {
	return p.reporter.compose(nil, now, p.sender.stats(now), p.receiver.reception())
}

// write is the sender's way out.
func (p *Peer) write(header *rtp.Header, payload []byte) error {
	k := p.keys.Load()
	if k == nil {
		return errNotConnected
	}
	return k.sendRTP(header, payload)
}

// guard keeps a panic inside the call it belongs to.
func (p *Peer) guard() {
	if r := recover(); r != nil {
		p.log.Error("media leg panicked", slog.Any("panic", r), slog.String("stack", string(debug.Stack())))
		p.fail(errors.New("internal fault"))
	}
}
